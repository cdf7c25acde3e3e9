"""A time of every day in which something may be done, in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """From `opens` to `closes`; over midnight when it closes earlier than it opens."""

    opens: time
    closes: time

    def next(self, after: datetime) -> tuple[datetime, datetime]:
        """The first one that begins at that moment or later: when it begins, when it ends."""
        day = after.astimezone(UTC).date()
        begins = datetime.combine(day, self.opens, UTC)
        if begins < after:
            begins += timedelta(days=1)
        ends = datetime.combine(begins.date(), self.closes, UTC)
        return begins, ends if ends > begins else ends + timedelta(days=1)
