"""The bot's Prometheus client: one suite, against a real Prometheus and the sandbox's; and against what is neither."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.domain.errors import Refused, Unavailable
from bot.integrations.prometheus import Prometheus, fill
from bot.team import load_team
from sandbox.clock import Clock
from sandbox.deadline import deadline
from sandbox.prometheus.api import routes
from sandbox.prometheus.backend import Prometheus as SandboxPrometheus
from tests.contract.samples import BEGIN, lines, openmetrics, tsdb
from tests.harness.serving import served
from tests.real.parts import require
from tests.real.prometheus import prometheus

AT = datetime.fromtimestamp(BEGIN / 1000, UTC) + timedelta(hours=2)
TEAM = load_team(Path(__file__).parents[2] / "teams" / "tamv" / "team.yaml")
HOSTILE = 'x"} or vector(1) or y{z="'


@pytest.fixture(scope="module", params=["sandbox", pytest.param("real", marks=pytest.mark.real("prometheus"))])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    series = lines()
    if request.param == "real":
        require("prometheus")
        with prometheus(openmetrics=openmetrics(series)) as base:
            yield base
    else:
        with served(Starlette(routes=routes(SandboxPrometheus(tsdb(series), Clock())))) as base:
            yield base


@pytest.fixture
def client(url: str) -> Prometheus:
    return Prometheus(url)


@pytest.mark.parametrize("name", TEAM.queries)
async def test_every_query_of_the_catalogue_has_a_line_of_finite_values(client: Prometheus, name: str) -> None:
    promql = fill(TEAM.queries[name].promql, service="xr-engine", namespace="tamv-prod")
    (line,) = await client.range(promql, AT - timedelta(minutes=40), AT, 20)
    (sample,) = await client.query(promql, AT)
    assert [at for at, _ in line.points] == [AT - timedelta(seconds=20 * step) for step in range(120, -1, -1)]
    assert line.points[-1][1] == pytest.approx(sample.value)
    assert line.labels == sample.labels == {}


async def test_the_moment_asked_for_is_the_moment_answered(client: Prometheus) -> None:
    (earlier,), (later,) = [await client.query("time()", at) for at in (AT - timedelta(hours=1), AT)]
    assert (earlier.value, later.value) == ((AT - timedelta(hours=1)).timestamp(), AT.timestamp())
    assert later.at == AT


async def test_series_keep_their_labels(client: Prometheus) -> None:
    found = await client.query('sum by (status) (rate(http_requests_total{service="xr-engine"}[5m]))', AT)
    assert len(found) > 1
    assert all(set(sample.labels) == {"status"} for sample in found)


@pytest.mark.parametrize("promql", ["absent_metric", "absent_metric > 1"])
async def test_no_data_is_an_empty_answer(client: Prometheus, promql: str) -> None:
    assert await client.query(promql, AT) == []
    assert await client.range(promql, AT - timedelta(hours=1), AT, 60) == []


@pytest.mark.parametrize("promql", ["vector(0) / 0", "vector(1) / 0", "-1 * vector(1) / 0"])
async def test_nan_and_infinity_are_unknown(client: Prometheus, promql: str) -> None:
    (sample,) = await client.query(promql, AT)
    assert sample.value is None
    (line,) = await client.range(promql, AT - timedelta(minutes=5), AT, 60)
    assert line.points == ()


async def test_where_nothing_was_measured_there_is_no_point(client: Prometheus) -> None:
    (line,) = await client.range("vector(1) and vector(time()) % 120 == 0", AT - timedelta(minutes=10), AT, 60)
    assert [int(at.timestamp()) % 120 for at, _ in line.points] == [0] * 6


@pytest.mark.parametrize(("promql", "value"), [("1 + 1", 2.0), ("0 / 0", None), ('"text"', "nothing")])
async def test_scalars_and_strings_are_answered_too(client: Prometheus, promql: str, value: object) -> None:
    found = await client.query(promql, AT)
    assert (found[0].value if found else "nothing") == value


@pytest.mark.parametrize("promql", ["sum(", "up{", "rate(x)", "topk(2)", 'x{a=~"("}', ""])
async def test_wrong_promql_is_refused_in_prometheuss_own_words(client: Prometheus, promql: str) -> None:
    for asked in (client.query(promql, AT), client.range(promql, AT - timedelta(hours=1), AT, 60)):
        with pytest.raises(Refused) as refused:
            await asked
        assert refused.value.key == "promql_wrong"
        assert refused.value.facts["promql"] == promql
        assert len(str(refused.value.facts["why"])) > 5


async def test_a_query_that_cannot_be_evaluated_is_refused_and_not_tried_again(client: Prometheus) -> None:
    with pytest.raises(Refused) as refused:
        await client.query("http_requests_total + on(service) http_requests_total", AT)
    assert refused.value.key == "promql_wrong"
    assert "many" in str(refused.value.facts["why"])


@pytest.mark.parametrize("pattern", ['vector(1) and on() absent_metric{a="$service"}', "absent_metric{a='$service'}"])
async def test_no_name_can_end_its_string(client: Prometheus, pattern: str) -> None:
    for name in (HOSTILE, HOSTILE.replace('"', "'"), "\\", '\\"', "a\nb", "`", "ñ🔥", "a|.*", "$namespace"):
        assert await client.query(fill(pattern, service=name), AT) == []


async def test_a_name_that_needs_quoting_still_finds_its_series(client: Prometheus) -> None:
    pattern = 'label_replace(vector(1), "a", "$service", "", "")'
    for name in (HOSTILE, "with space", "ñ", "back\\slash", "xr-engine_1.2:3/4"):
        (sample,) = await client.query(fill(pattern, service=name), AT)
        assert sample.labels == {"a": name}


async def test_it_says_whether_it_is_ready_and_what_it_is(client: Prometheus) -> None:
    await client.ready()
    assert (await client.check())[0].isdigit()


def test_only_the_names_that_are_given_are_filled_in() -> None:
    promql = 'x{a="$service",b=~"end$",c="$services",d="$namespace"}'
    assert fill(promql, service="s") == 'x{a="s",b=~"end$",c="$services",d="$namespace"}'


@contextlib.contextmanager
def answering(answer: Callable[[Request], Awaitable[Response]]) -> Iterator[str]:
    """A server that gives this answer to everything."""
    with served(Starlette(routes=[Route("/{path:path}", answer)])) as base:
        yield base


@contextlib.asynccontextmanager
async def raw(*pieces: bytes, pause: float = 0) -> AsyncIterator[str]:
    """A server that sends these bytes, a piece each `pause` seconds, and then nothing more."""
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
            await gone.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        gone.set()
        server.close()


async def test_a_refused_connection_is_told_at_once_and_without_the_address() -> None:
    with pytest.raises(Unavailable) as problem:
        async with deadline(2):
            await Prometheus("http://user:hunter2@127.0.0.1:9").query("1")
    assert problem.value.key == "unreachable"
    assert "hunter2" not in repr(problem.value)
    assert "127.0.0.1" not in repr(problem.value.facts)


async def test_a_prometheus_that_hangs_is_left_after_the_deadline() -> None:
    async with raw() as url:
        begun = time.monotonic()
        with pytest.raises(Unavailable) as problem:
            async with deadline(2):
                await Prometheus(url, timeout=0.3).query("1")
    assert time.monotonic() - begun > 0.25
    assert (problem.value.key, problem.value.facts["service"]) == ("timed_out", "Prometheus")


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"], ids=["length", "chunked"]
)
async def test_an_answer_that_drips_is_left_after_the_deadline(head: bytes) -> None:
    drop = b" " if b"Length" in head else b"1\r\n \r\n"
    async with raw(b"HTTP/1.1 200 OK\r\n" + head, *[drop] * 200, pause=0.05) as url:
        client = Prometheus(url, timeout=0.5)
        with pytest.raises(Unavailable) as problem:
            async with deadline(3):
                await client.query("1")
        assert problem.value.key == "timed_out"


async def test_an_answer_that_breaks_off_is_unavailable() -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"st'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Unavailable) as problem:
            await Prometheus(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}").query("1")
    assert problem.value.key == "unreachable"


async def test_an_endless_answer_is_not_taken_into_memory() -> None:
    piece = b'{"status":"success","data":{"resultType":"vector","result":[' + b" " * 1_000_000

    async with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n", *[piece] * 20) as url:
        with pytest.raises(Refused) as problem:
            await Prometheus(url).query("1")
    assert problem.value.key == "promql_wrong"
    assert "16 MB" in str(problem.value.facts["why"])


NONSENSE = (
    "<html>It works!</html>",
    "",
    "null",
    "[]",
    '{"status":"success"}',
    '{"status":"success","data":{"result":null}}',
    '{"status":"success","data":{"result":[{"metric":{},"value":["x","y"]}]}}',
    '{"status":"success","data":{"result":[{"value":[1,"1"]}]}}',
    '{"status":"success","data":{"result":[{"metric":{},"value":[1e99,"1"]}]}}',
    '{"status":"success","data":{"result":7}}',
    "\x00\xff",
)


async def test_native_histograms_are_said_to_be_no_figures() -> None:
    histogram = {"count": "5", "sum": "3", "buckets": []}

    async def answer(request: Request) -> Response:
        over_time = request.url.path.endswith("query_range")
        series = {"histograms": [[1, histogram]]} if over_time else {"histogram": [1, histogram]}
        return JSONResponse({"status": "success", "data": {"result": [{"metric": {}, **series}]}})

    with answering(answer) as url:
        prometheus = Prometheus(url)
        for asked in (prometheus.query("x"), prometheus.range("x", AT - timedelta(hours=1), AT, 15)):
            with pytest.raises(Refused) as problem:
                await asked
            assert problem.value.key == "promql_histogram"


async def test_a_series_without_values_is_no_data() -> None:
    async def answer(request: Request) -> Response:
        result = [{"metric": {}, "values": []}, {"metric": {"pod": "a"}, "values": [[1, "4"]]}]
        return JSONResponse({"status": "success", "data": {"resultType": "matrix", "result": result}})

    with answering(answer) as url:
        assert [sample.value for sample in await Prometheus(url).query("x[5m]")] == [4]


async def test_it_is_asked_again_when_it_wants_to_be() -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("slow down", 429, {"Retry-After": "7"})

    with answering(answer) as url, pytest.raises(Unavailable) as problem:
        await Prometheus(url).query("1")
    assert problem.value.retry_after == 7


@pytest.mark.parametrize("body", NONSENSE)
async def test_nonsense_is_named_and_nothing_else_breaks(body: str) -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse(body)

    with answering(answer) as url:
        with pytest.raises(Unavailable) as problem:
            await Prometheus(url).query("1")
        assert problem.value.key == "nonsense"


@pytest.mark.parametrize(
    ("status", "body", "kind", "key"),
    [
        (503, {"status": "error", "errorType": "timeout", "error": "query timed out"}, Unavailable, "unreachable"),
        (422, {"status": "error", "errorType": "execution", "error": "too many samples"}, Refused, "promql_wrong"),
        (422, {"status": "error", "errorType": "422", "error": "cannot parse"}, Refused, "promql_wrong"),
        (204, None, Unavailable, "nonsense"),
        (206, {"status": "success", "data": {"resultType": "vector", "result": []}}, Unavailable, "nonsense"),
        (401, "Unauthorized", Refused, "refused"),
        (404, "not found", Refused, "refused"),
        (429, "slow down", Unavailable, "rate_limited"),
        (500, "oops", Unavailable, "unreachable"),
        (502, {"errorType": 7}, Unavailable, "unreachable"),
    ],
)
async def test_a_status_says_whether_to_try_again(
    status: int, body: object, kind: type[Unavailable] | type[Refused], key: str
) -> None:
    async def answer(request: Request) -> Response:
        return JSONResponse(body, status)

    with answering(answer) as url:
        with pytest.raises(kind) as problem:
            await Prometheus(url).query("1")
        assert problem.value.key == key


async def test_the_token_is_sent_and_so_are_the_deadline_and_the_query_as_it_is() -> None:
    seen: list[tuple[str | None, dict[str, str]]] = []

    async def answer(request: Request) -> Response:
        seen.append((request.headers.get("authorization"), dict(request.query_params)))
        return Response(json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}))

    promql = 'sum(rate(x{a="b c&d=ñ"}[5m])) > 1'
    with answering(answer) as url:
        await Prometheus(f"{url}/", token="secret", timeout=4).query(promql, AT)
        await Prometheus(url).range(promql, AT - timedelta(hours=1), AT, 20)
    (token, instant), (none, ranged) = seen
    assert (token, none) == ("Bearer secret", None)
    assert instant == {"query": promql, "time": f"{AT.timestamp():.3f}", "timeout": "4s"}
    assert ranged["query"] == promql
    assert float(ranged["start"]) == (AT - timedelta(hours=1)).timestamp()
    assert float(ranged["end"]) == AT.timestamp()
    assert ranged["step"] == "20"


async def test_questions_are_asked_at_once() -> None:
    asked = 0
    everybody = asyncio.Event()
    here = asyncio.get_running_loop()

    async def answer(request: Request) -> Response:
        nonlocal asked
        asked += 1
        if asked == 4:
            here.call_soon_threadsafe(everybody.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(everybody.wait(), here))
        return JSONResponse({"status": "success", "data": {"resultType": "vector", "result": []}})

    with answering(answer) as url:
        client = Prometheus(url)
        assert await asyncio.gather(*(client.query("1") for _ in range(4))) == [[]] * 4
