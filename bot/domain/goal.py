"""A target of the team for how long something may take, and how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Goal:
    """How long something took, and the team's target; it is met below the target."""

    took: timedelta | None
    target: timedelta | None

    @property
    def met(self) -> bool | None:
        return None if self.took is None or self.target is None else self.took < self.target
