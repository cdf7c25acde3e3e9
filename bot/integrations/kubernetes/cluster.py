"""The connection to a Kubernetes cluster, and the translation of its errors."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import yaml
from pydantic import ValidationError

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.lazy import LazyModule

if TYPE_CHECKING:
    from kubernetes.aio import client as client
    from kubernetes.aio import config
    from kubernetes.aio import stream as stream
    from kubernetes.utils import quantity as quantity
else:  # also imported by the other modules of this package
    client, config = LazyModule("kubernetes.aio.client"), LazyModule("kubernetes.aio.config")
    stream, quantity = LazyModule("kubernetes.aio.stream"), LazyModule("kubernetes.utils.quantity")


SERVICE = "Kubernetes"
FIELD_MANAGER = "tamv-bot"
PAGE = 500  # items of a list in one answer
LIST_ATTEMPTS = 3
ALL = "All"  # value of `dryRun`: all stages run, nothing is persisted
_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)"'
    r'(?:.* in the namespace "(?P<namespace>[^"]+)")?'
)


class Cluster:
    """An API server, by a kubeconfig file or from inside the cluster. Calls time out after `timeout` seconds."""

    def __init__(self, kubeconfig: str | None, timeout: float = 10.0) -> None:
        self._kubeconfig = kubeconfig
        self.timeout = timeout
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> Self:
        settings = client.Configuration()
        if self._kubeconfig:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=self._kubeconfig, client_configuration=settings
            )
        else:
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        self._api = client.ApiClient(settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._api:
            await self._api.close()  # type: ignore[no-untyped-call]
        self._api = None

    @property
    def api(self) -> client.ApiClient:
        if self._api is None:
            raise Unavailable("unreachable", service=SERVICE)
        return self._api

    async def ask(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Return the response of one call as the client's model. Raises NotFound, Refused and Unavailable.

        `what` names the object, for error messages. The client's models make every field optional, hence the type Any.
        """
        return await self._translated(what, lambda: call(*args, _request_timeout=self.timeout, **kwargs))

    async def content(self, what: str, response: Any) -> bytes:
        """Return the body of a response that was not read yet. Raises as `ask`."""

        async def read() -> bytes:
            body: bytes = await response.read()
            if response.status >= 400:
                raise client.exceptions.ApiException(status=response.status, reason=body.decode(errors="replace"))
            return body

        content: bytes = await self._translated(what, read)
        return content

    async def _translated(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except client.exceptions.ApiException as problem:
            raise _to_bot_error(what, problem) from problem
        except ValidationError as problem:
            raise Unavailable("nonsense", service=SERVICE, what=what) from problem
        except TimeoutError as problem:
            raise Unavailable("timed_out", service=SERVICE, what=what, seconds=self.timeout) from problem
        except (aiohttp.ClientError, OSError) as problem:
            why = type(problem).__name__
            raise Unavailable("unreachable", service=SERVICE, what=what, why=why) from problem

    async def list_all(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> list[Any]:
        """Return all items of a list as plain JSON, page by page. Raises as `ask`.

        A continuation that has expired (410) is begun again: the cluster has changed while it was read.
        """
        for _ in range(LIST_ATTEMPTS):
            items: list[Any] = []
            token: str | None = None
            try:
                while True:
                    page = self.plain(await self.ask(what, call, *args, limit=PAGE, _continue=token, **kwargs))
                    items += page.get("items") or []
                    token = (page.get("metadata") or {}).get("continue")
                    if not token:
                        return items
            except Refused as problem:
                if problem.facts.get("status") != 410:
                    raise
        raise Unavailable("kubernetes_busy", service=SERVICE, what=what, why="the list changed while it was read")

    async def check(self) -> str:
        """Return the server's version; read-only."""
        version = await self.ask("version", client.VersionApi(self.api).get_code)
        return str(version.git_version)

    def plain(self, thing: Any) -> dict[str, Any]:
        """Return an API object as plain JSON, as kubectl prints it."""
        content: dict[str, Any] = self.api.sanitize_for_serialization(thing)  # type: ignore[no-untyped-call]
        return content


def diff(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return a unified diff of two objects in YAML, without fields that the server sets; `{}` stands for no object."""
    old_lines, new_lines = (
        yaml.safe_dump(strip_server_fields(side), sort_keys=True, allow_unicode=True).splitlines() if side else []
        for side in (before, after)
    )
    return "\n".join(list(difflib.unified_diff(old_lines, new_lines, lineterm="", n=2))[2:])


def strip_server_fields(thing: dict[str, Any]) -> dict[str, Any]:
    """Return an object without its status and without metadata that the server sets."""
    hidden = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
    metadata = {name: value for name, value in thing.get("metadata", {}).items() if name not in hidden}
    rest = {name: value for name, value in thing.items() if name not in ("status", "metadata")}
    return rest | {"metadata": metadata} if metadata else rest


def _to_bot_error(what: str, problem: client.exceptions.ApiException) -> NotFound | Refused | Unavailable:
    status = int(problem.status or 0)
    try:
        body = json.loads(problem.body or "{}")
    except ValueError:
        body = {}
    why = _why(body, problem)
    if status == 404:
        return NotFound("kubernetes_not_found", what=what, why=why)
    if status == 403 and (missing := _FORBIDDEN.search(why)):
        return Refused("kubernetes_forbidden", what=what, **missing.groupdict(default="*"))
    if status in (429, 409) or status >= 500:
        key = "kubernetes_busy" if status in (429, 409) else "unreachable"
        return Unavailable(key, service=SERVICE, what=what, status=status, why=why)
    return Refused("refused", service=SERVICE, what=what, status=status, why=why)


def _why(body: Any, problem: client.exceptions.ApiException) -> str:
    """Return the API's message, with the causes of a disruption budget that forbids an eviction."""
    if not isinstance(body, dict):
        return "?"
    text = str(body.get("message") or problem.reason or f"HTTP {problem.status}")
    causes = (body.get("details") or {}).get("causes") or []
    budgets = [str(cause.get("message")) for cause in causes if cause.get("reason") == "DisruptionBudget"]
    return " ".join([text, *budgets])[:300]
