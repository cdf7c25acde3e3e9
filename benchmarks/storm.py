"""Alert storms: 5,000 alerts of 20 groups in 100 calls within 10 seconds, and 1,000 groups in a minute."""

from __future__ import annotations

import asyncio

from benchmarks.figures import Figure, median, percentile
from benchmarks.load import by_the_clock
from benchmarks.place import Place, place
from benchmarks.requests import Request, alerts
from bot.store.database import Database
from bot.store.store import Store

BAR = "alert storm: 5,000 alerts in 100 posts in 10 s, 20 groups"
POSTS, RATE, GROUPS = 100, 10, 20
CHANNELS = 10  # the team file's limit of new groups, and the storm's own
THOUSAND = "storm of 1,000 groups in a minute"


async def storm() -> list[Figure]:
    async with place() as here:
        answers = await by_the_clock(here, storm_post, rate=RATE, count=POSTS)
        await here.quiet(2.0)
        opened = len(await channels(here))
        headlines = await here.headlines()
    sent = sum(_firing(number) for number in range(POSTS))
    return [
        Figure(BAR, "post, median", median(answers.milliseconds), "ms", note=f"{sent} alerts sent"),
        Figure(BAR, "post, p99", percentile(answers.milliseconds, 99), "ms", 30.0),
        Figure(BAR, "posts not taken", answers.refused, "posts", 0.0),
        Figure(BAR, "channels too many or too few", abs(opened - CHANNELS), "channels", 0.0, f"{opened} opened"),
        Figure(BAR, "headlines too many or too few", abs(len(headlines) - CHANNELS), "messages", 0.0),
    ]


async def thousand_groups() -> list[Figure]:
    """One alert each of 1,000 groups in a minute, and what people do meanwhile."""

    def post(number: int) -> Request:
        return alerts(names[number], ["pod-0"], {"severity": "critical"})

    names = [f"Group{number:04d}" for number in range(1000)]
    async with place() as here:
        answers, commands = await asyncio.gather(
            by_the_clock(here, post, rate=len(names) / 60, count=len(names)),
            by_the_clock(here, lambda _: here.workspace.command("/incident list"), rate=10, count=600),
        )
        await here.quiet(2.0)
        opened = len(await channels(here))
        pages = len([call for call in await here.calls("/v2/enqueue") if call["status"] == 202])
        lost = set(names) - await _alerts_of_incidents(here)
    return [
        Figure(THOUSAND, "post, p99", percentile(answers.milliseconds, 99), "ms", 100.0),
        Figure(THOUSAND, "acknowledgement, p99", percentile(commands.milliseconds, 99), "ms", 100.0),
        Figure(THOUSAND, "not taken", answers.refused + commands.refused, "requests", 0.0),
        Figure(THOUSAND, "channels", opened, "channels", float(CHANNELS)),
        Figure(THOUSAND, "pages", pages, "pages", 1.0),
        Figure(THOUSAND, "alerts that no incident has", len(lost), "alerts", 0.0),
    ]


def storm_post(number: int) -> Request:
    """The n-th of the hundred calls: Alertmanager tells of a whole group each time, and the group grows."""
    group = number % GROUPS
    return alerts(f"Storm{group:02d}", [f"pod-{one}" for one in range(_firing(number))])


def _firing(number: int) -> int:
    return 30 + 10 * (number // GROUPS)


async def channels(here: Place) -> list[str]:
    """The names of the incidents' channels."""
    known = (await here.state("slack"))["channels"]
    return [channel["name"] for channel in known if channel["name"].startswith("inc-")]


async def _alerts_of_incidents(here: Place) -> set[str]:
    """The names of all alerts that belong to an incident."""
    database = Database(here.bot.environ()["DATABASE_URL"])
    try:
        store = Store(database, "bench")
        incidents = await store.incidents.recent(None)
        return {alert.name for one in incidents for alert in await store.alerts.of_incident(one.id)}
    finally:
        await database.close()
