"""How deployments to production go: how many succeed, and how many are rolled back."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bot.domain.run import RunState, StepState


@dataclass(frozen=True, slots=True)
class Attempt:
    """A step that changed the version that runs (or tried to), and what became of its run."""

    run: str
    run_state: RunState
    uses: str
    state: StepState


@dataclass(frozen=True, slots=True)
class Share:
    """A share in per cent (None: of nothing), and the limit that the team wants it to be above or below."""

    percent: float | None
    target: float
    higher_is_better: bool = False

    @property
    def met(self) -> bool | None:
        """None when there is no share."""
        if self.percent is None:
            return None
        return self.percent > self.target if self.higher_is_better else self.percent < self.target


@dataclass(frozen=True, slots=True)
class Deployments:
    """`count` runs deployed; `success` and `rolled_back` are shares of them."""

    count: int
    success: Share
    rolled_back: Share


def compute_deployments(
    attempts: Iterable[Attempt],
    deploying: Collection[str],
    rolling_back: Collection[str],
    *,
    success: float,
    rollback: float,
) -> Deployments:
    """The figures of ended runs; a run counts once, however many steps it deployed in.

    It succeeded when it came to its end. A deployment is rolled back by the undo of its own run, or by a later run of
    an action of `rolling_back`; the share is what DORA calls the change fail rate, seen from what was done about it
    (N. Forsgren and others, *Accelerate*). `success` and `rollback` are the targets, in per cent.
    """
    attempts_seen = list(attempts)
    deployed = {attempt.run: attempt.run_state for attempt in attempts_seen if attempt.uses in deploying}
    undone = {
        attempt.run for attempt in attempts_seen if attempt.uses in deploying and attempt.state is StepState.UNDONE
    }
    rolled = {
        attempt.run for attempt in attempts_seen if attempt.uses in rolling_back and attempt.state is StepState.DONE
    }
    succeeded = sum(state is RunState.SUCCEEDED for state in deployed.values())
    return Deployments(
        len(deployed),
        Share(_percent(succeeded, len(deployed)), success, higher_is_better=True),
        Share(_percent(len(undone | rolled), len(deployed)), rollback),
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
