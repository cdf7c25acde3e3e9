"""Parse a runbook file and check it: YAML, names, types, expressions, unreachable steps, queries, languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from bot.actions.registry import Action, Registry
from bot.domain.errors import BadInput, NotFound
from bot.domain.nearest import nearest
from bot.domain.runbook import STANDARD, Input, Runbook, Step
from bot.expected import in_words
from bot.runbooks.expressions import Expressions
from bot.team import TeamFile
from bot.yaml_text import NotYaml, compose, line_and_column, parse

YamlPath = tuple[str | int, ...]
Problems = Iterator[tuple[YamlPath, str]]

# What expressions may use besides `inputs` and the facts of earlier steps.
CONTEXT_FACTS = {"incident": {"id", "service", "severity", "title"}, "run": {"id", "environment", "by"}}
STEP_FACTS = {"state", "verified"}
RUN_OPTIONS = {"environment", "dry_run"}  # given as `key=value` too, and taken by the run itself
_INPUT_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in a runbook file: its position (1-based), and what is valid."""

    file: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.what}"


def load(path: Path) -> Runbook:
    """Parse a runbook. Raises BadInput with a Mistake for everything that is not well-formed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:  # ValueError: not UTF-8
        why = getattr(problem, "strerror", None) or "it is not UTF-8"
        raise BadInput("runbook_wrong", mistakes=[str(Mistake(path.name, 1, 1, f"cannot be read: {why}"))]) from None
    return _load(path, text)


@cache
def _load(path: Path, text: str) -> Runbook:
    try:
        document = parse(text)
    except NotYaml as problem:
        raise BadInput("runbook_wrong", mistakes=[str(Mistake(path.name, *one)) for one in problem.mistakes]) from None
    try:
        runbook = Runbook.model_validate(document.values)
    except ValidationError as errors:
        mistakes = [
            str(Mistake(path.name, *line_and_column(document.root, error["loc"]), _error_message(error)))
            for error in errors.errors(include_url=False, include_input=False)
            if "Runbook" not in error["loc"]  # `on-failure` is an inline runbook only in a run's copy
        ]
        raise BadInput("runbook_wrong", mistakes=mistakes) from None
    if runbook.name != path.stem:
        raise BadInput(
            "runbook_wrong", mistakes=[f"{path.name}:1:1: its name `{runbook.name}` differs from its file's"]
        )
    return runbook


def _error_message(mistake: ErrorDetails) -> str:
    """Return the field and what is valid; for an unknown field the nearest valid one."""
    location = [part for part in mistake["loc"] if not str(part).startswith(("constrained-", "function-"))]
    field = ".".join(str(part) for part in location)
    what = in_words({**mistake, "loc": location}, Runbook)
    return f"{field}: {what}" if field else what


def check(
    path: Path, runbook: Runbook, registry: Registry, team: TeamFile, runbooks: Mapping[str, Runbook] | None = None
) -> list[Mistake]:
    """Return all mistakes with their positions; `runbooks` are all runbooks by name, for `on-failure`."""
    errors = [
        *_check_languages(runbook),
        *_check_triggers(runbook, team),
        *_check_inputs(runbook),
        *_check_defaults(runbook),
        *_check_environments(runbook, team),
    ]
    ending_step: str | None = None
    for number, step in enumerate(runbook.steps):
        before = runbook.steps[:number]
        checker = StepChecker(step, before, runbook, registry, team)
        errors += [(("steps", number, *path_in_step), what) for path_in_step, what in checker.errors()]
        if ending_step:
            errors.append((("steps", number), f"this step is never reached: step `{ending_step}` always ends the run"))
        ending_step = ending_step or (step.id if checker.always_fails() else None)
    errors += [(("on-failure",), what) for what in _check_on_failure(runbook, runbooks or {})]
    root = compose(path.read_text(encoding="utf-8")) if errors else None
    return [Mistake(path.name, *line_and_column(root, path_in_file), what) for path_in_file, what in errors]


def queries(path: Path, team: TeamFile) -> list[Mistake]:
    """Return the invalid PromQL queries of the team's catalogue, with their positions in the team file."""
    root = compose(path.read_text(encoding="utf-8"))
    wrong = {name: why for name, query in team.queries.items() if (why := _promql_error(query.promql))}
    return [Mistake(path.name, *line_and_column(root, ("queries", name, "promql")), why) for name, why in wrong.items()]


def _check_languages(runbook: Runbook) -> Problems:
    """Check that every text exists in every language of the title."""
    texts: list[tuple[YamlPath, str, Mapping[str, str]]] = [
        (("description",), "description", runbook.description),
        *((("inputs", name, "description"), f"description of `{name}`", spec.description)
          for name, spec in runbook.inputs.items()),
        *((("steps", number, "title"), f"title of `{step.id}`", step.title)
          for number, step in enumerate(runbook.steps)),
    ]  # fmt: skip
    if not any(runbook.title.values()):
        yield ("title",), "the title is missing"
    for path, what, text in [(("title",), "title", runbook.title), *(entry for entry in texts if entry[2])]:
        for language in runbook.title:
            if not text.get(language, "").strip():
                yield path, f"the {what} in `{language}` is missing" if language else f"the {what} is missing"


def _check_triggers(runbook: Runbook, team: TeamFile) -> Problems:
    for number, trigger in enumerate(runbook.triggers):
        if trigger.query and trigger.query not in team.queries:
            yield (
                ("triggers", number, "query"),
                f"unknown query `{trigger.query}`" + _did_you_mean(trigger.query, team.queries),
            )
        service = trigger.labels.get(team.alerts.service_label)
        if service and service not in team.services:
            yield ("triggers", number, "labels"), f"unknown service `{service}`" + _did_you_mean(service, team.services)


def _check_inputs(runbook: Runbook) -> Problems:
    """Check that each input can be given on a command line and named in an expression."""
    for name in runbook.inputs:
        if not _INPUT_NAME.fullmatch(name):
            valid = re.sub(r"[^a-z0-9_]", "_", name.lower())
            yield ("inputs", name), f"an input's name has lower-case letters, digits and `_`: `{valid}`"
        elif name in RUN_OPTIONS:
            use = f"; use `{{{{ run.{name} }}}}`" if name in CONTEXT_FACTS["run"] else ""
            yield ("inputs", name), f"`{name}` is an option of every run, so no input can have that name{use}"


def _check_environments(runbook: Runbook, team: TeamFile) -> Problems:
    environments = {name for service in team.services.values() for name in service.namespaces}
    named: list[tuple[YamlPath, str | None]] = [(("environment",), runbook.environment)]
    named += [(("steps", number, "environment"), step.environment) for number, step in enumerate(runbook.steps)]
    for path_in_file, name in named:
        if name and name not in environments:
            yield path_in_file, f"unknown environment `{name}`" + _did_you_mean(name, environments)


def _check_defaults(runbook: Runbook) -> Problems:
    """Check defaults of inputs, which are evaluated before the run, from the incident alone."""
    expressions = Expressions()
    for name, spec in runbook.inputs.items():
        if not isinstance(spec.default, str) or "{" not in spec.default:
            if spec.default is not None and spec.type not in ("service", "environment"):
                try:
                    spec.read(name, str(spec.default))
                except BadInput as mistake:
                    expected = mistake.facts.get("expected")
                    yield ("inputs", name, "default"), f"`{spec.default}` is not valid: expected {expected}"
            continue
        problems = list(expressions.errors(spec.default))
        if not problems and expressions.referenced_names(spec.default) - {"incident"}:
            problems = ["only `incident` can be used here"]
        if not problems:
            paths = (path for path in expressions.paths(spec.default) if len(path) > 1)
            problems = [
                f"`incident` has no `{path[1]}`" + _did_you_mean(path[1], CONTEXT_FACTS["incident"])
                for path in paths
                if path[1] not in CONTEXT_FACTS["incident"]
            ]
        yield from ((("inputs", name, "default"), what) for what in problems)


def _check_on_failure(runbook: Runbook, runbooks: Mapping[str, Runbook]) -> Iterator[str]:
    """Check that the runbook for a failure exists, that the chain ends, and that its inputs are provided."""
    if runbook.on_failure in STANDARD:
        return
    if isinstance(runbook.on_failure, Runbook):
        yield "expected `undo`, `stop` or the name of a runbook"
        return
    name = runbook.on_failure
    fallback = runbooks.get(name)
    if fallback is None:
        yield f"unknown runbook `{name}`" + _did_you_mean(name, [*STANDARD, *runbooks])
        return
    for input_name, spec in fallback.inputs.items():
        yield from _check_handed_on(name, input_name, spec, runbook.inputs.get(input_name))
    chain = [runbook.name]
    while fallback and fallback.on_failure not in STANDARD:
        chain.append(fallback.name)
        if fallback.on_failure in chain:
            yield f"`on-failure` is circular: {' → '.join([*chain, str(fallback.on_failure)])}"
            return
        fallback = runbooks.get(str(fallback.on_failure))


def _check_handed_on(runbook: str, name: str, to: Input, given: Input | None) -> Iterator[str]:
    """Check that an input of the runbook for a failure accepts what this runbook's input of the same name may hold."""
    needs_value = to.default is None and (to.required or to.type == "service")
    if given is None:
        if needs_value:
            yield f"`{runbook}` requires the input `{name}`, which this runbook does not have"
        return
    if needs_value and given.default is None and not (given.required or given.type == "service"):
        yield f"`{runbook}` requires the input `{name}`, which may be empty in this runbook"
    if to.type == "choice":
        accepted = given.type == "choice" and set(given.options) <= set(to.options)
        expected = " | ".join(to.options)
    else:
        accepted = to.type in ("string", given.type) or (to.type, given.type) == ("number", "integer")
        expected = to.type
    if not accepted:
        held = " | ".join(given.options) or given.type
        yield f"`{runbook}` expects the input `{name}` as {expected}, but here it is {held}"


class StepChecker:
    """Checks one step, given the steps before it."""

    def __init__(self, step: Step, before: list[Step], runbook: Runbook, registry: Registry, team: TeamFile) -> None:
        self._step = step
        self._before = {s.id: s for s in before}
        self._runbook = runbook
        self._registry = registry
        self._team = team
        self._expressions = Expressions()

    def errors(self) -> Problems:
        step = self._step
        try:
            yield from self._check_parameters(self._registry.get(step.uses))
        except NotFound as unknown:
            guess = unknown.facts.get("nearest")
            yield ("uses",), f"unknown action `{step.uses}`" + (f"; did you mean `{guess}`?" if guess else "")
        if step.keep and step.uses in self._registry and self._registry.get(step.uses).undo is None:
            yield ("keep",), f"{step.uses} cannot be undone anyway: remove `keep`"
        if step.any_order and step.verify is None:
            yield ("any-order",), "add a `verify`: the steps in any order are done until the metrics of one hold"
        if step.any_order and len(self._runbook.interchangeable(step.id)) == 1:
            yield ("any-order",), "there is no step beside it in any order: mark that one, too, or remove `any-order`"
        if step.verify and step.verify.board not in self._team.boards:
            board = step.verify.board
            yield ("verify",), f"unknown board `{board}`" + _did_you_mean(board, self._team.boards)
        roles = set(self._team.people_by_role())
        if step.approval and step.approval.role and step.approval.role not in roles:
            role = step.approval.role
            yield ("approval",), f"unknown role `{role}`" + _did_you_mean(role, roles)
        if step.if_ is not None:
            yield from (((("if",), what)) for what in self._check_condition(step.if_))
        for path_in_file, text in _texts(("with",), step.with_):
            yield from ((path_in_file, what) for what in self._check_expression(text))

    def always_fails(self) -> bool:
        """Return True for a check whose condition is literally false: the run always ends here."""
        step = self._step
        return step.uses == "flow.check" and step.with_.get("that") is False and step.if_ is None and (
            not step.continue_on_error
        )  # fmt: skip

    def _check_parameters(self, action: Action) -> Problems:
        fields, values = action.parameters.model_fields, self._step.with_
        for name in values:
            if name not in fields:
                yield ("with", name), f"{action.name} has no `{name}`" + _did_you_mean(name, fields)
        for name, field in fields.items():
            if field.is_required() and name not in values:
                yield ("with",), f"{action.name} requires `{name}`"
        plain = {
            name for name in values if name in fields and not any("{" in text for _, text in _texts((), values[name]))
        }
        try:
            action.parameters.model_validate(values)
        except ValidationError as errors:
            for error in errors.errors(include_url=False, include_input=False):
                if error["loc"] and error["loc"][0] in plain:
                    yield ("with", *error["loc"]), f"`{error['loc'][0]}` {in_words(error, action.parameters)}"
        if action.name.startswith("prometheus."):
            yield from self._check_verify(plain)

    def _check_verify(self, plain: set[str]) -> Problems:
        for name in plain & {"board", "query"}:
            value = str(self._step.with_[name])
            names = {*self._team.boards, *self._team.queries}
            if value not in names and (why := _promql_error(value)):
                what = f"`{value}` is not a board, a query or valid PromQL ({why})"
                yield ("with", name), what + _did_you_mean(value, names)
        service = self._step.with_.get("service")
        if "service" in plain and service not in self._team.services:
            yield ("with", "service"), f"unknown service `{service}`" + _did_you_mean(str(service), self._team.services)

    def _check_condition(self, condition: str) -> Iterator[str]:
        if not condition.strip().startswith("{{"):
            yield "a condition must be written as `{{ … }}`; any other text is always true"
            return
        problems = list(self._check_expression(condition))
        yield from problems
        if not problems and not self._expressions.referenced_names(condition):
            try:
                if self._expressions.evaluate(condition, {}):
                    yield "the condition is always true: remove it"
                else:
                    yield "the condition is always false: this step is never reached"
            except BadInput as problem:
                yield str(problem.facts.get("why"))

    def _check_expression(self, text: str) -> Iterator[str]:
        """Yield unknown names, as deep as they are known without running it."""
        problems = list(self._expressions.errors(text))
        yield from problems
        if problems:
            return
        for step_id in sorted(self._expressions.referenced_steps(text) - self._before.keys()):
            yield f"step `{step_id}` is not before this step" + _did_you_mean(step_id, self._before)
        others = {step.id for step in self._runbook.interchangeable(self._step.id)}
        for step_id in sorted(self._expressions.referenced_steps(text) & others & self._before.keys()):
            yield f"step `{step_id}` may come later: both are in any order"
        allowed = {"inputs": set(self._runbook.inputs), **CONTEXT_FACTS}
        for path in sorted(self._expressions.paths(text)):
            if path[0] == "steps" and len(path) > 2 and path[1] in self._before:
                yield from self._check_fact(path[1], path[2])
            elif path[0] in allowed and len(path) > 1 and path[1] not in allowed[path[0]]:
                yield f"`{path[0]}` has no `{path[1]}`" + _did_you_mean(path[1], allowed[path[0]])

    def _check_fact(self, step_id: str, fact: str) -> Iterator[str]:
        step = self._before[step_id]
        if fact == "verified" and step.verify is None:
            yield f"step `{step_id}` has no `verify`, so `verified` is never set"
        if step.uses not in self._registry:
            return
        facts = _facts(self._registry.get(step.uses).result)
        if facts is not None and fact not in facts | STEP_FACTS:
            yield f"{step.uses} does not return `{fact}`" + _did_you_mean(fact, facts | STEP_FACTS)


@cache
def _facts(result: TypeAdapter[Any]) -> set[str] | None:
    """Return the names of the facts that an action returns; None if they are not known."""
    schema = result.json_schema()
    if reference := schema.get("$ref"):
        schema = schema["$defs"][reference.rpartition("/")[2]]
    return set(schema["properties"]) if "properties" in schema else None


def _promql_error(text: str) -> str | None:
    """Return why a query is not valid PromQL; None if it is. `$service` is inside a string and harmless."""
    try:
        promql_parser.parse(text)
    except ValueError as problem:
        return " ".join(str(problem).split())
    return None


def _did_you_mean(word: str, allowed: Iterable[str]) -> str:
    near = nearest(word, allowed)
    return f"; did you mean `{near}`?" if near else ""


def _texts(path_in_file: YamlPath, value: Any) -> Iterator[tuple[YamlPath, str]]:
    if isinstance(value, str):
        yield path_in_file, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts((*path_in_file, key), item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts((*path_in_file, number), item)
