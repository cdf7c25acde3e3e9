"""What counts as a deployment that succeeded, and as one that was rolled back."""

from __future__ import annotations

from bot.domain.run import RunState, StepState
from bot.domain.statistics import Attempt, Deployments, compute_deployments

DONE, UNDONE = StepState.DONE, StepState.UNDONE


def measured(*made: tuple[str, RunState, str, StepState]) -> Deployments:
    return compute_deployments(
        [Attempt(*one) for one in made], ["upgrade", "promote"], ["rollback"], success=99.5, rollback=2
    )


def test_a_run_counts_once_however_many_steps_it_deploys_in() -> None:
    seen = measured(
        ("R-1", RunState.SUCCEEDED, "upgrade", DONE),
        ("R-1", RunState.SUCCEEDED, "promote", DONE),
        ("R-2", RunState.FAILED, "upgrade", StepState.FAILED),
    )
    assert (seen.count, seen.success.percent, seen.success.met) == (2, 50, False)
    assert (seen.rolled_back.percent, seen.rolled_back.met) == (0, True)


def test_a_roll_back_is_its_own_undo_or_a_run_that_rolls_back() -> None:
    seen = measured(
        ("R-1", RunState.UNDONE, "upgrade", UNDONE),
        ("R-1", RunState.UNDONE, "promote", UNDONE),
        ("R-2", RunState.SUCCEEDED, "upgrade", DONE),
        ("R-3", RunState.SUCCEEDED, "rollback", DONE),
        ("R-4", RunState.FAILED, "rollback", StepState.FAILED),
    )
    assert (seen.count, seen.success.percent, seen.rolled_back.percent) == (2, 50, 100)


def test_of_nothing_nothing_is_known() -> None:
    seen = measured()
    assert (seen.count, seen.success.percent, seen.success.met, seen.rolled_back.met) == (0, None, None, None)


def test_all_well_is_above_the_target() -> None:
    assert measured(("R-1", RunState.SUCCEEDED, "upgrade", DONE)).success.met is True
