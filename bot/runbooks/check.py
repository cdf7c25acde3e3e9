"""Read a runbook's file and check it: YAML, names, types, expressions, steps that never run, queries, languages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bot.actions.registry import Action, Registry
from bot.domain.errors import BadInput, NotFound
from bot.domain.nearest import nearest
from bot.domain.runbook import STANDARD, Approval, Input, Runbook, Step, Trigger, Verify
from bot.runbooks.expressions import Expressions
from bot.team import TeamFile
from bot.yaml_text import compose
from bot.yaml_text import load as load_yaml

Place = tuple[str | int, ...]
Wrong = Iterator[tuple[Place, str]]

# What expressions may look at beside `inputs` and the facts of the steps before.
FACTS = {"incident": {"id", "service", "severity", "title"}, "run": {"id", "environment", "by"}}
ALWAYS = {"state", "verified"}


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
    return _load(path, path.read_text(encoding="utf-8"))


@cache
def _load(path: Path, text: str) -> Runbook:
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


def check(
    path: Path, runbook: Runbook, registry: Registry, team: TeamFile, books: Mapping[str, Runbook] | None = None
) -> list[Mistake]:
    """Every mistake with its place; `books` are all runbooks by name, where `on-failure` may lead."""
    errors = [
        *_check_languages(runbook),
        *_check_triggers(runbook, team),
        *_check_defaults(runbook),
        *_check_environments(runbook, team),
    ]
    ended_by: str | None = None
    for number, step in enumerate(runbook.steps):
        before = runbook.steps[:number]
        of_step = StepChecker(step, before, runbook, registry, team)
        errors += [(("steps", number, *within), what) for within, what in of_step.errors()]
        if ended_by:
            errors.append((("steps", number), f"it is never reached: step `{ended_by}` always ends the run"))
        ended_by = ended_by or (step.id if of_step.always_fails() else None)
    errors += [(("on-failure",), what) for what in _check_on_failure(runbook, books or {})]
    root = compose(path.read_text(encoding="utf-8")) if errors else None
    return [Mistake(path.name, *line_and_column(root, place), what) for place, what in errors]


def queries(path: Path, team: TeamFile) -> list[Mistake]:
    """The queries of the team's catalogue that are no PromQL, with their place in the team's file."""
    root = compose(path.read_text(encoding="utf-8"))
    wrong = {name: why for name, query in team.queries.items() if (why := _no_promql(query.promql))}
    return [Mistake(path.name, *line_and_column(root, ("queries", name, "promql")), why) for name, why in wrong.items()]


def _check_languages(runbook: Runbook) -> Wrong:
    """Whatever is written at all is written in every language of the title."""
    texts: list[tuple[Place, str, Mapping[str, str]]] = [
        (("description",), "description", runbook.description),
        *((("inputs", name, "description"), f"description of `{name}`", spec.description)
          for name, spec in runbook.inputs.items()),
        *((("steps", number, "title"), f"title of `{step.id}`", step.title)
          for number, step in enumerate(runbook.steps)),
    ]  # fmt: skip
    if not any(runbook.title.values()):
        yield ("title",), "the title is missing"
    for path, what, text in [(("title",), "title", runbook.title), *(named for named in texts if named[2])]:
        for language in runbook.title:
            if not text.get(language, "").strip():
                yield path, f"the {what} in `{language}` is missing" if language else f"the {what} is missing"


def _check_triggers(runbook: Runbook, team: TeamFile) -> Wrong:
    for number, trigger in enumerate(runbook.triggers):
        if trigger.query and trigger.query not in team.queries:
            yield (
                ("triggers", number, "query"),
                f"no query `{trigger.query}`" + _did_you_mean(trigger.query, team.queries),
            )
        service = trigger.labels.get(team.alerts.service_label)
        if service and service not in team.services:
            yield ("triggers", number, "labels"), f"no service `{service}`" + _did_you_mean(service, team.services)


def _check_environments(runbook: Runbook, team: TeamFile) -> Wrong:
    environments = {name for service in team.services.values() for name in service.namespaces}
    named: list[tuple[Place, str | None]] = [(("environment",), runbook.environment)]
    named += [(("steps", number, "environment"), step.environment) for number, step in enumerate(runbook.steps)]
    for place, name in named:
        if name and name not in environments:
            yield place, f"no environment `{name}`" + _did_you_mean(name, environments)


def _check_defaults(runbook: Runbook) -> Wrong:
    """A default is worked out before there is a run, from the incident alone."""
    expressions = Expressions()
    for name, spec in runbook.inputs.items():
        if not isinstance(spec.default, str) or "{" not in spec.default:
            continue
        wrong = list(expressions.errors(spec.default))
        if not wrong and expressions.referenced_names(spec.default) - {"incident"}:
            wrong = ["only `incident` is known here"]
        if not wrong:
            paths = (path for path in expressions.paths(spec.default) if len(path) > 1)
            wrong = [
                f"`incident` has no `{path[1]}`" + _did_you_mean(path[1], FACTS["incident"])
                for path in paths
                if path[1] not in FACTS["incident"]
            ]
        yield from ((("inputs", name, "default"), what) for what in wrong)


def _check_on_failure(runbook: Runbook, books: Mapping[str, Runbook]) -> Iterator[str]:
    """Whether what is to follow a failure is there, ends, and gets all that it needs."""
    if runbook.on_failure in STANDARD:
        return
    if isinstance(runbook.on_failure, Runbook):
        yield "expected `undo`, `stop` or the name of a runbook"
        return
    name = runbook.on_failure
    following = books.get(name)
    if following is None:
        yield f"no runbook `{name}`" + _did_you_mean(name, [*STANDARD, *books])
        return
    for needed, spec in following.inputs.items():
        if needed not in runbook.inputs and spec.default is None and (spec.required or spec.type == "service"):
            yield f"`{name}` needs the input `{needed}`, which is not one of this runbook's"
    chain = [runbook.name]
    while following and following.on_failure not in STANDARD:
        chain.append(following.name)
        if following.on_failure in chain:
            yield f"it never ends: {' → '.join([*chain, str(following.on_failure)])}"
            return
        following = books.get(str(following.on_failure))


class StepChecker:
    """One step, where those before it are known."""

    def __init__(self, step: Step, before: list[Step], runbook: Runbook, registry: Registry, team: TeamFile) -> None:
        self._step = step
        self._before = {s.id: s for s in before}
        self._runbook = runbook
        self._registry = registry
        self._team = team
        self._expressions = Expressions()

    def errors(self) -> Wrong:
        step = self._step
        try:
            yield from self._check_parameters(self._registry.get(step.uses))
        except NotFound as unknown:
            guess = unknown.facts.get("nearest")
            yield ("uses",), f"no action `{step.uses}`" + (f"; perhaps `{guess}`?" if guess else "")
        if step.keep and step.uses in self._registry and self._registry.get(step.uses).undo is None:
            yield ("keep",), f"{step.uses} cannot be undone, so it stays by itself: leave it out"
        if step.verify and step.verify.board not in self._team.boards:
            board = step.verify.board
            yield ("verify",), f"no board `{board}`" + _did_you_mean(board, self._team.boards)
        roles = {role for person in self._team.people for role in person.roles}
        if step.approval and step.approval.role and step.approval.role not in roles:
            role = step.approval.role
            yield ("approval",), f"nobody has the role `{role}`" + _did_you_mean(role, roles)
        if step.if_ is not None:
            yield from (((("if",), what)) for what in self._check_condition(step.if_))
        for place, text in _within(("with",), step.with_):
            yield from ((place, what) for what in self._check_expression(text))

    def always_fails(self) -> bool:
        """Whether the run always ends here: a check of what is never so."""
        step = self._step
        return step.uses == "flow.check" and step.with_.get("that") is False and step.if_ is None and (
            not step.continue_on_error
        )  # fmt: skip

    def _check_parameters(self, action: Action) -> Wrong:
        fields, given = action.parameters.model_fields, self._step.with_
        for name in given:
            if name not in fields:
                yield ("with", name), f"{action.name} has no `{name}`" + _did_you_mean(name, fields)
        for name, field in fields.items():
            if field.is_required() and name not in given:
                yield ("with",), f"{action.name} needs `{name}`"
        plain = {
            name for name in given if name in fields and not any("{" in text for _, text in _within((), given[name]))
        }
        try:
            action.parameters.model_validate(given)
        except ValidationError as wrong:
            for error_details in wrong.errors(include_url=False, include_input=False):
                if error_details["loc"] and error_details["loc"][0] in plain:
                    yield ("with", *error_details["loc"]), f"`{error_details['loc'][0]}`: {error_details['msg']}"
        if action.name.startswith("prometheus."):
            yield from self._check_verify(plain)

    def _check_verify(self, plain: set[str]) -> Wrong:
        for name in plain & {"board", "query"}:
            wanted = str(self._step.with_[name])
            names = {*self._team.boards, *self._team.queries}
            if wanted not in names and (why := _no_promql(wanted)):
                yield ("with", name), f"neither a board nor a query nor PromQL ({why})" + _did_you_mean(wanted, names)
        service = self._step.with_.get("service")
        if "service" in plain and service not in self._team.services:
            yield ("with", "service"), f"no service `{service}`" + _did_you_mean(str(service), self._team.services)

    def _check_condition(self, condition: str) -> Iterator[str]:
        if not condition.strip().startswith("{{"):
            yield "a condition is written as `{{ … }}`; any other text is always true"
            return
        wrong = list(self._check_expression(condition))
        yield from wrong
        if not wrong and not self._expressions.referenced_names(condition):
            try:
                if self._expressions.evaluate(condition, {}):
                    yield "it always holds: leave it out"
                else:
                    yield "it never holds: this step is never reached"
            except BadInput as problem:
                yield str(problem.facts.get("why"))

    def _check_expression(self, text: str) -> Iterator[str]:
        """Unknown names, at every depth that can be known without running it."""
        wrong = list(self._expressions.errors(text))
        yield from wrong
        if wrong:
            return
        for used in sorted(self._expressions.referenced_steps(text) - self._before.keys()):
            yield f"step `{used}` is not before this one" + _did_you_mean(used, self._before)
        allowed = {"inputs": set(self._runbook.inputs), **FACTS}
        for path in sorted(self._expressions.paths(text)):
            if path[0] == "steps" and len(path) > 2 and path[1] in self._before:
                yield from self._check_fact(path[1], path[2])
            elif path[0] in allowed and len(path) > 1 and path[1] not in allowed[path[0]]:
                yield f"`{path[0]}` has no `{path[1]}`" + _did_you_mean(path[1], allowed[path[0]])

    def _check_fact(self, step_id: str, fact: str) -> Iterator[str]:
        step = self._before[step_id]
        if fact == "verified" and step.verify is None:
            yield f"step `{step_id}` has no `verify`, so whether it is `verified` is never known"
        if step.uses not in self._registry:
            return
        facts = _facts(self._registry.get(step.uses).result)
        if facts is not None and fact not in facts | ALWAYS:
            yield f"{step.uses} gives no `{fact}`" + _did_you_mean(fact, facts | ALWAYS)


@cache
def _facts(result: TypeAdapter[Any]) -> set[str] | None:
    """The names of what an action gives; None when nobody can tell."""
    schema = result.json_schema()
    if reference := schema.get("$ref"):
        schema = schema["$defs"][reference.rpartition("/")[2]]
    return set(schema["properties"]) if "properties" in schema else None


def _no_promql(text: str) -> str | None:
    """Why a query cannot be read; None when it can. `$service` stands in a string, where it does no harm."""
    try:
        promql_parser.parse(text)
    except ValueError as problem:
        return " ".join(str(problem).split())
    return None


def _did_you_mean(word: str, allowed: Iterable[str]) -> str:
    near = nearest(word, allowed)
    return f"; perhaps `{near}`?" if near else ""


def _within(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _within((*place, key), item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _within((*place, number), item)
