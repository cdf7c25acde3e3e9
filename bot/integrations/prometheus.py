"""Prometheus by prometheus-api-client: queries with a deadline; missing data is missing, never zero."""

from __future__ import annotations

import io
import json
import math
import re
import string
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from bot.domain.errors import Refused, Unavailable
from bot.integrations.base import connection_error, http_error, in_thread, invalid_response, parse_retry_after

T = TypeVar("T")

SERVICE, WHAT = "Prometheus", "query"
CONNECT_TIMEOUT = 2.0
RESPONSE_LIMIT_BYTES = 16_000_000  # protects the memory from a query for everything
_PLAIN = frozenset(string.ascii_letters + string.digits + "_-.:/")
_RANGE = re.compile(r"\[(\d+)([smh])\]")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one time (UTC). The value is None for NaN and infinity."""

    labels: Mapping[str, str]
    at: datetime
    value: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """One series over time: its finite values, in order, possibly with gaps."""

    labels: Mapping[str, str]
    points: tuple[tuple[datetime, float], ...]


class Answer(list[T]):
    """A result, and the `warnings` that came with it: parts of the data were not there."""

    def __init__(self, items: Iterable[T] = (), warnings: Sequence[str] = ()) -> None:
        super().__init__(items)
        self.warnings = tuple(warnings)


def fill(promql: str, **names: str) -> str:
    """Return `promql` with each `$name` replaced by its value, quoted so that no value can end a string.

    Characters other than letters, digits and `_-.:/` become `\\U` escapes, which PromQL reads in both kinds of quotes;
    between backticks they match nothing.
    Source: https://prometheus.io/docs/prometheus/latest/querying/basics/
    """

    def quoted(match: re.Match[str]) -> str:
        value = names.get(match[1])
        if value is None:
            return match[0]
        return "".join(char if char in _PLAIN else f"\\U{ord(char):08x}" for char in value)

    return re.sub(r"\$([a-z_]+)", quoted, promql)


def narrowed(promql: str, seconds: int) -> str:
    """Return `promql` with each range that is longer narrowed to `seconds`."""
    return _RANGE.sub(lambda match: f"[{seconds}s]" if _seconds(match) > seconds else match[0], promql)


def longest_range(promql: str) -> int:
    """Return the longest range in `promql`, in seconds; 0 without any."""
    return max((_seconds(match) for match in _RANGE.finditer(promql)), default=0)


def _seconds(match: re.Match[str]) -> int:
    return int(match[1]) * _SECONDS[match[2]]


class Prometheus:
    """A Prometheus, or any server with its HTTP API. `timeout` in seconds applies to each method as a whole.

    Methods raise Unavailable, or Refused: `promql_wrong` with Prometheus's message as `why`, `promql_histogram` if all
    that comes are native histograms.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout: float = 5.0,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._of_thread = threading.local()
        self._session = requests.Session()
        self._session.stream = True  # the hook reads the response in pieces
        self._session.hooks["response"].append(self._read)
        self._session.headers.update({"Authorization": f"Bearer {token}"} if token else {})
        self._session.headers.update(headers or {})
        self._client = PrometheusConnect(
            self._url,
            session=self._session,
            retry=Retry(0, read=False),  # by default a refused connection takes 6 s
            timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
        )

    async def query(self, promql: str, at: datetime | None = None) -> Answer[Sample]:
        """Return the value of `promql` at one time, default now: one sample per series, empty without data."""
        parameters: dict[str, str] = {"timeout": f"{self._timeout:g}s"}
        if at is not None:
            parameters["time"] = f"{at.timestamp():.3f}"
        return await self._ask(
            lambda: Answer(_samples(self._client.custom_query(promql, parameters)), self._warnings()), promql
        )

    async def range(self, promql: str, start: datetime, end: datetime, step: float) -> Answer[Line]:
        """Return the values of `promql` from `start` to `end` (whole seconds), every `step` seconds."""
        parameters = {"timeout": f"{self._timeout:g}s"}

        def ask() -> Answer[Line]:
            result = self._client.custom_query_range(promql, start, end, f"{step:g}", parameters)
            return Answer(_lines(result), self._warnings())

        return await self._ask(ask, promql)

    async def ready(self) -> None:
        """Return if Prometheus can answer queries, else raise."""
        await self._ask(lambda: self._get("/-/ready"))

    async def check(self) -> str:
        """Check queries and the token. Returns Prometheus's version."""
        await self.query("vector(1)")
        return await self._ask(lambda: str(self._get("/api/v1/status/buildinfo").json()["data"]["version"]))

    def _warnings(self) -> Sequence[str]:
        """Return the warnings of this thread's last response: the library drops them."""
        warnings: Sequence[str] = getattr(self._of_thread, "warnings", ())
        return warnings

    def _get(self, path: str) -> requests.Response:
        return self._session.get(f"{self._url}{path}", timeout=(min(CONNECT_TIMEOUT, self._timeout), self._timeout))

    async def _ask(self, call: Callable[[], T], promql: str = "") -> T:
        try:
            return await in_thread(call, deadline=self._timeout + 0.5, service=SERVICE)
        except _TooSlow as problem:
            raise Unavailable("timed_out", service=SERVICE, seconds=self._timeout) from problem
        except _TooMuch as problem:
            raise Refused(
                "promql_wrong", promql=promql, why=f"over {RESPONSE_LIMIT_BYTES // 1_000_000} MB"
            ) from problem
        except _ErrorStatus as error:
            raise _to_bot_error(error, promql) from error
        except _OnlyHistograms as problem:
            raise Refused("promql_histogram", promql=promql) from problem
        except (requests.JSONDecodeError, PrometheusApiClientException) as problem:
            raise invalid_response(SERVICE, WHAT, writes=False) from problem
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as problem:
            raise connection_error(SERVICE, WHAT, problem, seconds=self._timeout, writes=False) from problem
        except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as problem:
            raise invalid_response(SERVICE, WHAT, writes=False) from problem

    def _read(self, response: requests.Response, *_: object, **__: object) -> None:
        """Read a response within limits: the library limits neither time nor size of bodies."""
        until = time.monotonic() + self._timeout
        body = bytearray()
        while piece := response.raw.read1(1 << 16, decode_content=True):
            body += piece
            if len(body) > RESPONSE_LIMIT_BYTES:
                response.raw.close()
                raise _TooMuch
            if time.monotonic() > until:
                response.raw.close()
                raise _TooSlow
        response.raw.release_conn()
        if response.status_code >= 400:
            wait = parse_retry_after(response.headers, "Retry-After")
            raise _ErrorStatus(response.status_code, bytes(body), wait)
        self._of_thread.warnings = _warnings(bytes(body))
        response.raw = io.BytesIO(body)


class _TooSlow(Exception):
    pass


class _TooMuch(Exception):
    pass


class _ErrorStatus(Exception):
    """An HTTP status of 400 or more, with the body that explains it."""

    def __init__(self, status: int, body: bytes, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class _OnlyHistograms(Exception):
    """The answer has native histograms and no number."""


def _to_bot_error(error: _ErrorStatus, promql: str) -> Unavailable | Refused:
    """Return the error for an error status.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#format-overview
    """
    try:
        body = json.loads(error.body)
        kind, why = str(body["errorType"]), str(body["error"])[:500].removeprefix('invalid parameter "query": ')
    except (ValueError, KeyError, TypeError):
        kind, why = "", f"HTTP {error.status}"
    if kind in ("bad_data", "execution", "400", "422"):  # the numbers are VictoriaMetrics's
        return Refused("promql_wrong", promql=promql, why=why)
    if kind in ("timeout", "canceled"):
        return Unavailable("unreachable", service=SERVICE, what=WHAT, status=error.status, why=why)
    return http_error(SERVICE, WHAT, error.status, why, retry_after=error.retry_after, writes=False)


def _warnings(body: bytes) -> list[str]:
    """Return what a response says of data that is missing: of Prometheus, Thanos and Mimir, or of VictoriaMetrics.

    Until 2.53 Prometheus gave its advice on a query, which misses nothing, among the warnings.
    """
    if b'"warnings"' not in body and b'"isPartial"' not in body:
        return []
    try:
        content = json.loads(body)
        texts = [str(warning) for warning in content.get("warnings") or []]
        texts = [text for text in texts if not text.startswith("PromQL info:")]
        return [*texts, *(["partial response"] if content.get("isPartial") is True else [])]
    except (ValueError, AttributeError, TypeError):
        return []


def _samples(result: Any) -> list[Sample]:
    if result and not isinstance(result[0], dict):  # a scalar or a string is not in a list
        return [_sample({}, result)] if _is_number(result[1]) else []
    pairs = [(item["metric"], item.get("value") or (item.get("values") or [None])[-1]) for item in result]
    if result and all("histogram" in item or "histograms" in item for item in result):
        raise _OnlyHistograms
    return [_sample(labels, pair) for labels, pair in pairs if pair]


def _sample(labels: Mapping[str, str], pair: Any) -> Sample:
    value = float(pair[1])
    return Sample(dict(labels), _timestamp(pair[0]), value if math.isfinite(value) else None)


def _lines(result: Any) -> list[Line]:
    if result and all("histograms" in item and not item.get("values") for item in result):
        raise _OnlyHistograms
    return [
        Line(
            dict(item["metric"]),
            tuple((_timestamp(at), float(v)) for at, v in item.get("values", ()) if math.isfinite(float(v))),
        )
        for item in result
    ]


def _timestamp(seconds: Any) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
