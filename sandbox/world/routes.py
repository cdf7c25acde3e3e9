"""The world over HTTP: its metrics for a real Prometheus, and what an operator of the sandbox can do.

| request | does |
|---|---|
| `GET /metrics` | the present values in Prometheus' text format |
| `GET /` | time, speed, scenario with its words, figures by service, the last changes |
| `POST /play` `{"scenario": name}` | lets a scenario begin |
| `POST /perform` `{"word": word}` | does what the scenario has for the word |
| `POST /speed` `{"speed": number}` | world seconds in a real one |
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.world.exposition import CONTENT_TYPE, exposition
from sandbox.world.scenario import load, names
from sandbox.world.world import World

Given = TypeVar("Given", bound=BaseModel)


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
        return JSONResponse(_state(world))

    def play(given: Play) -> None:
        if given.scenario not in names():
            raise ValueError(f"no such scenario: {given.scenario}; known are: {', '.join(names())}")
        world.play(load(given.scenario))

    def perform(given: Perform) -> None:
        world.perform(given.word)

    def speed(given: Speed) -> None:
        world.clock.speed = given.speed

    def post(path: str, model: type[Given], do: Callable[[Given], None]) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                do(model.model_validate_json(await request.body()))
            except ValidationError as error:
                return JSONResponse(
                    {"error": error.errors(include_url=False, include_context=False, include_input=False)}, 400
                )
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
            return JSONResponse(_state(world))

        return Route(path, endpoint, methods=["POST"])

    return [
        Route("/metrics", metrics),
        Route("/", state),
        post("/play", Play, play),
        post("/perform", Perform, perform),
        post("/speed", Speed, speed),
    ]


def _state(world: World) -> dict[str, Any]:
    world.advance()
    scenario = world.scenario
    return {
        "now": world.clock.now().isoformat(),
        "speed": world.clock.speed,
        "scenario": scenario and {"name": scenario.name, "words": list(scenario.words)},
        "figures": {name: asdict(world.figures(name)) for name in world.deployments},
        "changes": [asdict(change) for change in world.changes[-20:]],
    }
