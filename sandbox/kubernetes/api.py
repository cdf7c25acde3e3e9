"""The API over HTTP: authenticate, authorize, parse, call the operation, answer."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sandbox.kubernetes import operations, shapes
from sandbox.kubernetes.access import ACCESS_REVIEW, Account, check_access, review_access
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.call import Call, parse_path
from sandbox.kubernetes.containers import LogLine, Logs, ProgramExit, Programs
from sandbox.kubernetes.errors import (
    PathNotFound,
    StatusError,
    bad_request,
    method_not_allowed,
    resource_not_found,
    success,
)
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object, is_terminating, key_of, labels_of, name_of, parse_time, status_of
from sandbox.kubernetes.resources.pods import POD
from sandbox.kubernetes.resources.policy import evict
from sandbox.kubernetes.state import Store
from sandbox.world.api import health_of
from sandbox.world.services import NAMESPACE
from sandbox.world.world import World

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(kubernetes: Kubernetes) -> list[BaseRoute]:
    """Return the routes, without a prefix."""
    api = Api(kubernetes)
    return [
        Route("/version", api.version),
        Route("/version/", api.version),  # as the Python client asks
        *(Route(path, api.health) for path in ("/healthz", "/readyz", "/livez")),
        Route("/api", _with_errors(api.versions)),
        Route("/apis", _with_errors(api.groups)),
        Route("/api/{version}", _with_errors(api.resources)),
        Route("/apis/{group}", _with_errors(api.group)),
        Route("/apis/{group}/{version}", _with_errors(api.resources)),
        Route("/openapi/v3", _with_errors(api.openapi_index)),
        Route("/openapi/v3/{root:path}", _with_errors(api.openapi)),
        Route("/{path:path}", _with_errors(api.resource), methods=METHODS),
        WebSocketRoute("/{path:path}", api.exec),
    ]


class Api:
    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._store = kubernetes.store

    # --- discovery

    async def version(self, _: Request) -> Response:
        return JSONResponse(shapes.VERSION)

    async def health(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def versions(self, request: Request) -> Response:
        if _wants_aggregated(request):
            return _aggregated([kind for kind in self._kinds() if not kind.group])
        return JSONResponse(shapes.api_versions())

    async def groups(self, request: Request) -> Response:
        if _wants_aggregated(request):
            return _aggregated([kind for kind in self._kinds() if kind.group])
        return JSONResponse(shapes.api_groups(self._kinds()))

    async def group(self, request: Request) -> Response:
        name = request.path_params["group"]
        for group in shapes.api_groups(self._kinds())["groups"]:
            if group["name"] == name:
                return JSONResponse(group)
        raise PathNotFound

    async def resources(self, request: Request) -> Response:
        group, version = request.path_params.get("group", ""), request.path_params["version"]
        kinds = [kind for kind in self._kinds() if (kind.group, kind.version) == (group, version)]
        if not kinds:
            raise PathNotFound
        return JSONResponse(shapes.api_resources(kinds, kinds[0].api_version))

    async def openapi_index(self, _: Request) -> Response:
        return JSONResponse(shapes.openapi_index(self._kinds()))

    async def openapi(self, request: Request) -> Response:
        api_version = request.path_params["root"].partition("/")[2]
        kinds = [kind for kind in self._kinds() if kind.api_version == api_version]
        if not kinds:
            raise resource_not_found()
        return JSONResponse(shapes.openapi_document(kinds))

    def _kinds(self) -> list[Kind]:
        return list(self._kubernetes.kinds.values())

    # --- objects

    async def resource(self, request: Request) -> Response:
        """Answer a request for a resource, whatever its verb."""
        target = parse_path("/" + request.path_params["path"], self._kubernetes.kinds)
        call = Call(request.method, target, request.query_params, request.headers, await request.body())
        self._kubernetes.advance()
        account = self._account(request.headers)
        check_access(account, call.verb, target.kind, target.namespace, target.name, target.subresource)
        if call.verb not in target.kind.verbs and not target.subresource:
            raise method_not_allowed()
        if call.method in ("PUT", "PATCH") and not target.name:
            raise method_not_allowed()
        if call.method != "GET":
            self._kubernetes.calls.append(call)
        if call.verb == "watch":
            return await self._watch(request, call)
        if target.subresource == "proxy":
            return await self._proxy(call)
        response = self._response(call, account)
        self._kubernetes.cluster.settle()
        return response

    def _response(self, call: Call, account: Account) -> Response:
        writer, target = self._kubernetes.writer, call.target
        match target.subresource:
            case "scale":
                return JSONResponse(operations.scale(writer, call))
            case "eviction":
                return self._evict(call)
            case "log":
                return self._log(call)
            case "exec":
                _find_container(operations.get(self._store, target), call.query.get("container") or "")
                raise bad_request("Upgrade request required")
        if target.kind is ACCESS_REVIEW:
            return JSONResponse(review_access(account, call.body()), 201)
        match call.verb:
            case "get":
                return self._object(call, operations.get(self._store, target))
            case "list":
                return self._list(call, *operations.list_objects(self._store, call))
            case "create" if not target.name:
                return self._object(call, operations.create(writer, call), 201)
            case "update":
                return self._object(call, operations.update(writer, call))
            case "patch" if call.content_type == operations.APPLY_PATCH:
                obj, is_new = operations.apply(writer, call)
                return self._object(call, obj, 201 if is_new else 200)
            case "patch":
                return self._object(call, operations.patch(writer, call))
            case "delete":
                obj, is_gone = operations.delete(writer, self._kinds(), call)
                kind, is_shown = target.kind, target.kind.returns_deleted or target.kind.grace_period is not None
                return self._object(call, success(kind, obj) if is_gone and not is_shown else obj)
            case "deletecollection":
                return self._list(call, operations.delete_collection(writer, call), {})
        raise method_not_allowed()

    def _object(self, call: Call, obj: Object, code: int = 200) -> Response:
        quoted = [warning.replace("\\", "\\\\").replace('"', '\\"') for warning in call.warnings]
        headers = {"Warning": ", ".join(f'299 - "{warning}"' for warning in quoted)} if quoted else None
        return JSONResponse(self._shown(call, obj), code, headers)

    def _shown(self, call: Call, obj: Object) -> Object:
        """Return an object as the call wants it: as it is, or as a table of one row."""
        if call.method != "GET" or not call.wants_table:
            return obj
        return self._table(call, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]})

    def _list(self, call: Call, items: Sequence[Object], metadata: Object) -> Response:
        if call.wants_table:
            return JSONResponse(self._table(call, items, metadata))
        if call.wants_metadata:
            return JSONResponse(shapes.metadata_list(items, metadata))
        return JSONResponse(shapes.object_list(call.target.kind, items, metadata))

    def _table(self, call: Call, items: Sequence[Object], metadata: Object) -> Object:
        include = call.query.get("includeObject") or "Metadata"
        return shapes.table(call.target.kind, items, metadata, self._kubernetes.now(), include)

    async def _watch(self, request: Request, call: Call) -> Response:
        lines = operations.watch(self._store, call, lambda obj: self._shown(call, obj))
        await anext(lines)  # so that a version that is too old is refused with 410 instead of 200
        request.scope["state"]["endless"] = True
        return StreamingResponse(lines, media_type="application/json")

    # --- subresources of pods

    def _evict(self, call: Call) -> Response:
        pod = operations.get(self._store, call.target)
        options = call.body().get("deleteOptions") or {}
        return JSONResponse(evict(self._kubernetes.writer, pod, options, dry_run=call.options.dry_run), 201)

    def _log(self, call: Call) -> Response:
        kubernetes = self._kubernetes
        stream = LogStream(call, self._store, kubernetes.logs, kubernetes.world)
        lines = stream.open(operations.get(self._store, call.target), kubernetes.now())
        return StreamingResponse(lines, media_type="text/plain")

    async def _proxy(self, call: Call) -> Response:
        """Pass a request on to a port of a pod, whose name comes as `[scheme:]name[:port]`."""
        parts = call.target.name.split(":")
        name, port = parts[-2:] if len(parts) > 1 else (parts[0], "80")
        pod, world = operations.get(self._store, replace(call.target, name=name)), self._kubernetes.world
        containers = pod["spec"]["containers"]
        if not any(str(open["containerPort"]) == port for one in containers for open in one.get("ports") or ()):
            address = f"{status_of(pod).get('podIP')}:{port}"
            why = f"error trying to reach service: dial tcp {address}: connect: connection refused"
            raise StatusError(503, "ServiceUnavailable", why)
        service = labels_of(pod).get("app", "")
        if call.target.path.strip("/") != "health":
            return PlainTextResponse("404 page not found\n", 404)
        if call.target.namespace != NAMESPACE or service not in world.deployments:
            return JSONResponse({"status": "ok", "service": service})
        return await health_of(world, service)

    async def exec(self, websocket: WebSocket) -> None:
        """Run a program in a pod, as `kubectl exec` asks for it."""
        try:
            target = parse_path("/" + websocket.path_params["path"], self._kubernetes.kinds)
            if target.subresource != "exec":
                raise resource_not_found()
            self._kubernetes.advance()
            account = self._account(websocket.headers)
            check_access(account, "create", target.kind, target.namespace, target.name, "exec")
            pod = operations.get(self._store, target)
            _check_started(pod, _find_container(pod, websocket.query_params.get("container") or ""))
        except (StatusError, PathNotFound) as error:
            await websocket.send_denial_response(_error_response(error))
            return
        await _execute(websocket, pod, self._kubernetes.programs)

    def _account(self, headers: Headers) -> Account:
        return self._kubernetes.accounts.account(headers.get("authorization", ""), headers.get("impersonate-user", ""))


def _wants_aggregated(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace(" ", "")


def _aggregated(kinds: Sequence[Kind]) -> Response:
    return JSONResponse(shapes.aggregated_discovery(kinds), media_type=shapes.AGGREGATED_DISCOVERY)


def _with_errors(endpoint: Endpoint) -> Endpoint:
    """Wrap an endpoint so that its errors are answered as Status objects."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (StatusError, PathNotFound) as error:
            return _error_response(error)

    return answer


def _error_response(error: StatusError | PathNotFound) -> Response:
    if isinstance(error, PathNotFound):
        return PlainTextResponse("404 page not found\n", 404)
    return JSONResponse(error.status(), error.code)


# --- logs and exec
# The protocol of exec: binary frames whose first byte is the channel (0 stdin, 1 stdout, 2 stderr, 3 the Status at the
# end; v5 adds 255, the close of another). It is not documented beyond the names in
# k8s.io/apimachinery/pkg/util/remotecommand.

LOG_POLL_SECONDS = 0.1
LIVE_PHASES = ("Running", "Pending")
EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STATUS_CHANNEL = 3


class LogStream:
    """One request for a log."""

    def __init__(self, call: Call, store: Store, logs: Logs, world: World) -> None:
        self._call = call
        self._store = store
        self._logs = logs
        self._world = world

    def open(self, pod: Object, now: datetime) -> AsyncIterator[bytes]:
        """Return the lines. Raises StatusError 400 if there can be none."""
        query = self._call.query
        container = _find_container(pod, query.get("container") or "")
        if query.get("previous") == "true":
            return self._formatted(self._tail(list(self._logs.previous(pod))))
        _check_started(pod, container)
        lines = self._tail(list(self._logs.lines(pod, container, self._since(now), now)))
        if query.get("follow") == "true":
            return self._followed(pod, container, lines, now)
        return self._formatted(lines)

    def _since(self, now: datetime) -> datetime | None:
        query = self._call.query
        if seconds := query.get("sinceSeconds"):
            if not seconds.isdigit() or int(seconds) < 1:
                raise bad_request(f"sinceSeconds: Invalid value: {seconds}: must be greater than 0")
            return now - timedelta(seconds=int(seconds))
        return parse_time(query["sinceTime"]) if query.get("sinceTime") else None

    def _tail(self, lines: list[LogLine]) -> list[LogLine]:
        tail = self._call.query.get("tailLines")
        return lines if tail is None else list(deque(lines, int(tail)))

    async def _formatted(self, lines: list[LogLine]) -> AsyncIterator[bytes]:
        limit = int(self._call.query.get("limitBytes") or 0)
        timestamps = self._call.query.get("timestamps") == "true"
        text = "".join(line.format(timestamps=timestamps) for line in lines).encode()
        yield text[:limit] if limit else text

    async def _followed(self, pod: Object, container: str, lines: list[LogLine], now: datetime) -> AsyncIterator[bytes]:
        async for chunk in self._formatted(lines):
            yield chunk
        shown_until = now
        while True:
            await asyncio.sleep(LOG_POLL_SECONDS)
            self._world.advance()
            latest = self._store.get(POD, *key_of(pod))
            until = datetime.fromtimestamp(self._world.at / 1000, now.tzinfo)
            lines = list(self._logs.lines(latest or pod, container, shown_until, until))
            async for chunk in self._formatted([line for line in lines if line.at > shown_until]):
                if chunk:
                    yield chunk
            shown_until = until
            if latest is None or is_terminating(latest) or status_of(latest).get("phase") not in LIVE_PHASES:
                return


def _find_container(pod: Object, name: str) -> str:
    """Return the container of that name, or the only one. Raises StatusError 400 if there is none or several."""
    names = [container["name"] for container in pod["spec"]["containers"]]
    if name and name not in names:
        raise bad_request(f"container {name} is not valid for pod {name_of(pod)}")
    if not name and len(names) > 1:
        raise bad_request(
            f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(names)}]"
        )
    return name or str(names[0])


def _check_started(pod: Object, container: str) -> None:
    """Raise StatusError 400 if a container has not started."""
    for status in status_of(pod).get("containerStatuses") or [{"name": container, "state": {"waiting": {}}}]:
        if status["name"] == container and "waiting" in status["state"]:
            why = status["state"]["waiting"].get("reason", "PodInitializing")
            raise bad_request(f'container "{container}" in pod "{name_of(pod)}" is waiting to start: {why}')


async def _execute(websocket: WebSocket, pod: Object, programs: Programs) -> None:
    """Run the command of an exec request, and send its output and its exit over the websocket."""
    offered = websocket.scope.get("subprotocols") or []
    await websocket.accept(next((protocol for protocol in EXEC_PROTOCOLS if protocol in offered), None))
    exit = ProgramExit()
    command = websocket.query_params.getlist("command")
    wanted = {1: websocket.query_params.get("stdout"), 2: websocket.query_params.get("stderr")}
    try:
        async for channel, chunk in programs.run(command, pod, exit):
            if wanted[channel] in ("1", "true", "True"):
                await websocket.send_bytes(bytes([channel]) + chunk)
        await websocket.send_bytes(bytes([STATUS_CHANNEL]) + json.dumps(_exit_status(exit)).encode())
        await websocket.close()
    except WebSocketDisconnect:
        return


def _exit_status(exit: ProgramExit) -> Object:
    if exit.missing:
        message = f'exec: "{exit.missing}": executable file not found in $PATH: unknown'
        return StatusError(500, "InternalError", message, {"causes": [{"message": message}]}).status()
    if not exit.code:
        return {"metadata": {}, "status": "Success"}
    message = f"command terminated with non-zero exit code: exit code {exit.code}"
    causes = [{"reason": "ExitCode", "message": str(exit.code)}]
    return StatusError(500, "NonZeroExitCode", message, {"causes": causes}).status()
