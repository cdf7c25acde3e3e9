"""The API over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sandbox.kubernetes import changing, discovery, openapi, pods, reading, tables
from sandbox.kubernetes.access import Account, check, review
from sandbox.kubernetes.backend import Kubernetes
from sandbox.kubernetes.call import Call, target
from sandbox.kubernetes.kinds import Kind
from sandbox.kubernetes.objects import Object
from sandbox.kubernetes.problems import (
    NoSuchPath,
    Problem,
    bad_request,
    no_such_resource,
    not_allowed,
    success,
)
from sandbox.kubernetes.resources import others
from sandbox.kubernetes.streams import LogStream, check_started, container_of, run_in

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(kubernetes: Kubernetes) -> list[BaseRoute]:
    """The routes, without a prefix."""
    api = Api(kubernetes)
    return [
        Route("/version", _known(discovery.VERSION)),
        *(Route(path, _fine) for path in ("/healthz", "/readyz", "/livez")),
        Route("/api", _told(api.versions)),
        Route("/apis", _told(api.groups)),
        Route("/api/{version}", _told(api.resources)),
        Route("/apis/{group}", _told(api.group)),
        Route("/apis/{group}/{version}", _told(api.resources)),
        Route("/openapi/v3", _told(api.openapi_paths)),
        Route("/openapi/v3/{root:path}", _told(api.openapi)),
        Route("/openapi/v2", _told(api.swagger)),
        Route("/{path:path}", _told(api.resource), methods=METHODS),
        WebSocketRoute("/{path:path}", api.exec),
    ]


class Api:
    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._store = kubernetes.store

    # --- discovery

    async def versions(self, request: Request) -> Response:
        if discovery.is_aggregated(request.headers.get("accept", "")):
            kinds = [kind for kind in self._kinds() if not kind.group]
            return JSONResponse(discovery.aggregated(kinds), media_type=discovery.AGGREGATED)
        return JSONResponse(discovery.versions())

    async def groups(self, request: Request) -> Response:
        if discovery.is_aggregated(request.headers.get("accept", "")):
            kinds = [kind for kind in self._kinds() if kind.group]
            return JSONResponse(discovery.aggregated(kinds), media_type=discovery.AGGREGATED)
        return JSONResponse(discovery.groups(self._kinds()))

    def _kinds(self) -> list[Kind]:
        return list(self._kubernetes.kinds.values())

    async def group(self, request: Request) -> Response:
        name = request.path_params["group"]
        for group in discovery.groups(self._kinds())["groups"]:
            if group["name"] == name:
                return JSONResponse(group)
        raise NoSuchPath

    async def resources(self, request: Request) -> Response:
        group, version = request.path_params.get("group", ""), request.path_params["version"]
        kinds = [kind for kind in self._kinds() if (kind.group, kind.version) == (group, version)]
        if not kinds:
            raise NoSuchPath
        return JSONResponse(discovery.resources(kinds, kinds[0].api_version))

    async def openapi_paths(self, _: Request) -> Response:
        return JSONResponse(openapi.paths(self._kinds()))

    async def openapi(self, request: Request) -> Response:
        root = request.path_params["root"].partition("/")[2]
        kinds = [kind for kind in self._kinds() if kind.api_version == root]
        if not kinds:
            raise no_such_resource()
        return JSONResponse(openapi.group(kinds))

    async def swagger(self, request: Request) -> Response:
        if "json" not in request.headers.get("accept", "json"):
            raise Problem(406, "NotAcceptable", "the sandbox describes itself as JSON only")
        return JSONResponse(openapi.swagger(self._kinds()))

    # --- objects

    async def resource(self, request: Request) -> Response:
        path = "/" + request.path_params["path"]
        call = Call(
            request.method,
            target(path, self._kubernetes.kinds),
            request.query_params,
            request.headers,
            await request.body(),
        )
        self._kubernetes.advance()
        account = self._account(request.headers)
        where = call.target
        check(account, call.verb, where.kind, where.namespace, where.name, where.subresource)
        if call.verb not in where.kind.verbs and not where.subresource:
            raise not_allowed()
        if call.method in ("PUT", "PATCH") and not where.name:
            raise not_allowed()
        if call.method != "GET":
            self._kubernetes.calls.append(call)
        if call.verb == "watch":
            return await self._watch(request, call)
        answer = self._answer(call, account)
        self._kubernetes.cluster.settle()
        return answer

    def _answer(self, call: Call, account: Account) -> Response:
        writer, where = self._kubernetes.writer, call.target
        match where.subresource:
            case "scale":
                return JSONResponse(changing.scale(writer, call))
            case "eviction":
                return JSONResponse(pods.evict(writer, call), 201)
            case "log":
                return self._log(call)
            case "exec" | "attach" | "portforward":
                raise bad_request("Upgrade request required")
        if where.kind is others.ACCESS_REVIEW:
            return JSONResponse(review(account, call.body()), 201)
        match call.verb:
            case "get":
                return self._one(call, reading.get(self._store, where))
            case "list":
                return self._many(call, *reading.list_of(self._store, call))
            case "create" if not where.name:
                return self._one(call, changing.create(writer, call), 201)
            case "update":
                return self._one(call, changing.update(writer, call))
            case "patch" if call.content_type == changing.APPLY:
                obj, new = changing.apply(writer, call)
                return self._one(call, obj, 201 if new else 200)
            case "patch":
                return self._one(call, changing.patch(writer, call))
            case "delete":
                kind, obj, gone = changing.remove(writer, tuple(self._kubernetes.kinds.values()), call)
                return self._one(call, success(kind, obj) if gone and kind.plural != "pods" else obj)
            case "deletecollection":
                return self._many(call, changing.remove_all(writer, call), {})
        raise not_allowed()

    def _one(self, call: Call, obj: Object, code: int = 200) -> Response:
        headers = {"Warning": ", ".join(f'299 - "{_quoted(one)}"' for one in call.warnings)} if call.warnings else None
        return JSONResponse(self._shown(call)(obj), code, headers)

    def _many(self, call: Call, items: list[Object], metadata: Object) -> Response:
        kind = call.target.kind
        if tables.is_wanted(call.headers.get("accept", "")):
            return JSONResponse(tables.table(kind, items, metadata, self._kubernetes.now(), _included(call)))
        if not kind.custom:  # the kind of the list says it for all
            items = [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in items]
        return JSONResponse(
            {"kind": kind.list_name, "apiVersion": kind.api_version, "metadata": metadata, "items": items}
        )

    def _shown(self, call: Call) -> reading.Shown:
        """How the call wants an object: as it is, or as a table of one row."""
        if call.method != "GET" or not tables.is_wanted(call.headers.get("accept", "")):
            return lambda obj: obj
        kind, included = call.target.kind, _included(call)
        return lambda obj: tables.table(
            kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}, self._kubernetes.now(), included
        )

    def _log(self, call: Call) -> Response:
        kubernetes = self._kubernetes
        stream = LogStream(call, self._store, kubernetes.logs, kubernetes.world)
        lines = stream.begin(reading.get(self._store, call.target), kubernetes.now())
        return StreamingResponse(lines, media_type="text/plain")

    async def exec(self, websocket: WebSocket) -> None:
        """Run a program in a pod, as `kubectl exec` asks for it."""
        path = "/" + websocket.path_params["path"]
        try:
            where = target(path, self._kubernetes.kinds)
            if where.subresource != "exec":
                raise no_such_resource()
            self._kubernetes.advance()
            account = self._account(websocket.headers)
            check(account, "create", where.kind, where.namespace, where.name, "exec")
            pod = reading.get(self._store, where)
            container = container_of(
                pod, websocket.query_params.get("container") or pod["spec"]["containers"][0]["name"]
            )
            check_started(pod, container)
        except (Problem, NoSuchPath) as problem:
            await websocket.send_denial_response(_refusal(problem))
            return
        await run_in(websocket, pod, self._kubernetes.programs)

    def _account(self, headers: Headers) -> Account:
        return self._kubernetes.accounts.account(headers.get("authorization", ""), headers.get("impersonate-user", ""))

    async def _watch(self, request: Request, call: Call) -> Response:
        lines = reading.watch(self._store, call, self._shown(call))
        await anext(lines)  # so that a version that is too old is refused with 410 instead of 200
        request.scope["state"]["endless"] = True
        return StreamingResponse(_streamed(lines), media_type="application/json")


def _included(call: Call) -> str:
    return call.query.get("includeObject") or "Metadata"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


async def _streamed(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line


def _told(endpoint: Endpoint) -> Endpoint:
    """The endpoint with its problems told as Status objects."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (Problem, NoSuchPath) as problem:
            return _refusal(problem)

    return answer


def _refusal(problem: Problem | NoSuchPath) -> Response:
    if isinstance(problem, NoSuchPath):
        return PlainTextResponse("404 page not found\n", 404)
    return JSONResponse(problem.status(), problem.code)


def _known(answer: Object) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(answer)

    return endpoint


async def _fine(_: Request) -> Response:
    return PlainTextResponse("ok")
