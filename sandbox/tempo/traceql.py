"""The part of TraceQL that selects by conditions which all must hold: `{ a = "x" && duration > 500ms }`.

https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d+(?:\.\d+)?"
_TOKEN = re.compile(
    rf"""\s*(?:(?P<field>[A-Za-z][\w.]*|\.[\w.]+)\s*(?P<operator>!=|>=|<=|=|>|<)\s*
    (?P<value>"(?:[^"\\]|\\.)*"|{_NUMBER}(?:ns|us|µs|ms|s|m|h)|{_NUMBER}|[a-z]+))\s*""",
    re.VERBOSE,
)
_UNITS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
SERVICE_FIELDS = ("resource.service.name", ".service.name")
FIELDS = (*SERVICE_FIELDS, "duration", "traceDuration", "name", "status")


class NoTraceQl(Exception):
    """In Tempo's words."""


@dataclass(frozen=True)
class Condition:
    """`value` is text without its quotes, or milliseconds for a duration."""

    field: str
    operator: str
    value: str | float


def parse(query: str) -> list[Condition]:
    """The conditions of a query. NoTraceQl for anything else."""
    text = query.strip()
    if not (text.startswith("{") and text.endswith("}")):
        raise NoTraceQl("parse error at line 1, col 1: syntax error: unexpected IDENTIFIER")
    found, rest, column = [], text[1:-1], 2
    while rest.strip():
        token = _TOKEN.match(rest)
        if token is None or token["field"] not in FIELDS:
            raise NoTraceQl(f"parse error at line 1, col {column}: syntax error: unexpected {rest.split()[0]}")
        found.append(Condition(token["field"], token["operator"], _value(token["field"], token["value"], column)))
        rest, column = rest[token.end() :], column + token.end()
        if rest and not rest.startswith("&&"):
            raise NoTraceQl(f"parse error at line 1, col {column}: syntax error: unexpected {rest.split()[0]}")
        rest = rest[2:]
    return found


def _value(field: str, raw: str, column: int) -> str | float:
    if field in ("duration", "traceDuration"):
        unit = re.fullmatch(rf"({_NUMBER})(\D+)", raw)
        if unit is None:
            raise NoTraceQl(f"binary operations must operate on the same type at col {column}: {field} > {raw}")
        return float(unit[1]) * _UNITS[unit[2]]
    if field == "status":
        return raw
    if not raw.startswith('"'):
        raise NoTraceQl(f"binary operations must operate on the same type at col {column}: {field} = {raw}")
    return re.sub(r"\\(.)", r"\1", raw[1:-1])
