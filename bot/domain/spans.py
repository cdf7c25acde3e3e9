"""Lengths of time as people write them in YAML and in commands."""

from __future__ import annotations

from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> object:
    """`90s`, `15m`, `1h`, `30d`, `2w` as a timedelta; anything else is left for pydantic to judge."""
    if isinstance(value, str) and value[:-1].isdigit() and value[-1] in _UNITS:
        return timedelta(**{_UNITS[value[-1]]: int(value[:-1])})
    return value


def format_duration(length: timedelta) -> str:
    """A whole number of seconds as people write it, in the largest unit that has no rest: `15m`, `2d`."""
    seconds = round(length.total_seconds())
    sizes = {unit: int(timedelta(**{name: 1}).total_seconds()) for unit, name in _UNITS.items() if unit != "w"}
    unit = next((size for size in reversed(sizes) if seconds and seconds % sizes[size] == 0), "s")
    return f"{seconds // sizes[unit]}{unit}"
