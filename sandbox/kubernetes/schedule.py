"""When a cron schedule is due. https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

SHORT = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
         "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}  # fmt: skip
BOUNDS: Sequence[tuple[int, int]] = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FARTHEST = 366 * 4  # days; 29 February comes every four years


class Schedule:
    """Minute, hour, day of month, month, day of week. ValueError when it cannot be read."""

    def __init__(self, text: str) -> None:
        parts = SHORT.get(text.strip(), text).split()
        if len(parts) != len(BOUNDS):
            raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
        minutes, hours, days, months, weekdays = (
            _numbers(part, *bounds) for part, bounds in zip(parts, BOUNDS, strict=True)
        )
        self._minutes, self._hours, self._days, self._months = minutes, hours, days, months
        self._weekdays = {day % 7 for day in weekdays}
        self._any_day, self._any_weekday = parts[2].startswith("*"), parts[4].startswith("*")

    def after(self, moment: datetime) -> datetime:
        """The first minute after `moment` at which it is due. ValueError for a date that never comes."""
        at = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for _ in range(FARTHEST):
            if self._is_day(at):
                for hour in sorted(hour for hour in self._hours if hour >= at.hour):
                    first = at.minute if hour == at.hour else 0
                    if left := [minute for minute in self._minutes if minute >= first]:
                        return at.replace(hour=hour, minute=min(left))
            at = at.replace(hour=0, minute=0) + timedelta(days=1)
        raise ValueError("the schedule is never due")

    def _is_day(self, at: datetime) -> bool:
        """When both kinds of day are said, either will do; that is how cron reads it."""
        day, weekday = at.day in self._days, (at.weekday() + 1) % 7 in self._weekdays
        fits = day and weekday if self._any_day or self._any_weekday else day or weekday
        return at.month in self._months and fits


def _numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span in ("*", "?"):
            begin, end = low, high
        else:
            begin = _number(first, low)
            end = _number(last, low) if last else (high if step else begin)
        if not low <= begin <= end <= high:
            raise ValueError(f"{part} is not within {low}-{high}")
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def _number(text: str, low: int) -> int:
    names = MONTHS if low == 1 else DAYS
    return names.index(text.lower()) + low if text.lower() in names else int(text)
