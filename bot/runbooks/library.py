"""A runbook's file: read, and every mistake of its form named with its line and column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bot.actions.registry import Registry
from bot.domain.errors import BadInput, BotError, NotFound
from bot.domain.nearest import nearest
from bot.domain.runbook import STANDARD, Approval, Input, Runbook, Step, Trigger, Verify
from bot.runbooks.check import check
from bot.team import TeamFile
from bot.yaml_text import compose
from bot.yaml_text import load as load_yaml

_PARTS: dict[object, type[BaseModel]] = {
    "steps": Step, "approval": Approval, "verify": Verify, "triggers": Trigger, "inputs": Input,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong in a runbook's file: where (1-based), and what was expected."""

    file: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.what}"


def load(path: Path) -> Runbook:
    """One runbook. Raises BadInput with a Mistake for everything that is wrong with its form."""
    text = path.read_text(encoding="utf-8")
    try:
        root = compose(text)
        raw = load_yaml(text)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise BadInput(
            "runbook_wrong", mistakes=[str(Mistake(path.name, *at, problem.problem or "not YAML"))]
        ) from None
    if twice := [str(Mistake(path.name, *at, f"`{key}` is written twice")) for key, at in _duplicate_keys(root)]:
        raise BadInput("runbook_wrong", mistakes=twice)
    try:
        runbook = Runbook.model_validate(raw)
    except ValidationError as wrong:
        mistakes = [
            str(Mistake(path.name, *line_and_column(root, error_details["loc"]), _error_message(error_details)))
            for error_details in wrong.errors(include_url=False, include_input=False)
            if "Runbook" not in error_details["loc"]  # what `on-failure` is only in a run's own copy
        ]
        raise BadInput("runbook_wrong", mistakes=mistakes) from None
    if runbook.name != path.stem:
        raise BadInput("runbook_wrong", mistakes=[f"{path.name}:1:1: its name is `{runbook.name}`, unlike its file's"])
    return runbook


def _error_message(mistake: ErrorDetails) -> str:
    """Which field, and what was expected; for an unknown one the nearest that there is."""
    location = [part for part in mistake["loc"] if not str(part).startswith(("constrained-", "function-"))]
    field = ".".join(str(part) for part in location)
    if mistake["type"] != "extra_forbidden":
        what = mistake["msg"].removeprefix("Value error, ")
        return f"{field}: {what}" if field else what
    inside = next((_PARTS[part] for part in reversed(location[:-1]) if part in _PARTS), Runbook)
    allowed = [field.alias or name for name, field in inside.model_fields.items()]
    near = nearest(str(location[-1]), allowed)
    return f"{field}: there is no `{location[-1]}`; " + (
        f"perhaps `{near}`?" if near else f"expected {', '.join(allowed)}"
    )


def _duplicate_keys(node: yaml.Node | None) -> Iterator[tuple[str, tuple[int, int]]]:
    """Keys that stand twice in one mapping, of which YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for incomplete in node.value:
            yield from _duplicate_keys(incomplete)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if str(key.value) in keys:
                yield str(key.value), (key.start_mark.line + 1, key.start_mark.column + 1)
            keys.add(str(key.value))
            yield from _duplicate_keys(value)


def line_and_column(root: yaml.Node | None, location: tuple[str | int, ...]) -> tuple[int, int]:
    """Line and column of the deepest node on the way to `location`."""
    node = root
    mark = root.start_mark if root else None
    for part in location:
        following = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    mark, following = key.start_mark, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            following = node.value[part]
            mark = following.start_mark
        if following is None:
            break
        node = following
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


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
