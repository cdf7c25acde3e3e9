"""An action as a run performs it: read, rehearsed, and performed with the very same parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.actions.catalogue import ACTIONS
from bot.actions.context import Context
from bot.deps import Deps
from bot.domain.people import BOT, Person
from bot.domain.run import Effect
from bot.integrations.effects import dry_run
from bot.integrations.kubernetes.kubernetes import Kubernetes
from bot.integrations.pagerduty import OnCallCache
from bot.integrations.slack import Slack
from bot.messages.run import line
from bot.messages.translations import load_translations
from bot.store.database import Database
from bot.store.store import Store
from bot.team import Pipeline, load_team
from sandbox.clock import Clock
from sandbox.server import Sandbox

ROOT = Path(__file__).parents[2]


def parts(folder: Path, clock: Clock, **integrations: Any) -> Deps:
    """What an action needs that touches neither Slack nor the database; both are there and are not asked.

    The team asks nothing of a version before production: what is known of one is in the database.
    """
    team = load_team(ROOT / "teams" / "tamv" / "team.yaml")
    return Deps(
        clock=clock,
        team=team.model_copy(update={"pipeline": Pipeline(staging="off", checks="off")}),
        store=Store(Database(f"sqlite:///{folder / 'bot.db'}"), "test"),
        words_by_locale=load_translations(),
        locale="es",
        incident_channel="#tamv-incidents",
        slack=Slack("xoxb-nobody", "http://127.0.0.1:9/"),
        on_call=OnCallCache(None, clock),
        **integrations,
    )


@asynccontextmanager
async def in_cluster(folder: Path) -> AsyncIterator[tuple[Sandbox, str, Kubernetes]]:
    """A sandbox whose clock runs a hundred times as fast, its URL, and a client of its cluster."""
    sandbox = Sandbox(clock=Clock(speed=100))
    async with sandbox.serving() as url:
        path = folder / "kubeconfig"
        path.write_text(sandbox.kubernetes.kubeconfig(f"{url}/kubernetes"))
        async with Kubernetes(str(path)) as kubernetes:
            yield sandbox, url, kubernetes


@dataclass
class Actor:
    """Somebody whose run has one step; `key` names it, and the same key is the same step tried again."""

    deps: Deps
    environment: str = "production"
    incident: str | None = None
    by: Person = BOT
    foreseen: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def context(self, key: str) -> Context:
        return Context(
            self.deps,
            key,
            self.environment,
            self.incident,
            self.by,
            self.foreseen.get(key, {}),
            began=self.deps.clock.now(),
        )

    async def rehearse(self, name: str, /, key: str = "R-1/a", **given: Any) -> tuple[list[Effect], Any]:
        """What it would do, each effect with words in both languages, and the facts that it foresees."""
        action = ACTIONS.get(name)
        self.foreseen.pop(key, None)
        with dry_run() as recorder:
            facts = await action.execute(self.context(key), **self._typed(name, given))
        self.foreseen[key] = action.result.dump_python(facts, mode="json")
        for effect in recorder.effects:
            for words in self.deps.words_by_locale.values():
                assert f"{effect.key} (" not in line(effect, words), f"{effect.key} has no words"
        return recorder.effects, facts

    async def perform(self, name: str, /, key: str = "R-1/a", **given: Any) -> Any:
        """Do it; gives the facts as a run keeps them: through JSON and back."""
        action = ACTIONS.get(name)
        facts = await action.execute(self.context(key), **self._typed(name, given))
        return action.result.validate_python(action.result.dump_python(facts, mode="json"))

    async def undo(self, name: str, done: Any, key: str = "R-1/a/undo") -> Any:
        undo = ACTIONS.get(name).undo
        assert undo is not None
        return await undo(self.context(key), done)

    @staticmethod
    def _typed(name: str, given: dict[str, Any]) -> dict[str, Any]:
        action = ACTIONS.get(name)
        model = action.parameters.model_validate(action.read(given))
        return {parameter: getattr(model, parameter) for parameter in action.parameters.model_fields}
