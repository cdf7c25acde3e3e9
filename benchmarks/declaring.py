"""Declaring while Slack takes its time: from the signed command until everything stands."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.figures import Figure, median
from benchmarks.place import Place, place, until

BAR = "declare → channel, headline, topic, invitations, links, page; Slack answers in 200 ms"
LIMIT = 440.0  # two round trips that depend on each other are 400
TIMES = 12  # none of them a storm, whose pages are held for a moment
SLACK_TAKES = 0.2
STANDS = {
    "channel": "/conversations.create",
    "topic": "/conversations.setTopic",
    "invitations": "/conversations.invite",
    "links": "/bookmarks.add",
    "page": "/v2/enqueue",
}


async def declare() -> list[Figure]:
    async with place(team={"{incidents: 9, within: 1m}": "{incidents: 1000, within: 1s}"}) as here:
        await here.quiet(2.0)
        await here.latency("slack", SLACK_TAKES)
        first, *others = [await _declared(here, number) for number in range(TIMES + 1)]
        usual = {name: median([one[name] for one in others]) for name in first}
        await _all_there(here, TIMES + 1)
    return [
        Figure(BAR, "the first since the start", max(first.values()), "ms", note=_said(first)),
        Figure(BAR, "median", median([max(one.values()) for one in others]), "ms", LIMIT, _said(usual)),
        Figure(BAR, "slowest", max(max(one.values()) for one in others), "ms", note=f"of {TIMES}"),
    ]


async def _declared(here: Place, number: int) -> dict[str, float]:
    """Milliseconds from the command until each thing stood."""
    await here.forget()
    began = time.time()
    await here.send(here.workspace.command(f"/incident declare Latencia alta {number} sev=SEV2 service=xr-engine"))

    async def done() -> bool:
        return bool(await here.headlines()) and all([_last(await here.calls(path)) for path in STANDS.values()])

    await until(done, every=0.2)
    await here.quiet(1.5)
    ended = {name: _last(await here.calls(path)) for name, path in STANDS.items()}
    ended["headline"] = _last(await here.headlines())
    return {name: (at - began) * 1000 for name, at in ended.items()}


def _said(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {milliseconds:.0f}" for name, milliseconds in parts.items())


def _last(calls: list[dict[str, Any]]) -> float:
    """When the last of these calls that succeeded was answered; 0 when none was."""
    return max((call["at"] for call in calls if call["status"] < 300), default=0.0)


async def _all_there(here: Place, count: int) -> None:
    """The sandbox has what was counted as standing."""
    slack, pagerduty = await here.state("slack"), await here.state("pagerduty")
    opened = [channel for channel in slack["channels"] if channel["name"].startswith("inc-")]
    assert len(opened) == len(pagerduty["incidents"]) == count, (len(opened), len(pagerduty["incidents"]))
    for channel in opened:
        assert channel["topic"]["value"] and channel["bookmarks"] and len(channel["members"]) > 1, channel["name"]
