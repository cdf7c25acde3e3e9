"""The team's runbooks: by name, or by the alert that triggers them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.actions.registry import Registry
from bot.domain.errors import BadInput, BotError, NotFound
from bot.domain.nearest import nearest
from bot.domain.runbook import STANDARD, Runbook
from bot.runbooks.check import check, load
from bot.team import TeamFile


@dataclass(slots=True)
class Library:
    """All runbooks of a folder, by name; replaced when the folder is reloaded."""

    runbooks: Mapping[str, Runbook]

    @classmethod
    def read(cls, folder: Path, registry: Registry, team: TeamFile) -> Library:
        """Read every `*.yaml` of the folder. Raises BadInput with the mistakes of all files, or for a closed folder."""
        by_path, mistakes = read(files(folder))
        by_name = {runbook.name: runbook for runbook in by_path.values()}
        for path, runbook in by_path.items():
            mistakes += [str(mistake) for mistake in check(path, runbook, registry, team, by_name)]
        if mistakes:
            raise BadInput("runbook_wrong", mistakes=mistakes)
        return cls(by_name)

    def get(self, name: str) -> Runbook:
        """Return a runbook. Raises NotFound with the one that has the nearest name or title."""
        if name not in self.runbooks:
            titles = {title: known for known, one in self.runbooks.items() for title in one.title.values()}
            by_title = titles.get(nearest(name, titles) or "")
            raise NotFound("unknown_runbook", runbook=name, nearest=nearest(name, self.runbooks) or by_title)
        return self.runbooks[name]

    def resolve(self, name: str) -> Runbook:
        """Return a runbook as a run stores it, with the runbook for its failure included. Raises NotFound."""
        runbook = self.get(name)
        if runbook.on_failure in STANDARD:
            return runbook
        return runbook.model_copy(update={"on_failure": self.resolve(str(runbook.on_failure))})

    def for_alert(self, alert: str, labels: Mapping[str, str]) -> list[Runbook]:
        """Return the runbooks that an alert triggers, first those that ask for more of its labels: they fit better."""
        fitting = [
            (len(trigger.labels), runbook)
            for runbook in self.runbooks.values()
            for trigger in runbook.triggers
            if trigger.alert == alert and trigger.labels.items() <= labels.items()
        ]
        return [runbook for _, runbook in sorted(fitting, key=lambda fit: -fit[0])]


def files(folder: Path) -> list[Path]:
    """Return the files of a folder's runbooks, sorted. Raises BadInput if it may not be read: it would look empty."""
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise BadInput("team_file_unreadable", path=str(folder), why=os.strerror(errno.EACCES))
    return sorted(folder.glob("*.yaml"))


def read(paths: Iterable[Path]) -> tuple[dict[Path, Runbook], list[str]]:
    """Parse these files. Returns the well-formed runbooks by path, and the mistakes of the others."""
    by_path: dict[Path, Runbook] = {}
    mistakes: list[str] = []
    for path in paths:
        try:
            by_path[path] = load(path)
        except BotError as problem:
            facts = problem.facts.get("mistakes")
            mistakes += facts if isinstance(facts, list) else [str(problem)]
    return by_path, mistakes
