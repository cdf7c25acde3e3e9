"""What Slack refuses comes all the same: later, elsewhere or in another form; and nobody is told what is not true."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.slack.state import Channel, Message, User
from tests.harness.scene import TEAM, Scene, words

LATER = 45.0
REFUSED_ONCE = [
    "invalid_auth",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "not_authed",
    "ekm_access_denied",
    "org_login_required",
    "access_denied",
    "missing_scope",
    "message_limit_exceeded",
    "team_access_not_granted",
    "restricted_action",
    "not_in_channel",
    "channel_not_found",
    "external_channel_migrating",
    "two_factor_setup_required",
    "no_permission",
    "some_new_error",
]


def holding(channel: Channel, sign: str) -> list[Message]:
    return [one for one in channel.messages.values() if one.bot_id and not one.ephemeral_to and sign in words(one)]


@pytest.mark.parametrize("error", REFUSED_ONCE)
async def test_a_message_that_is_refused_once_comes_where_it_belongs_once(stage: Scene, error: str) -> None:
    channel = await stage.incident()
    await stage.quiet()
    fault = stage.sandbox.faults.add("slack", "error", "chat.postMessage", error=error)
    await stage.person("ana").run("/incident note va por la cola", channel.name)
    await stage.told(channel, "va por la cola", seconds=LATER)
    await stage.quiet()
    assert fault.used == 1
    assert len(holding(channel, "va por la cola")) == 1
    assert holding(stage.slack.channel(TEAM), "va por la cola") == []


@pytest.mark.parametrize("error", ["msg_too_long", "invalid_blocks", "msg_blocks_too_long", "too_many_attachments"])
async def test_a_message_that_is_not_accepted_as_it_is_comes_in_a_simpler_form(stage: Scene, error: str) -> None:
    channel = await stage.incident()
    await stage.quiet()
    stage.sandbox.faults.add("slack", "error", "chat.postMessage", error=error, times=2)
    await stage.person("ana").run("/incident note las réplicas crecen", channel.name)
    message = await stage.told(channel, "las réplicas crecen")
    assert message.blocks == []


@pytest.mark.parametrize("how", ["archived", "deleted"])
async def test_when_the_channel_is_closed_the_headlines_thread_takes_over(stage: Scene, how: str) -> None:
    channel = await stage.incident()
    await stage.quiet()
    headline = await stage.told(TEAM, "Render lento", "INC-")
    if how == "archived":
        stage.slack.archive(channel, stage.slack.user("ana"))
    else:
        del stage.slack.channels[channel.id]
    id = (await stage.bot.deps.store.incidents.list_open())[0].id
    for command in ("note seguimos aquí", "ack", "severity SEV2"):
        await stage.person("ana").run(f"/incident {command} incident={id}", TEAM)
    for sign in ("seguimos aquí", "👀", "SEV2"):
        assert (await stage.told(TEAM, sign, seconds=LATER)).thread_ts == headline.ts
    await stage.quiet(LATER)
    assert len(holding(stage.slack.channel(TEAM), "🚧")) == 1
    assert "SEV2" in words(headline)


async def test_when_the_channel_is_open_again_the_incident_goes_on_there(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    id = (await stage.record(channel)).id
    stage.slack.archive(channel, stage.slack.user("ana"))
    await stage.person("ana").run(f"/incident note aparte incident={id}", TEAM)
    await stage.told(TEAM, "aparte")
    stage.slack.unarchive(channel, stage.slack.user("ana"))
    await stage.person("ana").run("/incident note de vuelta", channel.name)
    await stage.told(channel, "de vuelta")
    assert holding(stage.slack.channel(TEAM), "de vuelta") == []


async def test_without_any_channel_the_commander_is_told_directly(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    await stage.person("ana").press(stage.card(channel), "take_command")
    await stage.told(channel, "👀")
    await stage.quiet()
    id = (await stage.record(channel)).id
    for one in (channel, stage.slack.channel(TEAM)):
        stage.slack.archive(one, stage.slack.user("ana"))
    await stage.person("bruno").run(f"/incident note nadie me lee incident={id}", "general")
    direct = stage.slack.open_im(stage.slack.user("ana"))
    await stage.told(direct, "nadie me lee", seconds=LATER)


@pytest.mark.parametrize("error", ["edit_window_closed", "cant_update_message", "message_not_found", "is_inactive"])
async def test_a_headline_that_cannot_be_edited_is_replaced_by_a_new_one(stage: Scene, error: str) -> None:
    channel = await stage.incident()
    await stage.quiet()
    (old,) = holding(stage.slack.channel(TEAM), "INC-")
    stage.sandbox.faults.add("slack", "error", "chat.update", error=error, times=None)
    await stage.person("ana").run("/incident severity SEV1", channel.name)

    def replaced() -> Message | None:
        return next((m for m in holding(stage.slack.channel(TEAM), "SEV1") if m.ts != old.ts and not m.thread_ts), None)

    new = await stage.see(replaced)
    if error != "message_not_found":
        pointer = await stage.told(TEAM, "➡️")
        assert pointer.thread_ts == old.ts and new.ts.replace(".", "") in words(pointer)


async def test_a_record_whose_answer_is_lost_is_found_in_the_thread_of_a_card_that_was_replaced(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    card, ana = stage.card(channel), stage.person("ana")
    lost = stage.sandbox.faults.add("slack", "drop_after", "chat.postMessage", times=1)
    stage.sandbox.faults.add("slack", "error", "chat.update", error="edit_window_closed", times=None)
    await ana.press(card, "take_command")
    await stage.quiet(LATER)
    assert lost.used
    for sign in ("🧭", "👀"):
        assert len([one for one in channel.messages.values() if sign in words(one)[:2]]) == 1, sign
    pointers = [one.thread_ts for one in channel.messages.values() if "➡️" in words(one)]
    assert card.ts in pointers


async def test_a_second_name_whose_answer_is_lost_is_found_again_though_the_first_is_free_by_then(stage: Scene) -> None:
    faults = stage.sandbox.faults
    faults.add("slack", "error", "conversations.create", error="name_taken", times=1)
    lost = faults.add("slack", "drop_after", "conversations.create", times=2)
    channel = await stage.opened(await _declare(stage))
    await stage.quiet(LATER)
    assert lost.used and [c.name for c in stage.slack.channels.values() if c.name.startswith("inc-")] == [channel.name]


async def _declare(stage: Scene) -> set[str]:
    before = set(stage.slack.channels)
    await stage.person("ana").run("/incident declare Render lento sev=SEV3")
    return before


async def test_a_replaced_headline_points_to_the_new_one_even_if_slack_refuses_that_at_first(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    (old,) = holding(stage.slack.channel(TEAM), "INC-")
    faults = stage.sandbox.faults
    faults.add("slack", "error", "chat.update", error="edit_window_closed", times=None)
    faults.add("slack", "channel_limit", "chat.postMessage", seconds=6.0, times=None)
    await stage.person("ana").run("/incident severity SEV1", channel.name)
    pointer = await stage.told(TEAM, "➡️", seconds=LATER)
    assert pointer.thread_ts == old.ts


async def test_what_slack_refuses_for_a_while_comes_in_order(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    fault = stage.sandbox.faults.add("slack", "error", "chat.postMessage", error="invalid_auth", times=None)
    for number in range(5):
        await stage.person("ana").run(f"/incident note paso {number}", channel.name)
    await stage.see(lambda: fault.used >= 2)
    fault.times = 0
    await stage.told(channel, "paso 4", seconds=LATER)
    await stage.quiet(LATER)
    texts = [text for text in stage.own(channel) if "paso " in text]
    assert [next(n for n in range(5) if f"paso {n}" in text) for text in texts] == list(range(5))


async def test_while_slack_is_away_a_person_is_told_that_it_is_kept_and_not_shown_yet(stage: Scene) -> None:
    channel = await stage.incident()
    await stage.quiet()
    assert await stage.answer("/incident note se ve", channel=channel.name, holding="✅") == "✅ Hecho.\n✅ Hecho."
    fault = stage.sandbox.faults.add("slack", "error", "chat.postMessage", error="token_revoked", times=None)
    answer = await stage.answer("/incident note aún no se ve", channel=channel.name)
    assert "guardado" in answer and "todavía no" in answer and "Hecho" not in answer
    fault.times = 0
    await stage.told(channel, "aún no se ve", seconds=LATER)


@pytest.mark.parametrize("says_who", [True, False], ids=["named", "not named"])
async def test_everybody_who_can_be_is_invited_and_the_others_are_named(stage: Scene, says_who: bool) -> None:
    """Eighty people, a guest and somebody who left among them, fifty calls a minute."""
    slack = stage.slack
    for number in range(80):
        id = f"U0CROWD{number:03d}"
        slack.users[id] = User(id, f"crowd{number}", f"Persona {number}")
    slack.users["U0CROWD017"].kind, slack.users["U0CROWD063"].kind = "guest", "deactivated"
    group = next(group for group in slack.usergroups.values() if group.id == "S0SRETEAM1")
    group.users += [id for id in slack.users if id.startswith("U0CROWD")]
    stage.bot.deps.slack._groups.clear()
    slack.quotas["conversations.invite"] = 50
    if not says_who:
        stage.sandbox.faults.add("slack", "error", "conversations.invite", error="cant_invite", times=3)
    channel = await stage.incident(sev="SEV2")
    await stage.see(lambda: sum(id.startswith("U0CROWD") for id in channel.members) == 78, LATER)
    trouble = words(await stage.told(channel, "🧩", "invitar", seconds=LATER))
    assert "Persona 17: user_is_restricted" in trouble and "Persona 63: cant_invite" in trouble
    assert len(slack.calls_of("conversations.invite")) < 50


async def test_a_user_group_that_cannot_be_read_is_said(stage: Scene) -> None:
    stage.bot.deps.slack._groups.clear()
    fault = stage.sandbox.faults.add("slack", "error", "usergroups.users.list", error="missing_scope", times=None)
    channel = await stage.incident(sev="SEV2")
    assert "missing_scope" in words(await stage.told(channel, "🧩", "invitar", seconds=LATER))
    fault.times = 0
    await stage.see(lambda: {"U0ANA00001", "U0BRUNO002"} <= set(channel.members), LATER)


@pytest.mark.parametrize(
    ("how", "seconds"),
    [("slow", 0.5), ("slow", 3.5), ("slow_then_drop", 1.5)],
    ids=["before the timeout", "long after it", "after it, and never answers"],
)
@pytest.mark.parametrize(
    "method",
    ["chat.postMessage", "conversations.create", "conversations.setTopic", "bookmarks.add", "pins.add",
     "conversations.invite", "files.completeUploadExternal"],
)  # fmt: skip
async def test_what_slack_does_late_is_done_once(stage: Scene, method: str, how: Any, seconds: float) -> None:
    stage.bot.deps.slack._timeout = 1
    fault = stage.sandbox.faults.add("slack", how, method, seconds=seconds, times=1)
    channel = await stage.incident(sev="SEV2")
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.see(lambda: any(one.files for one in channel.messages.values()), LATER)
    await stage.quiet(LATER)
    assert fault.used == 1
    assert len([one for one in stage.slack.channels.values() if one.name.startswith("inc-")]) == 1
    texts = stage.own(channel)
    assert len(texts) == len(set(texts)), texts
    assert len(channel.pins) == 1 and len(channel.bookmarks) == len({one.link for one in channel.bookmarks})
    assert len(holding(stage.slack.channel(TEAM), "INC-")) == 1


@pytest.mark.parametrize("seconds", [0.5, 3.0], ids=["before the timeout", "after it"])
async def test_an_issue_that_github_creates_late_is_created_once(stage: Scene, seconds: float) -> None:
    channel = await stage.incident()
    github = stage.bot.deps.github
    assert github
    github._timeout = 1
    fault = stage.sandbox.faults.add("github", "slow", "POST *issues", seconds=seconds)
    await stage.person("ana").run('/incident followup "Alertar del disco" owner=SRETeam', channel.name)
    await stage.told(channel, "Issue #1", seconds=LATER)
    assert fault.used == 1 and len(stage.sandbox.github.issues) == 1


METHODS = (
    "conversations.create", "chat.postMessage", "chat.update", "conversations.invite", "conversations.setTopic",
    "bookmarks.add", "pins.add", "usergroups.users.list", "files.getUploadURLExternal", "files.completeUploadExternal",
    "conversations.history", "users.info",
)  # fmt: skip


@pytest.mark.parametrize("error", ["internal_error", "token_revoked", "some_new_error", "missing_scope"])
async def test_what_passes_or_is_fixed_is_done_in_every_method(stage: Scene, error: str) -> None:
    for method in METHODS:
        stage.sandbox.faults.add("slack", "error", method, error=error, times=2)
    channel = await stage.incident(sev="SEV2")
    await stage.person("ana").run("/incident resolve", channel.name)
    await stage.see(lambda: any(one.files for one in channel.messages.values()), LATER)
    await stage.see(lambda: len(channel.bookmarks) == 2 and bool(channel.topic.value), LATER)
    await stage.see(lambda: {"U0ANA00001", "U0BRUNO002"} <= set(channel.members), LATER)
    await stage.quiet(LATER)
    texts = [text for text in stage.own(channel) if "🧩" not in text]
    assert len(texts) == len(set(texts)), texts
    assert len(channel.pins) == 1 and len(holding(stage.slack.channel(TEAM), "INC-")) == 1


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("conversations.create", "name_taken"),
        ("conversations.create", "invalid_arg_name"),
        ("conversations.create", "too_many_convos_for_team"),
        ("conversations.setTopic", "too_long"),
        ("conversations.setTopic", "is_archived"),
        ("conversations.invite", "too_many_users"),
        ("conversations.invite", "is_archived"),
        ("bookmarks.add", "too_many_bookmarks"),
        ("bookmarks.add", "invalid_link"),
        ("pins.add", "too_many_pins"),
        ("pins.add", "not_pinnable"),
        ("chat.postMessage", "invalid_post_type"),
        ("chat.update", "msg_too_long"),
    ],
)
async def test_what_is_refused_for_good_stops_nothing_else(stage: Scene, method: str, error: str) -> None:
    stage.sandbox.faults.add("slack", "error", method, error=error, times=1)
    await stage.person("ana").run("/incident declare Render lento sev=SEV2 service=xr-engine", TEAM)
    await stage.told(TEAM, "Render lento", "INC-", seconds=LATER)
    id = (await stage.bot.deps.store.incidents.list_open())[0].id
    await stage.person("ana").run(f"/incident note sigue igual incident={id}", TEAM)

    def told() -> Message | None:
        found = [one for place in stage.slack.channels.values() for one in holding(place, "sigue igual")]
        return found[0] if found else None

    await stage.see(told, LATER)
    await stage.quiet(LATER)
    assert len(stage.sandbox.pagerduty.incidents) == 1
