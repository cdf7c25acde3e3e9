"""Jinja2 expressions of runbooks: evaluated, and checked without evaluating them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest

NAMES = ("inputs", "steps", "incident", "run")
_WHOLE = re.compile(r"^\s*\{\{(?P<expression>(?:(?!\}\}).)*)\}\}\s*$", re.DOTALL)


class Expressions:
    """Jinja2 expressions, sandboxed and strict about unknown names; they can reach none of the bot's objects.

    An expression sees names and values, never Python's methods: `inputs.values` is the input `values`. Filters are
    Jinja's own: `inputs.service | upper`.
    """

    def render(self, value: Any, names: Mapping[str, Any]) -> Any:
        """Return `value` with its expressions evaluated, at any depth.

        A text that is a single `{{ expression }}` becomes the expression's value with its type; other text remains
        text. Raises BadInput.
        """
        if isinstance(value, dict):
            return {key: self.render(item, names) for key, item in value.items()}
        if isinstance(value, list):
            return [self.render(item, names) for item in value]
        if not isinstance(value, str) or "{" not in value:
            return value
        try:
            if whole := _WHOLE.match(value):
                expression = _environment().compile_expression(whole["expression"], undefined_to_none=False)(**names)
                if isinstance(expression, StrictUndefined):
                    str(expression)
                return expression
            return _environment().from_string(value).render(names)
        except (UndefinedError, SecurityError, TemplateSyntaxError, TypeError, ValueError, ArithmeticError) as problem:
            raise BadInput("expression_wrong", expression=value, why=str(problem)) from None

    def evaluate(self, condition: str, names: Mapping[str, Any]) -> bool:
        """Return the truth of an `if` condition. Raises BadInput."""
        return bool(self.render(condition, names))

    def errors(self, text: str) -> Iterator[str]:
        """Yield the mistakes of an expression that are known without evaluating it."""
        try:
            names = _names(text)
        except TemplateSyntaxError as problem:
            yield f"not an expression: {problem.message}"
            return
        for name in sorted(names - set(NAMES)):
            near = nearest(name, NAMES)
            yield f"unknown name `{name}`" + (f"; did you mean `{near}`?" if near else f"; known: {', '.join(NAMES)}")

    def referenced_steps(self, text: str) -> set[str]:
        """Return the ids of the steps that an expression uses."""
        parsed = _parsed(text)
        steps = set()
        for by_name in parsed.find_all(nodes.Getattr):
            if isinstance(by_name.node, nodes.Name) and by_name.node.name == "steps":
                steps.add(by_name.attr)
        for by_key in parsed.find_all(nodes.Getitem):
            if isinstance(by_key.node, nodes.Name) and by_key.node.name == "steps":
                steps.add(str(getattr(by_key.arg, "value", "")))
        return steps

    def referenced_names(self, text: str) -> frozenset[str]:
        """Return the names that an expression uses."""
        return _names(text)

    def paths(self, text: str) -> set[tuple[str, ...]]:
        """Return attribute paths such as `inputs.service` and `steps['gpu-nodes'].verified` as tuples, as far as
        constant.
        """
        paths = {
            path for node in _parsed(text).find_all((nodes.Getattr, nodes.Getitem)) if (path := _path(node)) is not None
        }
        return {path for path in paths if not any(other[: len(path)] == path and other != path for other in paths)}


class _Names(ImmutableSandboxedEnvironment):
    """An environment in which `a.b` and `a['b']` both look up an item, and nothing else."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr(obj, attribute) if isinstance(obj, LoopContext) else self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            return obj[argument]  # raises, with the name that is unknown
        try:
            return obj[argument]
        except (TypeError, LookupError, AttributeError):
            return self.undefined(obj=obj, name=argument)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Names(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    del environment.filters["attr"]  # it would reach Python's attributes
    return environment


@lru_cache(maxsize=512)  # each text is checked several times; parsing is half of the cost
def _parsed(text: str) -> nodes.Template:
    return _environment().parse(text)


@lru_cache(maxsize=512)
def _names(text: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(_parsed(text)))


def _path(node: nodes.Node) -> tuple[str, ...] | None:
    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        before, last = _path(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before, last = _path(node.node), str(node.arg.value)
    else:
        return None
    return (*before, last) if before else None
