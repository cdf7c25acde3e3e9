"""The API over HTTP: authenticate, authorize, parse, call the operation, answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sandbox.kubernetes import operations, shapes, streams
from sandbox.kubernetes.access import ACCESS_REVIEW, Account, check_access, review_access
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.call import Call, parse_path
from sandbox.kubernetes.errors import (
    PathNotFound,
    StatusError,
    bad_request,
    method_not_allowed,
    resource_not_found,
    success,
)
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.resources.policy import evict

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(kubernetes: Kubernetes) -> list[BaseRoute]:
    """Return the routes, without a prefix."""
    api = Api(kubernetes)
    return [
        Route("/version", api.version),
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
                is_immediate = is_gone and target.kind.grace_period is None
                return self._object(call, success(target.kind, obj) if is_immediate else obj)
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
        return JSONResponse(shapes.object_list(call.target.kind, items, metadata))

    def _table(self, call: Call, items: Sequence[Object], metadata: Object) -> Object:
        include = call.query.get("includeObject") or "Metadata"
        return shapes.table(call.target.kind, items, metadata, self._kubernetes.now(), include)

    async def _watch(self, request: Request, call: Call) -> Response:
        lines = streams.watch(self._store, call, lambda obj: self._shown(call, obj))
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
        stream = streams.LogStream(call, self._store, kubernetes.logs, kubernetes.world)
        lines = stream.open(operations.get(self._store, call.target), kubernetes.now())
        return StreamingResponse(lines, media_type="text/plain")

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
            name = websocket.query_params.get("container") or pod["spec"]["containers"][0]["name"]
            streams.check_started(pod, streams.find_container(pod, name))
        except (StatusError, PathNotFound) as error:
            await websocket.send_denial_response(_error_response(error))
            return
        await streams.execute(websocket, pod, self._kubernetes.programs)

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
