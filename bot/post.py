"""Messages of ours in Slack: each has a key, is sent once, and is edited in place afterwards."""

from __future__ import annotations

from typing import Any

from bot.domain.errors import Refused
from bot.messages.message import Message
from bot.parts import Parts


async def upsert_message(
    parts: Parts, key: str, channel: str, message: Message, *, thread: str | None = None
) -> dict[str, Any]:
    """Let the message `key` of `channel` say this: send it, edit it, or leave it when it says so already.

    May be called any number of times, also when an earlier call died half-way: before anything is sent again the
    channel, or the thread, is searched for the key. Gives `{"channel": id, "ts": …}`. Raises Unavailable and Refused.
    """
    posts = parts.store.slack_messages
    sent = await posts.get(key)
    if sent and sent.ts:
        if sent.digest == message.digest:
            return {"channel": sent.channel, "ts": sent.ts}
        try:
            await parts.slack.update(sent.channel, sent.ts, message.text, message.blocks, key=key)
            await posts.mark_sent(key, sent.channel, sent.ts, message.digest)
            return {"channel": sent.channel, "ts": sent.ts}
        except Refused as problem:
            if problem.facts.get("error") not in ("message_not_found", "cant_update_message"):
                raise
            # somebody has deleted it: it is sent anew below
    elif not await posts.reserve(key, channel) and (existing := await _find_by_key(parts, channel, key, thread)):
        await posts.mark_sent(key, existing[0], existing[1], None)
        return await upsert_message(parts, key, channel, message, thread=thread)
    channel_id, ts = await parts.slack.post(channel, message.text, message.blocks, key=key, thread=thread)
    await posts.mark_sent(key, channel_id, ts, message.digest)
    return {"channel": channel_id, "ts": ts}


async def _find_by_key(parts: Parts, channel: str, key: str, thread: str | None) -> tuple[str, str] | None:
    if channel.startswith("#"):
        channel_id = await parts.slack.channel_id(channel)
        if channel_id is None:
            return None
        channel = channel_id
    ts = await parts.slack.find_message(channel, key, thread=thread)
    return (channel, ts) if ts else None
