"""Scenarios: what goes wrong in the world and when, in YAML (sandbox/scenarios/*.yaml). `World.act` does the actions.

| key | meaning |
|---|---|
| `name`, `title`, `story` | the file's name; what it is called and what happens, in Spanish and English |
| `service`, `severity`, `alerts` | which service suffers, how badly (SEV1..SEV4), which alert rules will fire |
| `images` | what a bad image does: `service:tag` → `work`, `latency` (factors), `errors` (ratio), `leak` (bytes/s) |
| `steps` | `at` (world seconds after the start) and `actions` |
| `words` | what an operator can do (`world.perform("fix")`) → actions |
| `injects` | what a facilitator announces to the team in a drill: `at`, `text` in both languages, `actions` |
| `good_response` | what a good response does, in both languages |

An action is a mapping with `do` and its own keys; the classes below say which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox import yaml_file
from sandbox.world.deployments import Version

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


class Scale(Strict):
    do: Literal["scale"]
    service: str
    replicas: int = Field(ge=0)


class Env(Strict):
    """Set environment variables; null removes one."""

    do: Literal["env"]
    service: str
    values: dict[str, str | None]


class Deploy(Strict):
    do: Literal["deploy"]
    service: str
    version: str


class NodeSelector(Strict):
    do: Literal["node_selector"]
    service: str
    selector: dict[str, str]


class LoseNode(Strict):
    do: Literal["lose_node"]
    node: str


class ReturnNode(Strict):
    do: Literal["return_node"]
    node: str


class StartFault(Strict):
    """A fault from outside the service: answers slower by a factor, a higher ratio of errors."""

    do: Literal["fault"]
    service: str
    name: str
    latency: float = Field(1.0, gt=0)
    errors: float = Field(0.0, ge=0, le=1)


class EndFault(Strict):
    do: Literal["end_fault"]
    service: str
    name: str


class RunAs(Strict):
    """The service runs as another kind of workload, where there is a cluster; its pods serve at once."""

    do: Literal["run_as"]
    service: str
    kind: Literal["statefulset"]


class GitOps(Strict):
    """Argo CD or Flux owns the service, where there is a cluster: as a file in Git says it is now."""

    do: Literal["gitops"]
    service: str
    by: Literal["argocd", "flux"] = "argocd"


Action = Annotated[
    Load | Scale | Env | Deploy | NodeSelector | LoseNode | ReturnNode | StartFault | EndFault | RunAs | GitOps,
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
    """One scenario file."""

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


def load_scenario(name: str, folder: Path = FOLDER) -> Scenario:
    """Read the scenario of this name. Raises FileNotFoundError, or pydantic's ValidationError."""
    return Scenario.model_validate(yaml_file.read(folder / f"{name}.yaml"))


def scenario_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all scenarios."""
    return sorted(path.stem for path in folder.glob("*.yaml"))
