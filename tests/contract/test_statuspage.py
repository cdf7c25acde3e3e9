"""The bot's client of Atlassian Statuspage, on the sandbox's; no real one was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import BotError, Refused, Unavailable
from bot.integrations.statuspage import PublicIncident, Statuspage
from sandbox.server import Sandbox
from sandbox.statuspage import API_KEY, COMPONENTS, PAGE

WANTED = PublicIncident("Outage", "investigating", "We are looking", {"cmp0xrengine": "major_outage"})


@dataclass
class Place:
    client: Statuspage
    sandbox: Sandbox
    url: str


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    sandbox = Sandbox()
    async with sandbox.serving() as url, Statuspage(f"{url}/statuspage/v1", API_KEY, timeout=2) as client:
        yield Place(client, sandbox, url)


async def test_an_incident_is_found_by_our_id_however_many_others_there_are(place: Place) -> None:
    made = await place.client.create(PAGE, "INC-2026-0001", WANTED, notify=False)
    for _ in range(250):
        place.sandbox.statuspage.create({"name": "Of somebody else"})
    [found] = await place.client.find(PAGE, "INC-2026-0001", datetime.now(UTC))
    assert found == made and found.components == {"cmp0xrengine": "major_outage"}
    assert await place.client.find(PAGE, "INC-2026-0002", datetime.now(UTC)) == []


async def test_older_pages_than_the_incident_are_not_read(place: Place) -> None:
    for _ in range(250):
        place.sandbox.statuspage.create({"name": "Of somebody else"})
    before = place.sandbox.statuspage.requests
    assert await place.client.find(PAGE, "INC-2026-0001", datetime.now(UTC) + timedelta(days=1)) == []
    assert place.sandbox.statuspage.requests == before + 1


async def test_an_update_is_added_and_an_incident_taken_off(place: Place) -> None:
    made = await place.client.create(PAGE, "INC-2026-0001", WANTED, notify=True)
    resolved = PublicIncident("Outage", "resolved", "Over", {"cmp0xrengine": "operational"})
    assert (await place.client.update(PAGE, made.id, resolved, notify=False)).status == "resolved"
    kept = place.sandbox.statuspage.incidents[made.id]
    assert [(update.body, update.notified) for update in kept.updates] == [("Over", False), ("We are looking", True)]
    await place.client.delete(PAGE, made.id)
    assert place.sandbox.statuspage.incidents == {}


async def test_its_components_are_known(place: Place) -> None:
    assert await place.client.components(PAGE) == COMPONENTS


async def failure(place: Place, key: str = API_KEY, page: str = PAGE, wanted: PublicIncident = WANTED) -> BotError:
    async with Statuspage(f"{place.url}/statuspage/v1", key, timeout=0.5) as client:
        with pytest.raises((Refused, Unavailable)) as raised:
            await client.create(page, "INC-2026-0001", wanted, notify=False)
        return raised.value


async def test_what_it_refuses_is_said_in_its_own_words(place: Place) -> None:
    wrong_key, wrong_page = await failure(place, key="wrong"), await failure(place, page="another")
    assert (wrong_key.facts["status"], wrong_page.facts["status"]) == (401, 404)
    unknown = await failure(place, wanted=PublicIncident("Outage", "investigating", "", {"nothing": "major_outage"}))
    assert (unknown.facts["status"], unknown.facts["why"]) == (422, "Component nothing could not be found")


async def test_its_limit_says_when_to_come_back(place: Place) -> None:
    place.sandbox.statuspage.limit = 0
    problem = await failure(place)
    assert isinstance(problem, Unavailable) and problem.retry_after == 60


@pytest.mark.parametrize(
    ("kind", "facts", "uncertain"),
    [
        ("drop_after", {}, True),
        ("hang", {}, True),
        ("nonsense", {}, True),
        ("status", {"status": 503}, True),
        ("ratelimit", {"retry_after": 7}, False),
    ],
)
async def test_whatever_comes_instead_of_an_answer_is_tried_again(
    place: Place, kind: str, facts: dict[str, int], uncertain: bool
) -> None:
    place.sandbox.faults.add("statuspage", kind, "POST *", **facts)  # type: ignore[arg-type]
    problem = await failure(place)
    assert isinstance(problem, Unavailable) and bool(problem.facts.get("uncertain")) is uncertain
