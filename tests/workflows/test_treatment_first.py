"""Which of the steps that may be done instead of each other goes first: the leading cause's, or that of the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from bot.domain.diagnosis import Outcome, Piece, Suspect
from bot.domain.incident import Declaration, Incident, Severity
from bot.domain.people import BOT
from bot.domain.run import Run, RunRequest
from bot.domain.timeline import Kind
from demo.environment import DemoEnvironment
from tests.harness.lamp import ANA

FILE = ["scale", "gpu-nodes", "features-off", "roll-back"]
SWITCHED_ON = {"change": {"settings": [{"name": "EXPERIMENTAL_FEATURES", "from": "false", "to": "true"}]}}
OTHER = {"change": {"settings": [{"name": "CACHE_SIZE", "from": "100", "to": "10"}]}}
AS_TREATED = {"change": {"settings": [{"name": "EXPERIMENTAL_FEATURES", "from": "true", "to": "false"}]}}
HIDDEN = {"change": {"settings": [{"name": "ADVANCED_RENDERING", "from": None, "to": None}]}}


FULL = {"now": 0.96}


def suspect(cause: str, facts: Mapping[str, Any] | None = None, place: str = "xr-engine") -> Suspect:
    finding = "accelerator_full" if facts is FULL else "new_configuration"
    return Suspect(cause, place, 0.9, [Piece(finding, 1.0, 2.0, facts or {})])


async def incident_with(stage: DemoEnvironment, one: Suspect, outcome: Outcome = Outcome.CLAIM) -> Incident:
    deps = stage.bot.deps
    now = deps.clock.now()
    slow = Declaration("Render lento", Severity.SEV2, by=ANA, at=now, service="xr-engine", detected=now)
    incident, _ = await deps.store.incidents.declare(lambda id: Incident.declare(id, slow), now, idempotency_key="i")
    return await weighed(stage, incident, one, outcome)


async def weighed(stage: DemoEnvironment, incident: Incident, one: Suspect, outcome: Outcome) -> Incident:
    facts = {
        "service": "xr-engine",
        "outcome": outcome.value,
        "suspects": [one.to_json()],
        "changes": [],
        "missing": [],
    }
    return await said(stage, incident, Kind.CAUSES_WEIGHED, facts)


async def said(stage: DemoEnvironment, incident: Incident, kind: Kind, facts: Mapping[str, Any]) -> Incident:
    deps = stage.bot.deps
    changed, _ = await deps.store.incidents.change(
        incident.id, lambda now: now.with_event(kind, facts, by=BOT, at=deps.clock.now()), idempotency_key=str(facts)
    )
    return changed


async def begun(stage: DemoEnvironment, incident: Incident | None, key: str = "r", **more: Any) -> Run:
    request = RunRequest(ANA, key, incident, channel="#tamv-incidents", dry_run=True, **more)
    return await stage.bot.runs.start("render-latency", {"service": "xr-engine"}, request)


def order(run: Run) -> list[str]:
    return [step.id for step in run.steps if step.id in FILE]


@pytest.mark.parametrize(
    ("cause", "facts", "place", "first"),
    [
        ("bad_configuration", SWITCHED_ON, "xr-engine", "features-off"),
        ("bad_configuration", HIDDEN, "xr-engine", "features-off"),  # its value may be a secret; its name is known
        ("bad_configuration", OTHER, "xr-engine", None),  # a setting that the step does not set
        ("bad_configuration", AS_TREATED, "xr-engine", None),  # it is so already
        ("bad_version", None, "xr-engine", "roll-back"),
        ("bad_version", None, "tamv-core", None),  # of a service that the run does not change
        ("node_loss", None, "gpu-node-2", "gpu-nodes"),
        ("more_load", None, "xr-engine", "scale"),
        ("more_load", FULL, "xr-engine", "gpu-nodes"),  # more pods would share the same GPUs
        ("database", None, "xr-engine", None),  # what treats it is no step of the runbook
    ],
)
async def test_treatment_of_the_leading_cause_goes_first(
    stage: DemoEnvironment, cause: str, facts: Mapping[str, Any] | None, place: str, first: str | None
) -> None:
    run = await begun(stage, await incident_with(stage, suspect(cause, facts, place)))
    assert order(run) == ([first] if first else []) + [id for id in FILE if id != first]
    assert [step.id for step in run.steps if step.treats] == ([first] if first else [])
    steps = {step["id"]: step for step in stage.bot.runs.library.get("render-latency").to_json()["steps"]}
    assert all(step["approval"] == steps[step["id"]]["approval"] for step in run.definition["steps"])


async def test_order_is_that_of_the_file_unless_a_cause_leads(stage: DemoEnvironment) -> None:
    assert order(await begun(stage, None)) == FILE
    incident = await incident_with(stage, suspect("bad_version"), Outcome.UNCLEAR)
    assert order(await begun(stage, incident, "unclear")) == FILE
    incident = await weighed(stage, incident, suspect("bad_version"), Outcome.CLAIM)
    assert order(await begun(stage, incident, "elsewhere", environment="staging")) == FILE
    incident = await said(stage, incident, Kind.CAUSE_RULED_OUT, {"suspect": suspect("bad_version").to_json()})
    assert order(await begun(stage, incident, "ruled-out")) == FILE


async def test_confirmed_cause_counts_more_than_the_claimed_one_and_the_order_stays_with_the_run(
    stage: DemoEnvironment,
) -> None:
    incident = await incident_with(stage, suspect("bad_version"))
    first = await begun(stage, incident)
    treats = first.steps[4].treats
    assert treats and (treats.suspect.cause, treats.confirmed) == ("bad_version", False)
    incident = await said(stage, incident, Kind.CAUSE_CONFIRMED, {"suspect": suspect("node_loss").to_json()})
    assert (await begun(stage, incident)) == await stage.bot.deps.store.runs.get(first.id)  # the same press once more
    assert order(await stage.bot.deps.store.runs.get(first.id)) == order(first)
    later = await begun(stage, incident, "later")
    treats = later.steps[4].treats
    assert order(later)[0] == "gpu-nodes" and treats and treats.confirmed
