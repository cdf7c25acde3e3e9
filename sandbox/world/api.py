"""The world over HTTP: its metrics for a real Prometheus, what an operator of the sandbox can do, and health endpoints.

| request | does |
|---|---|
| `GET /metrics` | the present values in Prometheus' text format |
| `GET /` | time, speed, scenario with its words, figures by service, the last changes |
| `POST /play` `{"scenario": name}` | starts a scenario |
| `POST /perform` `{"word": word}` | does the actions of one of the scenario's words |
| `POST /speed` `{"speed": number}` | sets the world seconds in a real one |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.prometheus.literals import go_float
from sandbox.prometheus.tsdb import NAME, Labels
from sandbox.world.metrics import METADATA
from sandbox.world.scenario import load_scenario, scenario_names
from sandbox.world.world import World

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
QUICK = 0.01  # seconds for a service that is as it should be
SLOWEST = 5.0
FAILING = 0.10  # ratio of errors
Body = TypeVar("Body", bound=BaseModel)


class Play(BaseModel):
    model_config = ConfigDict(extra="forbid")
    scenario: str


class Perform(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: str


class Speed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    speed: float = Field(gt=0, le=10_000)


def routes(world: World) -> list[BaseRoute]:
    """The routes, without a prefix."""

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(exposition(world), headers={"content-type": CONTENT_TYPE})

    async def state(_: Request) -> Response:
        return JSONResponse(_world_json(world))

    def play(body: Play) -> None:
        if body.scenario not in scenario_names():
            raise ValueError(f"no such scenario: {body.scenario}; known are: {', '.join(scenario_names())}")
        world.play(load_scenario(body.scenario))

    def perform(body: Perform) -> None:
        world.perform(body.word)

    def speed(body: Speed) -> None:
        world.clock.speed = body.speed

    def post(path: str, model: type[Body], do: Callable[[Body], None]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                do(model.model_validate_json(await request.body()))
            except ValidationError as error:
                return JSONResponse(
                    {"error": error.errors(include_url=False, include_context=False, include_input=False)}, 400
                )
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
            return JSONResponse(_world_json(world))

        return Route(path, endpoint, methods=["POST"])

    return [
        Route("/metrics", metrics),
        Route("/", state),
        post("/play", Play, play),
        post("/perform", Perform, perform),
        post("/speed", Speed, speed),
    ]


def _world_json(world: World) -> dict[str, Any]:
    world.advance()
    scenario = world.scenario
    return {
        "now": world.clock.now().isoformat(),
        "speed": world.clock.speed,
        "scenario": scenario and {"name": scenario.name, "words": list(scenario.words)},
        "figures": {name: asdict(world.figures(name)) for name in world.deployments},
        "changes": [asdict(change) for change in world.changes[-20:]],
    }


# Prometheus' text format: https://prometheus.io/docs/instrumenting/exposition_formats/


def exposition(world: World) -> str:
    """Return all that the world exports now, family by family, in text format 0.0.4."""
    world.advance()
    families: dict[str, list[str]] = {name: [] for name in METADATA}
    for source in world.sources():
        for series, value in zip(source.series, source.rows[-1].tolist(), strict=True):
            families[_family(series.labels[NAME])].append(f"{_series_name(series.labels)} {go_float(value)}")
    lines: list[str] = []
    for name, samples in families.items():
        if samples:
            metadata = METADATA[name]
            lines += [f"# HELP {name} {metadata.help}", f"# TYPE {name} {metadata.type}", *samples]
    return "\n".join([*lines, ""])


def _family(name: str) -> str:
    for part in HISTOGRAM_PARTS:
        if name.removesuffix(part) in METADATA:
            return name.removesuffix(part)
    return name


def _series_name(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items() if name != NAME)
    return f"{labels[NAME]}{{{pairs}}}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


# The services' health endpoints.


def health_routes(world: World) -> list[BaseRoute]:
    """Return the route `GET /{host}/health`, where the host begins with a service's name.

    A host with `staging` in it is always well. Production answers by its figures: slower when the service is,
    `degraded` when users wait too long, 500 when too much fails, 503 while no pod is ready.
    """

    async def health(request: Request) -> Response:
        host: str = request.path_params["host"]
        service = host.partition(".")[0]
        if service not in world.deployments:
            return JSONResponse({"error": f"no such host: {host}"}, 502)
        if ".staging." in host:
            return JSONResponse({"status": "ok", "service": service})
        if not any(pod.is_ready(world.at) for pod in world.pods(service)):
            return JSONResponse({"error": "no endpoints available"}, 503)
        return await health_of(world, service)

    return [Route("/{host}/health", health)]


async def health_of(world: World, service: str) -> Response:
    """Return what a service's own health endpoint says in production, as late as it answers everybody."""
    deployment, figures = world.deployments[service], world.figures(service)
    await asyncio.sleep(min(QUICK * figures.p95 / deployment.service.p95, SLOWEST))
    if figures.errors >= FAILING:
        return JSONResponse({"status": "error", "service": service}, 500)
    slow = figures.p95 >= deployment.service.deadline
    ready = sum(pod.is_ready(world.at) for pod in world.pods(service))
    state = {"status": "degraded" if slow else "ok", "service": service, "ready": ready}
    return JSONResponse(state | {"version": deployment.template.version})
