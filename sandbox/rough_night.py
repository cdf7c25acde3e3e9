"""The scenario rough-night: two Alertmanagers, PagerDuty called by one of them, and a Slack that does not answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sandbox.alertmanager.backend import Alertmanager
from sandbox.pagerduty.shapes import integration_reference
from sandbox.responder import ALERT_TIMEOUT, SIGN_TIMEOUT, Story, wait_for_declaration, wait_for_sign
from sandbox.server import Sandbox
from sandbox.world.scenario import load_scenario

NAME = "rough-night"
SECOND_URL = "https://alertmanager-b.tamv.world"
SECOND_WAITS = timedelta(seconds=60)  # its clock and its configuration are its own
AWAY_SECONDS = 60.0  # of the world, counted from the first notification


async def play_rough_night(sandbox: Sandbox, *, say: Callable[[str], None], language: str = "es") -> str:
    """Play it from the alert to the completed report and return the incident's id.

    Raises SignMissing when a sign of the bot's work does not come in time.
    """
    story = Story(sandbox.clock, NAME, language, say)
    await begin_rough_night(sandbox, story)
    response = await wait_for_declaration(sandbox, story)
    await response.play()
    return response.incident


async def begin_rough_night(sandbox: Sandbox, story: Story) -> None:
    """Let it begin, and return when Slack is back. Raises SignMissing as above."""
    scenario = load_scenario(NAME)
    story.tell("begins", title=getattr(scenario.title, story.language), story=getattr(scenario.story, story.language))
    second = _second_alertmanager(sandbox)
    sandbox.world.play(scenario)
    first, timeout = sandbox.alertmanager, ALERT_TIMEOUT / sandbox.clock.speed + SIGN_TIMEOUT
    await wait_for_sign(story, "slack_away", lambda: first.alerts, timeout)
    away = sandbox.faults.add("slack", "drop_before", "*", times=None)
    since = sandbox.clock.now()
    story.tell("slack_away")
    try:
        await wait_for_sign(story, "paged_meanwhile", lambda: _delivered(first) and _paged(sandbox), timeout)
        story.tell("paged_meanwhile")
        await sandbox.clock.sleep(AWAY_SECONDS)
        await wait_for_sign(story, "told_again", lambda: _delivered(second), timeout)
        story.tell("told_again")
    finally:
        sandbox.faults.all.remove(away)
    story.tell("slack_back", seconds=round((sandbox.clock.now() - since).total_seconds()))


def _second_alertmanager(sandbox: Sandbox) -> Alertmanager:
    """Add an Alertmanager with the same route, so with equal group keys, that calls PagerDuty besides the bot."""
    first = sandbox.alertmanager
    route = replace(first.route, group_wait=SECOND_WAITS)
    second = Alertmanager(sandbox.clock, route, url=first.url, token=first.token, external_url=SECOND_URL)
    second.also_notify = lambda notification: _call_pagerduty(sandbox, notification)
    sandbox.alertmanagers.append(second)
    return second


def _call_pagerduty(sandbox: Sandbox, notification: dict[str, Any]) -> None:
    """Open or resolve the group's incident at PagerDuty, as Alertmanager's pagerduty_configs do."""
    pagerduty = sandbox.pagerduty
    service = pagerduty.company.pagerduty.services[0]
    agent = integration_reference(pagerduty, service)
    key = hashlib.sha256(notification["groupKey"].encode()).hexdigest()
    known = pagerduty.open_incident(key, service.id)
    if notification["status"] == "firing" and known is None:
        name = notification["commonLabels"].get("alertname", "alert")
        pagerduty.open(service, key, f"[FIRING:{len(notification['alerts'])}] {name}", agent)
    elif notification["status"] == "resolved" and known:
        pagerduty.resolve(known, agent)


def _delivered(alertmanager: Alertmanager) -> bool:
    return any(200 <= delivery.status < 300 for delivery in alertmanager.deliveries)


def _paged(sandbox: Sandbox) -> bool:
    """Return True if somebody was paged by the incident's own key."""
    return any(page.key.startswith("INC-") for page in sandbox.pagerduty.incidents.values())
