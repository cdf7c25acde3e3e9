"""Random walks: whatever refuses meanwhile, afterwards everything is told once, in order, where it belongs.

30 walks, five at a time: one's refusals hold for the others, too. `WALKS=500` (or `make crash`) takes so many, other
ones each time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bot.domain.incident import Incident, Status
from bot.domain.timeline import Kind, first_broken_link
from bot.workflows.incidents.event_handlers import NOT_POSTED
from sandbox.slack.state import Channel, Message
from tests.harness.scene import TEAM, Scene, scene, words
from tests.harness.walk import SPEED, Move, Walk, settled, team_folder, walks

MANY = os.environ.get("WALKS")
TOGETHER = 5
IN_ONE_BOT = 50
WALKS = int(MANY or 30)

_numbers = itertools.count(1)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, team_dir=team_folder(tmp_path)) as made:
        made.sandbox.clock.speed = SPEED
        yield made


@pytest.mark.parametrize("part", range(-(-WALKS // IN_ONE_BOT)))
@given(steps=st.lists(walks, min_size=TOGETHER, max_size=TOGETHER))
@settings(
    max_examples=min(WALKS, IN_ONE_BOT) // TOGETHER,
    derandomize=MANY is None,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
async def test_after_any_walk_everything_is_told_once_in_order_where_it_belongs(
    stage: Scene, part: int, steps: Sequence[Sequence[Move]]
) -> None:
    taken = [Walk(stage, f"W{next(_numbers):04d}") for _ in steps]
    await asyncio.gather(*(walk.go(own) for walk, own in zip(taken, steps, strict=True)))
    stage.sandbox.faults.clear()
    await settled(stage)
    for walk in taken:
        await holds(walk)


async def holds(walk: Walk) -> None:
    """What must be true of a walk once everything has come to rest."""
    stage = walk.stage
    said = by_key(stage)
    incidents = await walk.incidents()
    for incident in incidents:
        await one_channel_or_a_reason(stage, incident, said)
        await one_true_headline(stage, incident, said)
        await told_once_in_order(stage, incident, said)
        await pages_where_they_belong(stage, incident)
    await each_alert_in_one_incident(walk, incidents)


Said = dict[str, list[tuple[Channel, Message]]]
REPLACED = "replaced/"  # before the key of a message that points to its replacement


def by_key(stage: Scene) -> Said:
    """The bot's messages by key."""
    found: Said = defaultdict(list)
    for channel in stage.slack.channels.values():
        replaced = {one.thread_ts for one in channel.messages.values() if one.text.startswith("➡️")}
        for message in channel.messages.values():
            if key := ((message.metadata or {}).get("event_payload") or {}).get("key"):
                found[REPLACED + key if message.ts in replaced else key].append((channel, message))
    return found


def threads(incident: Incident, said: Said) -> set[tuple[str, str | None]]:
    """The channels and threads of the incident's headline, and of those that it has replaced."""
    key = f"{incident.id}/headline"
    return {(channel.id, message.ts) for channel, message in (*said[key], *said[REPLACED + key])}


async def one_channel_or_a_reason(stage: Scene, incident: Incident, said: Said) -> None:
    channels = [one.id for one in stage.slack.channels.values() if one.name.startswith(incident.id.lower())]
    if incident.channel:
        assert channels == [incident.channel], (incident.id, channels)
        return
    assert channels == [], incident.id
    here = [pair for key, pairs in said.items() if key.startswith(f"{incident.id}/") for pair in pairs]
    told = [words(one) for channel, one in here if (channel.id, one.thread_ts) in threads(incident, said)]
    assert any("canal" in text for text in told), incident.id


async def one_true_headline(stage: Scene, incident: Incident, said: Said) -> None:
    headlines = said[f"{incident.id}/headline"]
    assert [channel.name for channel, _ in headlines] == [TEAM], (incident.id, headlines)
    text = words(headlines[0][1])
    labels = stage.bot.deps.words
    assert incident.severity in text and labels.label(f"status.{incident.status}") in text, (incident.id, text)
    assert not incident.commander or f"<@{incident.commander}>" in text, (incident.id, text)
    firing = await stage.bot.deps.store.alerts.count_firing(incident.id)
    assert ("🔔" in text) is bool(firing) and (firing < 2 or f"{firing} alertas" in text), (incident.id, text, firing)
    assert not incident.channel or f"<#{incident.channel}>" in text, (incident.id, text)


async def told_once_in_order(stage: Scene, incident: Incident, said: Said) -> None:
    timeline = await stage.bot.deps.store.incidents.timeline(incident.id)
    assert first_broken_link(incident.id, timeline) is None
    moments: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    card = f"{incident.id}/card"
    cards = {(channel.id, message.ts) for channel, message in (*said[card], *said[REPLACED + card])}
    places = {(incident.channel, None), *cards, *threads(incident, said)}
    for event in timeline:
        if event.kind in NOT_POSTED:
            continue
        told = said[f"{incident.id}/{event.seq}"]
        assert len(told) == 1, (incident.id, event.seq, event.kind, told)
        channel, message = told[0]
        place = (channel.id, message.thread_ts)
        assert place in places, (incident.id, event.seq, event.kind, channel.name)
        moments[place].append(message.ts)
    assert all(told == sorted(told) for told in moments.values()), (incident.id, moments)
    twice = {key: len(told) for key, told in said.items() if key.startswith(f"{incident.id}/") and len(told) > 1}
    assert twice == {}, twice


async def pages_where_they_belong(stage: Scene, incident: Incident) -> None:
    """Whoever must be woken was, for as long as it is open, and nobody is for what is over."""
    store = stage.bot.deps.store
    there = [one for one in stage.sandbox.pagerduty.incidents.values() if one.key.partition("/")[0] == incident.id]
    pages = await store.pages.list_by_incident(incident.id)
    policy = stage.bot.deps.team.severity_policy(incident.severity)
    held = await store.incidents.newest(incident.id, Kind.PAGE_HELD)
    if not incident.status.is_open:
        assert not [one for one in there if one.is_open], (incident.id, incident.status, there)
        assert {page.state for page in pages} <= {"resolved", "failed"}, (incident.id, incident.status, pages)
    elif incident.status is Status.DECLARED and policy.page and incident.source != "pagerduty" and not held:
        assert there, (incident.id, pages)
    open_keys = [one.key for one in there if one.is_open]
    assert len(open_keys) == len(set(open_keys)), (incident.id, open_keys)


async def each_alert_in_one_incident(walk: Walk, incidents: Sequence[Incident]) -> None:
    store = walk.stage.bot.deps.store
    known: dict[str, list[str]] = defaultdict(list)
    firing: dict[str, list[str]] = defaultdict(list)
    for incident in incidents:
        for one in await store.alerts.of_incident(incident.id):
            known[one.name].append(incident.id)
            if one.firing:
                firing[one.name].append(incident.id)
    assert walk.fired <= known.keys(), known
    assert firing.keys() == walk.firing.keys(), firing
    assert all(len(owners) == 1 for owners in firing.values()), firing
