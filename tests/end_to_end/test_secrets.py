"""A secret that somebody typed, or that a remote sent, is neither kept nor shown nor logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.alerts import BEARER, alert, notification
from tests.harness.scene import Scene, scene, words
from tests.redaction.shapes import SHAPES

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPED = (
    "env, libpq",
    "json, camel case",
    "header, bearer",
    "url, password",
    "openai, project",
    "prose",
    "aws, secret key",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with scene(tmp_path_factory.mktemp("secrets")) as made:
        yield made


def kept(stage: Scene) -> str:
    """All that is in the bot's two databases."""
    dumps = []
    for name in (stage.database.name, f"{stage.database.name}.workflows"):
        with contextlib.closing(sqlite3.connect(stage.database.with_name(name))) as connection:
            dumps.append("\n".join(connection.iterdump()))
    return "\n".join(dumps)


def sent(stage: Scene) -> str:
    return json.dumps([call.arguments for call in stage.slack.calls], ensure_ascii=False)


@pytest.mark.parametrize("name", TYPED)
async def test_what_a_person_types_is_kept_and_shown_without_its_secret(
    stage: Scene, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    text, secret = SHAPES[name]
    channel = await stage.incident()
    await stage.person("ana").run(f"/incident note before {text.replace('§', secret)} after", channel.name)
    await stage.told(channel, "before", "***")
    await stage.quiet()
    secret = secret if len(secret) > 8 else f"{text.partition('§')[0][-8:]}{secret}"
    assert secret not in kept(stage) and secret not in sent(stage) and secret not in caplog.text


async def test_what_an_alert_says_is_kept_and_shown_without_its_secret(stage: Scene) -> None:
    before = set(stage.slack.channels)
    told = alert(summary="cannot connect: postgresql://tamv:zulu-pass@db/tamv refused")
    status, _ = await stage.post("/webhooks/alertmanager", notification(told), BEARER)
    assert status == 202
    channel = await stage.opened(before)
    await stage.quiet()
    assert "***" in " ".join(map(words, channel.messages.values()))
    assert "zulu-pass" not in kept(stage) and "zulu-pass" not in sent(stage)


async def test_an_input_with_a_secret_starts_nothing(stage: Scene) -> None:
    channel = await stage.incident()
    answer = await stage.answer("/ops logs xr-engine pattern=PGPASSWORD=zulu-pattern", channel=channel.name)
    assert "pattern" in answer and "zulu-pattern" not in answer
    await stage.quiet()
    assert "zulu-pattern" not in kept(stage) and "zulu-pattern" not in sent(stage)


async def test_what_two_people_type_at_once_is_both_kept(stage: Scene) -> None:
    channel = await stage.incident()
    lessons = {who: f"lesson of {who}" for who in ("ana", "bruno", "carla")}
    typed = (
        stage.person(who).run(f'/incident cause lesson="{lesson}"', channel.name) for who, lesson in lessons.items()
    )
    await asyncio.gather(*(stage.person(who).join(channel.name) for who in lessons))
    await asyncio.gather(*typed)
    await stage.quiet()
    assert set((await stage.record(channel)).cause.lessons) == set(lessons.values())


async def test_a_form_that_was_open_keeps_what_others_wrote_meanwhile_and_says_so(stage: Scene) -> None:
    channel = await stage.incident()
    ana = stage.person("ana")
    await ana.run("/incident cause", channel.name)
    await stage.see(lambda: ana.view)
    await stage.answer('/incident cause lesson="page earlier"', who="bruno", channel=channel.name)
    await ana.submit({"lessons": "canary first", "primary": "a leak"})
    await stage.quiet()
    cause = (await stage.record(channel)).cause
    assert (cause.primary, set(cause.lessons)) == ("a leak", {"page earlier", "canary first"})
    assert "formulario" in sent(stage)
