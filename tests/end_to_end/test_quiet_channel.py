"""When nobody types, an incident's channel has only what somebody must see; all else is below the card."""

from __future__ import annotations

from sandbox.slack.state import Channel, Message
from tests.end_to_end.test_endings import firing, send
from tests.harness.alerts import alert
from tests.harness.scene import Scene, words


def in_channel(channel: Channel) -> list[Message]:
    """The bot's messages that everybody sees without opening a thread."""
    return [
        message
        for message in channel.messages.values()
        if message.ephemeral_to is None and not message.subtype and message.thread_ts in (None, message.ts)
    ]


def below(channel: Channel, card: Message) -> str:
    return "\n".join(
        words(message) for message in channel.messages.values() if message.thread_ts == card.ts != message.ts
    )


async def test_records_are_in_the_cards_thread_and_the_end_is_one_message_that_is_edited(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    ana, card = stage.person("ana"), stage.card(channel)
    await ana.press(card, "take_command")
    await send(stage, alert("f1"), alert("f2"))
    await send(stage, alert("f1", status="resolved"), alert("f2", status="resolved"))

    end = await stage.told(channel, "en calma desde", "<@U0ANA00001>")
    await ana.press(end, "mitigate")
    await stage.see(lambda: "*Mitigado*" in words(end))
    await ana.press(end, "resolve")
    await stage.see(lambda: "*Resuelto*" in words(end) and "Vuelvo a mirar" in words(end))
    report = await stage.told(channel, "📄 *Informe de INC-")
    await stage.quiet()

    assert in_channel(channel) == [card, end, report]
    records = below(channel, card)
    assert all(sign in records for sign in ("🧭", "👀", "🔔", "🔕", "🩹", "✅"))
    topics = [message for message in channel.messages.values() if message.subtype == "channel_topic"]
    assert len(topics) == 1, "it is set once"


async def test_what_comes_back_after_it_was_mitigated_is_said_aloud(stage: Scene) -> None:
    channel = await firing(stage, "f1")
    await send(stage, alert("f1", status="resolved"))
    ana, end = stage.person("ana"), await stage.told(channel, "En calma desde")
    await ana.press(end, "mitigate")
    await stage.see(lambda: "*Mitigado*" in words(end))
    await send(stage, alert("f2"), alert("f1", status="resolved"))
    again = await stage.told(channel, "🔔 Una alerta más")
    await stage.see(lambda: "Mitigado de" in words(end) and not list(end.elements()))
    assert again in in_channel(channel)
