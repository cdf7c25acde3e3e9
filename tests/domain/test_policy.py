"""Who may, and how many must agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import NotAllowed
from bot.domain.incident import Severity
from bot.domain.policy import Emergency, Policy, Risk, Rule, StepApproval, Window
from bot.domain.run import Effect, digest

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
POLICY = Policy(
    roles={"responder": frozenset({"U1", "U2"}), "incident_commander": frozenset({"U2"})},
    rules=(
        Rule("helm.upgrade", "staging", risk=Risk.CHANGE),
        Rule("kubernetes.scale", "production", approvals=1),
    ),
)


@pytest.mark.parametrize(
    ("action", "risk", "environment", "approvals"),
    [
        ("kubernetes.pods", Risk.READ, "production", 0),
        ("kubernetes.restart", Risk.CHANGE, "production", 0),
        ("kubernetes.scale", Risk.CHANGE, "production", 1),
        ("kubernetes.scale", Risk.CHANGE, "staging", 0),
        ("helm.upgrade", Risk.DISRUPTIVE, "production", 1),
        ("helm.upgrade", Risk.DISRUPTIVE, "staging", 0),
        ("aws.s3_prune", Risk.DESTRUCTIVE, "production", 2),
    ],
)
def test_risk_says_how_many_must_agree(action: str, risk: Risk, environment: str, approvals: int) -> None:
    assert POLICY.requires(action, risk, {environment}, NOW).approvals == approvals


def test_a_runbook_may_ask_for_more_never_for_less() -> None:
    more = POLICY.requires("kubernetes.restart", Risk.CHANGE, {"staging"}, NOW, StepApproval(role="incident_commander"))
    assert (more.approvals, more.role) == (1, "incident_commander")
    assert POLICY.requires("aws.s3_prune", Risk.DESTRUCTIVE, {"staging"}, NOW, StepApproval(1)).approvals == 2


def test_a_freeze_window_asks_for_approval_of_changes_only() -> None:
    frozen = Policy(roles=POLICY.roles, windows=(Window("Buen Fin", NOW, NOW + timedelta(days=1)),))
    assert frozen.requires("kubernetes.restart", Risk.CHANGE, {"production"}, NOW).approvals == 1
    assert frozen.requires("kubernetes.pods", Risk.READ, {"production"}, NOW).approvals == 0
    assert frozen.requires("kubernetes.restart", Risk.CHANGE, {"production"}, NOW + timedelta(days=1)).approvals == 0


def test_nobody_approves_their_own_request_or_without_the_role() -> None:
    POLICY.may_decide("U2", "incident_commander", requested_by="U1")
    with pytest.raises(NotAllowed) as own:
        POLICY.may_decide("U1", "responder", requested_by="U1")
    assert own.value.key == "own_request"
    with pytest.raises(NotAllowed) as missing:
        POLICY.may_decide("U1", "incident_commander", requested_by="U2")
    assert missing.value.facts["who"] == ["U2"]


def test_breaking_the_glass_is_for_the_worst_incidents_and_responders() -> None:
    POLICY.may_break_glass("U1", Emergency(NOW, Severity.SEV1, "alertmanager"), requested_by="U1", at=NOW)
    for person, severity in (("U1", Severity.SEV2), ("U1", None), ("U9", Severity.SEV1)):
        with pytest.raises(NotAllowed):
            POLICY.may_break_glass(person, Emergency(NOW, severity, "alertmanager"), requested_by="U1", at=NOW)


@pytest.mark.parametrize(
    ("set_by", "person", "minutes", "allowed"),
    [
        ("U1", "U1", 4, False),  # the requester has raised her own incident
        ("U1", "U2", 4, False),
        ("U2", "U2", 4, False),  # who breaks it has raised it
        ("U3", "U2", 0, True),
        (None, "U1", 4, False),
        ("U1", "U1", 5, True),  # the approvers were asked, and did not answer
    ],
)
def test_nobody_breaks_the_glass_by_a_severity_of_their_own_before_the_approvers_had_time(
    set_by: str | None, person: str, minutes: int, allowed: bool
) -> None:
    emergency, at = Emergency(NOW, Severity.SEV1, set_by), NOW + timedelta(minutes=minutes)
    if allowed:
        POLICY.may_break_glass(person, emergency, requested_by="U1", at=at)
        return
    with pytest.raises(NotAllowed) as early:
        POLICY.may_break_glass(person, emergency, requested_by="U1", at=at)
    assert early.value.key == "break_glass_early"


def test_the_digest_names_exactly_what_was_shown() -> None:
    effect = Effect("kubernetes.scaled", {"before": 3, "after": 10})
    shown = digest("kubernetes.scale", {"replicas": 10}, (effect,))
    assert shown == digest(
        "kubernetes.scale", {"replicas": 10}, (Effect("kubernetes.scaled", {"after": 10, "before": 3}),)
    )
    assert shown != digest("kubernetes.scale", {"replicas": 11}, (effect,))
    assert shown != digest(
        "kubernetes.scale", {"replicas": 10}, (Effect("kubernetes.scaled", {"before": 4, "after": 10}),)
    )
