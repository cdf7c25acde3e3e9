"""Moments as people type them: `02:10`, `-15m`, `2026-01-07T02:10`, `now`, or by what happened then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from bot.domain.errors import BadInput

_AGO = re.compile(r"-(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


def parse_time(text: str, now: datetime, named: Mapping[str, datetime] | None = None) -> datetime:
    """The moment (UTC) that `text` means at `now`; `named` are moments with names.

    A time of day is the last one that has been. A date without an offset is UTC. Raises BadInput for anything else,
    and for a moment that is still to come.
    """
    wanted = text.strip().lower()
    try:
        result = (named or {}).get(wanted) or _parse(wanted, now)
    except (ValueError, OverflowError):  # no such date, or one beyond the calendar
        result = None
    if result is None:
        raise BadInput("bad_moment", text=text, names=sorted(named or {}))
    if result > now:
        raise BadInput("moment_to_come", text=text)
    return result


def _parse(text: str, now: datetime) -> datetime | None:
    if text in ("now", "ahora"):
        return now
    if (ago := _AGO.fullmatch(text)) and any(ago.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in ago.groups())
        return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if clock := _CLOCK.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in clock.groups())
        today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
        return today if today <= now else today - timedelta(days=1)
    written = datetime.fromisoformat(text.upper())
    return written.astimezone(UTC) if written.tzinfo else written.replace(tzinfo=UTC)
