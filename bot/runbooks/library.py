"""The team's runbooks: found by name, or by the alert that they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.actions.registry import Registry
from bot.domain.errors import BadInput, BotError, NotFound
from bot.domain.nearest import nearest
from bot.domain.runbook import STANDARD, Runbook
from bot.runbooks.check import check, load
from bot.team import TeamFile


@dataclass(frozen=True, slots=True)
class Library:
    """All runbooks of a folder by name."""

    runbooks: Mapping[str, Runbook]

    @classmethod
    def read(cls, folder: Path, registry: Registry, team: TeamFile) -> Library:
        """Every `*.yaml` of the folder. Raises BadInput with the mistakes of all files."""
        books, wrong = read(sorted(folder.glob("*.yaml")))
        by_name = {runbook.name: runbook for runbook in books.values()}
        for path, runbook in books.items():
            wrong += [str(mistake) for mistake in check(path, runbook, registry, team, by_name)]
        if wrong:
            raise BadInput("runbook_wrong", mistakes=wrong)
        return cls(by_name)

    def get(self, name: str) -> Runbook:
        """Raises NotFound with the nearest name."""
        if name not in self.runbooks:
            raise NotFound("unknown_runbook", runbook=name, nearest=nearest(name, self.runbooks))
        return self.runbooks[name]

    def resolve(self, name: str) -> Runbook:
        """A runbook as a run keeps it: what is to follow its failure stands in it. Raises NotFound."""
        runbook = self.get(name)
        if runbook.on_failure in STANDARD:
            return runbook
        return runbook.model_copy(update={"on_failure": self.resolve(str(runbook.on_failure))})

    def for_alert(self, alert: str, labels: Mapping[str, str]) -> list[Runbook]:
        """The runbooks that an alert proposes."""
        return [
            runbook
            for runbook in self.runbooks.values()
            for trigger in runbook.triggers
            if trigger.alert == alert and trigger.labels.items() <= labels.items()
        ]


def read(paths: Iterable[Path]) -> tuple[dict[Path, Runbook], list[str]]:
    """The runbooks of these files that are well-formed, and the mistakes of the others."""
    books: dict[Path, Runbook] = {}
    wrong: list[str] = []
    for path in paths:
        try:
            books[path] = load(path)
        except BotError as problem:
            mistakes = problem.facts.get("mistakes")
            wrong += mistakes if isinstance(mistakes, list) else [str(problem)]
    return books, wrong
