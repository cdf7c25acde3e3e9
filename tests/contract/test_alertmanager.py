"""Silences by the bot's client: in the sandbox's Alertmanager and in a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.errors import Refused, Unavailable
from bot.integrations.alertmanager import Alertmanager, Matcher
from bot.integrations.effects import dry_run
from sandbox.server import Sandbox
from tests.real.alertmanager import alertmanager as real_alertmanager
from tests.real.parts import require

CONFIG = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
MATCHERS = [Matcher("alertname", "HighLatency"), Matcher("service", "xr-engine")]


@pytest.fixture(params=["sandbox", pytest.param("real", marks=pytest.mark.real("alertmanager"))])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Alertmanager]:
    if request.param == "sandbox":
        async with Sandbox().serving() as url, Alertmanager(f"{url}/alertmanager") as made:
            yield made
    else:
        require("alertmanager")
        with real_alertmanager(CONFIG) as url:
            async with Alertmanager(url) as made:
                yield made


async def silence(client: Alertmanager, key: str = "R-1/a") -> str | None:
    now = datetime.now(UTC)
    return await client.silence(MATCHERS, now, now + timedelta(hours=1), "known", "tamv-bot", key)


async def test_a_silence_is_made_once_for_its_key_and_ends(client: Alertmanager) -> None:
    id = await silence(client)
    assert id and await client.state(id) in ("active", "pending")
    assert await silence(client) == id
    assert await silence(client, "R-2/a") != id
    await client.expire(id)
    await client.expire(id)
    assert await client.state(id) == "expired"
    assert await silence(client) != id


async def test_a_rehearsal_silences_nothing(client: Alertmanager) -> None:
    with dry_run() as recorder:
        assert await silence(client) is None
    assert [effect.key for effect in recorder.effects] == ["alertmanager.silence"]
    assert recorder.effects[0].facts["reason"] == "known"


async def test_what_it_refuses_and_where_it_is_not(client: Alertmanager) -> None:
    now = datetime.now(UTC)
    with pytest.raises(Refused):
        await client.silence([], now, now + timedelta(hours=1), "known", "tamv-bot", "k")
    async with Alertmanager("http://127.0.0.1:9", timeout=1) as away:
        with pytest.raises(Unavailable):
            await away.state("x")
