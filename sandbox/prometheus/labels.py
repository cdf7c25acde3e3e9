"""label_replace and label_join."""

import re
from collections.abc import Sequence

from sandbox.prometheus.errors import execution
from sandbox.prometheus.selectors import pattern
from sandbox.prometheus.tsdb import Labels
from sandbox.prometheus.values import Vector, vector

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def label_replace(operand: Vector, target: str, replacement: str, source: str, expression: str) -> Vector:
    """Set `target` from `source` where the expression matches it whole; `$1` and `${name}` are its groups."""
    compiled = pattern(expression)
    _check(target, "label_replace")

    def changed(labels: Labels) -> Labels:
        found = compiled.fullmatch(labels.get(source, ""))
        return labels if found is None else _with(labels, target, _expanded(replacement, found))

    return vector([changed(labels) for labels in operand.labels], operand.values, operand.present)


def label_join(operand: Vector, target: str, separator: str, sources: Sequence[str]) -> Vector:
    """Set `target` to the values of the labels `sources`, joined."""
    _check(target, "label_join")
    joined = [
        _with(labels, target, separator.join(labels.get(source, "") for source in sources)) for labels in operand.labels
    ]
    return vector(joined, operand.values, operand.present)


def _check(target: str, function: str) -> None:
    if not LABEL_NAME.fullmatch(target):
        raise execution(f'invalid destination label name in {function}(): "{target}"')


def _with(labels: Labels, name: str, value: str) -> Labels:
    rest = {key: kept for key, kept in labels.items() if key != name}
    return {**rest, name: value} if value else rest


def _expanded(template: str, found: re.Match[str]) -> str:
    """Go's Regexp.Expand: an unknown group is empty, `$$` is a dollar."""

    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        try:
            return found[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return REFERENCE.sub(group, template)
