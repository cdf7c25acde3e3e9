"""Parse times and durations as people type them: `02:10`, `-15m`, `2026-01-07T02:10`, `now`, or a named event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticKnownError

from bot.domain.errors import BadInput

_AGO = re.compile(r"-(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")

_DURATION = re.compile(r"(\d{1,18})([smhdw])", re.ASCII)
LONGEST = timedelta(days=3660)  # ten years: nothing here waits or looks back for longer
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime, named: Mapping[str, datetime] | None = None, zone: tzinfo = UTC) -> datetime:
    """Return the time (UTC) that `text` means at `now`; `named` maps names of events to their times.

    A time of day, or a date without an offset, is of `zone`, where the person is who typed it. A time of day is its
    last occurrence. Raises BadInput for anything else, and for a time in the future.
    """
    normalized = text.strip().lower()
    try:
        result = (named or {}).get(normalized) or _parse(normalized, now, zone)
    except (ValueError, OverflowError):  # no valid date, or out of datetime's range
        result = None
    if result is None:
        raise BadInput("bad_moment", text=text, names=sorted(named or {}))
    if result > now:
        raise BadInput("moment_to_come", text=text)
    return result


def _parse(text: str, now: datetime, zone: tzinfo) -> datetime | None:
    if text in ("now", "ahora"):
        return now
    if (ago := _AGO.fullmatch(text)) and any(ago.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in ago.groups())
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if clock := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        return _last_occurrence(time(hour, minute, second), now, zone)
    date = datetime.fromisoformat(text.upper())
    return (date if date.tzinfo else date.replace(tzinfo=zone)).astimezone(UTC)


def _last_occurrence(clock: time, now: datetime, zone: tzinfo) -> datetime:
    """Return when a clock in `zone` last showed this time; the later of two when the clock was turned back."""
    today = now.astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        for fold in (1, 0):
            at = datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)
            if at <= now:
                return at
    raise ValueError("a clock shows every time within two days")


def parse_zone(name: str | None) -> tzinfo | None:
    """Return a time zone by its IANA name (`Europe/Madrid`); None if there is none of this name."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def format_span(start: datetime, end: datetime, zone: tzinfo) -> str:
    """Return `2026-01-07 20:40 → 20:50 CET (19:40 → 19:50 UTC)`; the second only if the zone is not UTC."""
    local, utc = ((start.astimezone(where), end.astimezone(where)) for where in (zone, UTC))
    day = f"{local[0]:%Y-%m-%d} "
    last = f"{local[1]:%H:%M}" if local[0].date() == local[1].date() else f"{local[1]:%Y-%m-%d %H:%M}"
    shown = f"{day}{local[0]:%H:%M} → {last} {local[1]:%Z}"
    return shown if local[1].utcoffset() == timedelta(0) else f"{shown} ({utc[0]:%H:%M} → {utc[1]:%H:%M} UTC)"


def parse_duration(value: object) -> object:
    """Return `90s`, `15m`, `1h`, `30d`, `2w` as a timedelta; any other value as it is, for pydantic to validate."""
    if isinstance(value, str) and (typed := _DURATION.fullmatch(value)):
        try:
            return timedelta(**{_UNITS[typed[2]]: int(typed[1])})
        except OverflowError:
            return timedelta.max
    return value


def _bounded(length: timedelta) -> timedelta:
    if not timedelta(0) <= length <= LONGEST:
        raise ValueError(f"a duration is from nothing to {LONGEST.days} days")
    return length


def _some_time(length: timedelta) -> timedelta:
    if not length:
        raise ValueError("a duration is more than nothing here")
    return length


Duration = Annotated[timedelta, BeforeValidator(parse_duration), AfterValidator(_bounded)]
"""A time as `parse_duration` reads it, from nothing to LONGEST, so that it can be counted from any day."""
PositiveDuration = Annotated[Duration, AfterValidator(_some_time)]


def at_most(longest: timedelta) -> AfterValidator:
    """Return what refuses a longer duration, with the longest as people type it."""

    def bounded(length: timedelta) -> timedelta:
        if length > longest:
            raise PydanticKnownError("less_than_equal", {"le": format_duration(longest)})
        return length

    return AfterValidator(bounded)


def format_duration(length: timedelta) -> str:
    """Return a whole number of seconds as `15m` or `2d`, in the largest unit that divides it."""
    seconds = round(length.total_seconds())
    sizes = {unit: int(timedelta(**{name: 1}).total_seconds()) for unit, name in _UNITS.items() if unit != "w"}
    unit = next((size for size in reversed(sizes) if seconds and seconds % sizes[size] == 0), "s")
    return f"{seconds // sizes[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """A daily window from `opens` to `closes` (UTC); past midnight if it closes earlier than it opens."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the window of `03:00-04:00`, as RDS writes it. Raises ValueError."""
        opens, closes = (time.fromisoformat(part) for part in text.split("-"))
        return cls(opens, closes)

    def contains(self, moment: datetime) -> bool:
        """Return True if the window is open at this moment, its end included."""
        clock = moment.astimezone(UTC).time()
        if self.opens < self.closes:
            return self.opens <= clock <= self.closes
        return clock >= self.opens or clock <= self.closes

    def last(self, before: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the last window that had ended at `before`."""
        begins, ends = self.next(before - timedelta(days=2))
        while ends + timedelta(days=1) <= before:
            begins, ends = begins + timedelta(days=1), ends + timedelta(days=1)
        return begins, ends

    def next(self, after: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the first window that begins at `after` or later."""
        day = after.astimezone(UTC).date()
        begins = datetime.combine(day, self.opens, UTC)
        if begins < after:
            begins += timedelta(days=1)
        ends = datetime.combine(begins.date(), self.closes, UTC)
        return begins, ends if ends > begins else ends + timedelta(days=1)
