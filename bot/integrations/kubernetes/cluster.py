"""The connection to a Kubernetes cluster, and the translation of its errors."""

from __future__ import annotations

import asyncio
import difflib
import json
import logging
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import yaml
from pydantic import ValidationError

from bot.domain.errors import NotFound, Refused, Unavailable
from bot.domain.nearest import nearest
from bot.integrations.kubernetes.secret_values import hide_in_objects
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
READ_BYTES = 256 * 1024  # of a long response at once
NAMED = 5  # objects that are named where one is not there
ALL = "All"  # value of `dryRun`: all stages run, nothing is persisted
PLUGIN_SECONDS = 30.0  # for the program that a kubeconfig names to get a token: it asks a cloud
WHY_LIMIT = 300
_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)"'
    r'(?:.* in the namespace "(?P<namespace>[^"]+)")?'
)
_DENIED = re.compile(
    r"(?:admission webhook \"(?P<webhook>[^\"]+)\" denied the request|"
    r"ValidatingAdmissionPolicy '(?P<policy>[^']+)' with binding '[^']*' denied request)(?:: )?(?P<why>.*)",
    re.DOTALL,
)
_SILENT_WEBHOOK = re.compile(r'failed calling webhook "(?P<webhook>[^"]+)"')
_WARNING = re.compile(r'299 \S+ "(?P<text>(?:[^"\\]|\\.)*)"')  # RFC 7234, section 5.5
_warnings: ContextVar[list[str] | None] = ContextVar("warnings", default=None)


class Cluster:
    """An API server, by a kubeconfig file or from inside the cluster. Calls time out after `timeout` seconds.

    It is opened by the first call, so that what needs no cluster works without one. A token that has expired is read
    again, from its file or by its plugin.
    """

    def __init__(self, kubeconfig: str | None, timeout: float = 10.0) -> None:
        self._kubeconfig = kubeconfig
        self.timeout = timeout
        self.page_size = PAGE
        self.plugin_seconds = PLUGIN_SECONDS
        self._api: client.ApiClient | None = None
        self._is_open = False
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._api:
            await self._api.close()  # type: ignore[no-untyped-call]
        self._api, self._is_open = None, False

    @property
    def api(self) -> client.ApiClient:
        """The client; `open` gives it its address and credentials."""
        if self._api is None:
            self._api = client.ApiClient(client.Configuration())
        return self._api

    def preload(self) -> None:
        """Import the client's code, which takes seconds; else the first call does it, and everybody waits."""
        for name in ("ApiClient", "CoreV1Api", "AppsV1Api", "BatchV1Api", "CustomObjectsApi"):
            getattr(client, name)

    async def open(self, *, again: bool = False) -> None:
        """Read address and credentials, unless that was done; `again`: read them anew.

        Raises Refused (`kubeconfig_wrong`) with the reason in one line.
        """
        async with self._opening:
            if self._is_open and not again:
                return
            settings = client.Configuration()
            try:
                if self._kubeconfig:
                    with _raising_plugin_failures():
                        async with asyncio.timeout(self.plugin_seconds):
                            await config.load_kube_config(  # type: ignore[no-untyped-call]
                                config_file=self._kubeconfig, client_configuration=settings
                            )
                else:
                    config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
                settings.trace_configs = [_trace_of_warnings()]
                fresh = client.ApiClient(settings)
            except Exception as problem:  # the client raises whatever a broken file makes it raise
                fault, why = await asyncio.to_thread(_kubeconfig_fault, self._kubeconfig, problem)
                path = self._kubeconfig or "in-cluster"
                raise Refused("kubeconfig_wrong", path=path, fault=fault, why=why) from problem
            api, self._is_open = self.api, True
            await api.rest_client.close()
            api.configuration, api.rest_client = fresh.configuration, fresh.rest_client

    async def ask(
        self,
        what: str,
        call: Callable[..., Awaitable[Any]],
        *args: Any,
        warnings: list[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the response of one call as the client's model. Raises NotFound, Refused and Unavailable.

        `what` names the object, for error messages; what the API server warns of is added to `warnings`. The client's
        models make every field optional, hence the type Any.
        """
        token = _warnings.set(warnings)
        try:
            return await self._ask(what, call, *args, **kwargs)
        finally:
            _warnings.reset(token)

    async def _ask(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        await self.open()
        try:
            return await self._translated(what, lambda: call(*args, _request_timeout=self.timeout, **kwargs))
        except Refused as problem:
            if problem.facts.get("status") != 401:
                raise
        await self.open(again=True)
        return await self._translated(what, lambda: call(*args, _request_timeout=self.timeout, **kwargs))

    async def end_of(self, what: str, response: Any, limit: int) -> tuple[bytes, bool]:
        """Return at most the last `limit` bytes of a response that was not read yet, and whether there were more.

        Raises as `ask`.
        """

        async def read() -> tuple[bytes, bool]:
            end, cut = b"", False
            async for piece in response.content.iter_chunked(READ_BYTES):
                cut = cut or len(end) + len(piece) > limit
                end = (end + piece)[-limit:]
            return end, cut

        content, cut = await self._translated(what, read)
        if response.status >= 400:
            raise response_error(what, response.status, content)
        return content, cut

    async def start_of(self, what: str, response: Any, limit: int) -> bytes:
        """Return at most the first `limit` bytes of a response that was not read yet, whatever its status.

        Raises Unavailable.
        """

        async def read() -> bytes:
            body = b""
            async with asyncio.timeout(self.timeout):
                while len(body) < limit and (piece := await response.content.read(limit - len(body))):
                    body += piece
            return body

        try:
            content: bytes = await self._translated(what, read)
        finally:
            response.close()
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

    async def find(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        read: Callable[..., Awaitable[Any]],
        listing: Callable[..., Awaitable[Any]],
    ) -> Any:
        """Return an object. Raises NotFound `no_such_object` with the names that are nearest to it."""
        where = (namespace,) if namespace else ()
        try:
            return await self.ask(f"{kind} {'/'.join((*where, name))}", read, name, *where)
        except NotFound as missing:
            try:
                names = [str(other["metadata"]["name"]) for other in await self.list_all(f"{kind}s", listing, *where)]
            except Refused:
                raise missing from None
            known = difflib.get_close_matches(name, names, NAMED, cutoff=0.0)
            facts = {"kind": kind, "name": name, "namespace": namespace, "more": len(names) - len(known)}
            raise NotFound("no_such_object", **facts, nearest=nearest(name, names), known=known) from missing

    async def list_all(self, what: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> list[Any]:
        """Return all items of a list as plain JSON, page by page. Raises as `ask`.

        A continuation that has expired (410) is begun again: the cluster has changed while it was read.
        """
        for _ in range(LIST_ATTEMPTS):
            items: list[Any] = []
            token: str | None = None
            try:
                while True:
                    page = self.plain(
                        await self.ask(what, call, *args, limit=self.page_size, _continue=token, **kwargs)
                    )
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

    async def resources(self, group: str, version: str) -> list[str]:
        """Return the names of an API group's resources, none if the cluster does not have the group."""
        try:
            found = await self.ask(
                f"resources of {group}", client.CustomObjectsApi(self.api).get_api_resources, group, version
            )
        except NotFound:
            return []
        return [str(resource.name) for resource in found.resources]

    async def namespaces(self) -> list[str]:
        """Return the names of all namespaces. Raises Refused if the bot may not list them."""
        items = await self.list_all("namespaces", client.CoreV1Api(self.api).list_namespace)
        return [str(item["metadata"]["name"]) for item in items]

    def plain(self, thing: Any) -> dict[str, Any]:
        """Return an API object as plain JSON, as kubectl prints it."""
        content: dict[str, Any] = self.api.sanitize_for_serialization(thing)  # type: ignore[no-untyped-call]
        return content


def to_number(text: object) -> float:
    """Return `250m` cores or `512Mi` bytes as a number."""
    return float(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]


def diff(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return a unified diff of two objects in YAML; `{}` stands for no object.

    Fields that the server sets and the values of Secrets are left out.
    """
    before, after = hide_in_objects(before, after)
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


def response_error(what: str, status: int, body: bytes) -> NotFound | Refused | Unavailable:
    """Return the error of a response of the API server's."""
    problem = client.exceptions.ApiException(status=status, reason=f"HTTP {status}")
    problem.body = body.decode(errors="replace")
    return _to_bot_error(what, problem)


def with_warnings(diff: str, warnings: Sequence[str]) -> str:
    """Return a diff with what the API server warned of, a line each."""
    return "\n".join(filter(None, [diff, *(f"!  {warning}" for warning in dict.fromkeys(warnings))]))


def _trace_of_warnings() -> aiohttp.TraceConfig:
    """Return what keeps the warnings of responses for the `ask` that waits for them."""

    async def keep(_session: Any, _context: Any, params: aiohttp.TraceRequestEndParams) -> None:
        kept = _warnings.get()
        if kept is not None:
            headers = ", ".join(params.response.headers.getall("Warning", ()))
            kept += [re.sub(r"\\(.)", r"\1", one["text"])[:WHY_LIMIT] for one in _WARNING.finditer(headers)]

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(keep)
    return trace


def _to_bot_error(what: str, problem: client.exceptions.ApiException) -> NotFound | Refused | Unavailable:
    status = int(problem.status or 0)
    try:
        body = json.loads(problem.body or "{}")
    except ValueError:
        body = {}
    why = _why(body, problem)
    facts: dict[str, Any] = {"service": SERVICE, "what": what, "status": status, "why": why}
    if status == 404:
        key = "kubernetes_not_found" if " not found" in why else "kubernetes_no_api"
        return NotFound(key, what=what, why=why)
    if status == 403 and (missing := _FORBIDDEN.search(why)):
        return Refused("kubernetes_forbidden", what=what, **missing.groupdict(default="*"))
    if status == 403 and _causes(body, "NamespaceTerminating"):
        return Refused("namespace_ends", **facts)
    if 400 <= status < 500 and (denied := _DENIED.search(why)):
        by = denied["webhook"] or denied["policy"]
        return Refused("admission_denied", **{**facts, "why": denied["why"].strip(" .") or "?"}, by=by)
    if status >= 500 and (silent := _SILENT_WEBHOOK.search(why)):
        return Unavailable("webhook_silent", **{**facts, "why": why.rpartition(": ")[2]}, by=silent["webhook"])
    if contested := _contested(body):
        return Refused("fields_contested", **facts, fields=contested)
    if status in (429, 409) or status >= 500:
        key = "kubernetes_busy" if status in (429, 409) else "unreachable"
        return Unavailable(key, **facts, retry_after=_retry_after(problem))
    return Refused("refused", **facts)


def _retry_after(problem: client.exceptions.ApiException) -> float | None:
    """Return for how many seconds the API server asks to wait; None if it does not say."""
    headers: Mapping[str, str] = problem.headers or {}
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and len(text) < 5 else None


def _causes(body: Any, reason: str) -> list[Mapping[str, Any]]:
    causes = (body.get("details") or {}).get("causes") if isinstance(body, dict) else None
    return [cause for cause in causes or () if cause.get("reason") == reason]


def _contested(body: Any) -> list[str]:
    """Return which fields of an apply belong to somebody else: `.spec.maxReplicas (kubectl)`."""
    found = []
    for cause in _causes(body, "FieldManagerConflict"):
        manager = re.search(r'conflict with "([^"]+)"', str(cause.get("message")))
        found.append(f"{cause.get('field')} ({manager[1] if manager else '?'})")
    return found


def _why(body: Any, problem: client.exceptions.ApiException) -> str:
    """Return the API's message in one line, with the causes of a disruption budget that forbids an eviction."""
    if not isinstance(body, dict):
        return "?"
    text = str(body.get("message") or problem.reason or f"HTTP {problem.status}")
    budgets = [str(cause.get("message")) for cause in _causes(body, "DisruptionBudget")]
    return " ".join(" ".join([text, *budgets]).split())[:WHY_LIMIT]


def _kubeconfig_fault(kubeconfig: str | None, problem: Exception) -> tuple[str, str]:
    """Return what is wrong with a kubeconfig, or several as kubectl joins them: `missing`, `folder`, `denied`,
    `no_kubeconfig`, `no_context`, `outside` (of a cluster, without one), `other`; of the program that gets its token
    `plugin_slow`, `plugin_missing` or `plugin_failed`. And why, in one line.
    """
    why = (" ".join(str(problem).split()) or type(problem).__name__)[:WHY_LIMIT]
    if kubeconfig is None:
        return "outside", why
    paths = [path for part in kubeconfig.split(os.pathsep) if part and (path := Path(part).expanduser()).exists()]
    if not paths:
        return "missing", why
    if any(path.is_dir() for path in paths):
        return "folder", why
    try:
        contents = [yaml.safe_load(path.read_bytes()) for path in paths]
    except OSError:
        return "denied", why
    except yaml.YAMLError:
        return "no_kubeconfig", why
    if not all(isinstance(content, dict) and content.keys() & {"clusters", "contexts"} for content in contents):
        return "no_kubeconfig", why
    if not any(content.get("current-context") for content in contents):
        return "no_context", why
    return _plugin_fault(contents, problem, why) or ("other", why)


class _PluginFailed(Exception):
    """The program that gets a token has not got one."""


@contextmanager
def _raising_plugin_failures() -> Iterator[None]:
    """Raise what the client only logs, before it goes on as nobody: that the program has got no token."""
    logged: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    keeper, logger = Keeper(logging.ERROR), logging.getLogger("kubernetes.aio.config.kube_config")
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)
    if logged:
        raise _PluginFailed(logged[-1])


def _plugin_fault(kubeconfigs: Sequence[Mapping[str, Any]], problem: Exception, why: str) -> tuple[str, str] | None:
    """Return what is wrong with the program that gets a token; None if the problem is another one."""
    users = [user.get("user") or {} for content in kubeconfigs for user in content.get("users") or ()]
    programs = [str(user["exec"].get("command")) for user in users if user.get("exec")]
    if isinstance(problem, TimeoutError):
        return "plugin_slow", ", ".join(programs)
    if not isinstance(problem, _PluginFailed):
        return None
    missing = [program for program in programs if program in why and not shutil.which(program)]
    if missing:
        return "plugin_missing", missing[0]
    said = re.sub(r"""\bb(['"])(.*?)\1?$""", r"\2", why.removeprefix("exec: "))  # it writes bytes as code has them
    return "plugin_failed", f"{', '.join(programs)}: {said}"
