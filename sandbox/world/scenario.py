"""Scenarios: what goes wrong in the world and when, in YAML (sandbox/scenarios/*.yaml).

| key | meaning |
|---|---|
| `name`, `title`, `story` | the file's name; what it is called and what happens, in Spanish and English |
| `service`, `severity`, `alerts` | which service suffers, how badly (SEV1..SEV4), which alert rules will fire |
| `images` | what a bad image does: `service:tag` → `work`, `latency` (factors), `errors` (ratio), `leak` (bytes/s) |
| `steps` | `at` (world seconds after the start) and `actions` |
| `words` | what an operator can say (`world.perform("fix")`) → actions |
| `injects` | what a facilitator tells the team in a drill: `at`, `text` in both languages, `actions` |
| `good_response` | what a good response does, in both languages |

An action is a mapping with `do` and its own keys; the classes below say which.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sandbox.world.deployments import Fault, Version

if TYPE_CHECKING:
    from sandbox.world.world import World

FOLDER = Path(__file__).parents[1] / "scenarios"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Strict):
    """The same words in both languages."""

    es: str
    en: str


class Load(Strict):
    """Traffic as a multiple of the normal, of one service or of all."""

    do: Literal["load"]
    factor: float = Field(ge=0)
    service: str | None = None

    def act(self, world: World) -> None:
        world.set_load(self.factor, self.service)


class Scale(Strict):
    do: Literal["scale"]
    service: str
    replicas: int = Field(ge=0)

    def act(self, world: World) -> None:
        world.scale(self.service, self.replicas)


class Env(Strict):
    """Environment variables; null takes one away."""

    do: Literal["env"]
    service: str
    values: dict[str, str | None]

    def act(self, world: World) -> None:
        world.set_env(self.service, self.values)


class Deploy(Strict):
    do: Literal["deploy"]
    service: str
    version: str

    def act(self, world: World) -> None:
        world.set_version(self.service, self.version)


class NodeSelector(Strict):
    do: Literal["node_selector"]
    service: str
    selector: dict[str, str]

    def act(self, world: World) -> None:
        world.set_node_selector(self.service, self.selector)


class LoseNode(Strict):
    do: Literal["lose_node"]
    node: str

    def act(self, world: World) -> None:
        world.lose_node(self.node)


class ReturnNode(Strict):
    do: Literal["return_node"]
    node: str

    def act(self, world: World) -> None:
        world.return_node(self.node)


class StartFault(Strict):
    """Something outside goes wrong: answers slower by a factor, a ratio of errors more."""

    do: Literal["fault"]
    service: str
    name: str
    latency: float = Field(1.0, gt=0)
    errors: float = Field(0.0, ge=0, le=1)

    def act(self, world: World) -> None:
        world.inject(self.service, self.name, Fault(self.latency, self.errors))


class EndFault(Strict):
    do: Literal["end_fault"]
    service: str
    name: str

    def act(self, world: World) -> None:
        world.clear(self.service, self.name)


Action = Annotated[
    Load | Scale | Env | Deploy | NodeSelector | LoseNode | ReturnNode | StartFault | EndFault,
    Field(discriminator="do"),
]


class Image(Strict):
    work: float = Field(1.0, gt=0)
    latency: float = Field(1.0, gt=0)
    errors: float = Field(0.0, ge=0, le=1)
    leak: float = Field(0.0, ge=0)

    def version(self) -> Version:
        return Version(self.work, self.latency, self.errors, self.leak)


class Step(Strict):
    at: float = Field(ge=0)
    actions: list[Action]


class Inject(Strict):
    at: float = Field(ge=0)
    text: Text
    actions: list[Action] = []


class Scenario(Strict):
    """One scenario, as its file says."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: Text
    story: Text
    service: str
    severity: Literal["SEV1", "SEV2", "SEV3", "SEV4"]
    alerts: list[str] = Field(min_length=1)
    images: dict[str, Image] = {}
    steps: list[Step] = Field(min_length=1)
    words: dict[str, list[Action]]
    injects: list[Inject] = []
    good_response: list[Text] = Field(min_length=1)


def load(name: str, folder: Path = FOLDER) -> Scenario:
    """The scenario of this name. FileNotFoundError, or pydantic's ValidationError when the file is wrong."""
    return Scenario.model_validate(yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8")))


def names(folder: Path = FOLDER) -> list[str]:
    """The names of all scenarios."""
    return sorted(path.stem for path in folder.glob("*.yaml"))
