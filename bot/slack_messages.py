"""Messages of ours in Slack: each has a key, is sent once, and is edited in place afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bot.deps import Deps
from bot.domain.errors import Refused
from bot.messages.message import Message

FIND_ATTEMPTS = 3  # a second or two: Slack shows the message of an upload a moment after it has said yes
File = tuple[str, str, bytes]


async def upsert_message(
    deps: Deps, key: str, channel: str, message: Message, *, thread: str | None = None
) -> dict[str, Any]:
    """Let the message `key` of `channel` say this: send it, edit it, or leave it when it says so already.

    May be called any number of times, also when an earlier call died half-way: before anything is sent again the
    channel, or the thread, is searched for the key. Gives `{"channel": id, "ts": …}`. Raises Unavailable and Refused.
    """
    posts = deps.store.slack_messages
    sent = await posts.get(key)
    if sent and sent.ts:
        if sent.digest == message.digest:
            return {"channel": sent.channel, "ts": sent.ts}
        try:
            await deps.slack.update(sent.channel, sent.ts, message.text, message.blocks, key=key)
            await posts.mark_sent(key, sent.channel, sent.ts, message.digest)
            return {"channel": sent.channel, "ts": sent.ts}
        except Refused as problem:
            if problem.facts.get("error") not in ("message_not_found", "cant_update_message"):
                raise
            # somebody has deleted it: it is sent anew below
    elif not await posts.reserve(key, channel) and (existing := await _find_by_key(deps, channel, key, thread)):
        await posts.mark_sent(key, existing[0], existing[1], None)
        return await upsert_message(deps, key, channel, message, thread=thread)
    channel_id, ts = await deps.slack.post(channel, message.text, message.blocks, key=key, thread=thread)
    await posts.mark_sent(key, channel_id, ts, message.digest)
    return {"channel": channel_id, "ts": ts}


async def _find_by_key(deps: Deps, channel: str, key: str, thread: str | None) -> tuple[str, str] | None:
    if channel.startswith("#"):
        channel_id = await deps.slack.channel_id(channel)
        if channel_id is None:
            return None
        channel = channel_id
    ts = await deps.slack.find_message(channel, key, thread=thread)
    return (channel, ts) if ts else None


async def upload_once(
    deps: Deps, key: str, channel: str, files: Sequence[File], comment: str, *, thread: str | None = None
) -> None:
    """Share `files` (name, title, content) as one message, unless that was done for this `key` before.

    Slack has neither a key for uploads nor metadata on their message. So it is noted beforehand that the key is about
    to be shared, and a later call that finds no end to that looks in the channel or the thread for files with these
    names and titles; they must therefore tell one key from another. Raises Unavailable and Refused.
    """
    posts = deps.store.slack_messages
    message = await posts.get(key)
    if message and message.ts:
        return
    if not await posts.reserve(key, channel) and (ts := await _find_upload(deps, channel, thread, files)):
        await posts.mark_sent(key, channel, ts, None)
        return
    ids = await deps.slack.upload(channel, files, comment, thread)
    await posts.mark_sent(key, channel, next(iter(ids), key)[:32], None)


async def _find_upload(deps: Deps, channel: str, thread: str | None, files: Sequence[File]) -> str | None:
    wanted = {(name, title) for name, title, _ in files}
    method = "conversations.replies" if thread else "conversations.history"
    for look in range(FIND_ATTEMPTS):
        await asyncio.sleep(look)
        answer = await deps.slack.read(method, channel=channel, ts=thread, limit=200)
        for message in answer.get("messages") or []:
            if wanted <= {(file.get("name"), file.get("title")) for file in message.get("files") or []}:
                return str(message["ts"])
    return None
