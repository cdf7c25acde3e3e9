"""Send, edit and find the bot's messages in Slack, each identified by a key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bot.deps import Deps
from bot.domain.errors import Refused
from bot.messages.message import Message

FIND_ATTEMPTS = 3  # 3 s in all: the message of an upload appears shortly after Slack confirms the upload
DELETED = "deleted"  # instead of a digest
File = tuple[str, str, bytes]


async def upsert_message(
    deps: Deps, key: str, channel: str, message: Message, *, thread: str | None = None
) -> dict[str, Any]:
    """Send the message identified by `key`, or edit it in place if it exists and its content changed. Idempotent.

    Before sending again after an interrupted call, searches the channel or `thread` for the key. Returns `{"channel":
    id, "ts": …}`. Raises Unavailable and Refused.
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
            # the message was deleted in Slack: it is sent again below
    elif not await posts.reserve(key, channel) and (existing := await _find_by_key(deps, channel, key, thread)):
        await posts.mark_sent(key, existing[0], existing[1], None)
        return await upsert_message(deps, key, channel, message, thread=thread)
    channel_id, ts = await deps.slack.post(channel, message.text, message.blocks, key=key, thread=thread)
    await posts.mark_sent(key, channel_id, ts, message.digest)
    return {"channel": channel_id, "ts": ts}


async def delete_message(deps: Deps, key: str, instead: Message) -> None:
    """Delete a message of the bot, so that it asks for nothing any more; where Slack refuses, edit it to `instead`.

    Idempotent; does nothing if it was never sent.
    """
    posts = deps.store.slack_messages
    sent = await posts.get(key)
    if sent is None or sent.ts is None or sent.digest == DELETED:
        return
    try:
        await deps.slack.call("chat.delete", channel=sent.channel, ts=sent.ts)
    except Refused as problem:
        if problem.facts.get("error") != "message_not_found":
            await deps.slack.update(sent.channel, sent.ts, instead.text, instead.blocks, key=key)
    await posts.mark_sent(key, sent.channel, sent.ts, DELETED)


async def _find_by_key(deps: Deps, channel: str, key: str, thread: str | None) -> tuple[str, str] | None:
    if channel.startswith("#"):
        channel_id = await deps.slack.channel_id(channel)
        if channel_id is None:
            return None
        channel = channel_id
    elif channel.startswith(("U", "W")):  # a person: the direct messages with them
        channel = str((await deps.slack.call("conversations.open", users=channel))["channel"]["id"])
    ts = await deps.slack.find_message(channel, key, thread=thread)
    return (channel, ts) if ts else None


async def upload_once(
    deps: Deps, key: str, channel: str, files: Sequence[File], comment: str, *, thread: str | None = None
) -> None:
    """Upload `files` (name, title, content) as one message, unless this was done for `key` before. Idempotent.

    Slack offers no key for uploads and no metadata on their message. The upload is therefore reserved in the store
    first; after an interrupted call the channel or `thread` is searched for files with the same names and titles, so
    these must be unique per key. Raises Unavailable and Refused.
    """
    posts = deps.store.slack_messages
    stored_upload = await posts.get(key)
    if stored_upload and stored_upload.ts:
        return
    if not await posts.reserve(key, channel) and (ts := await _find_upload(deps, channel, thread, files)):
        await posts.mark_sent(key, channel, ts, None)
        return
    ids = await deps.slack.upload(channel, files, comment, thread)
    await posts.mark_sent(key, channel, next(iter(ids), key)[:32], None)


async def _find_upload(deps: Deps, channel: str, thread: str | None, files: Sequence[File]) -> str | None:
    wanted = {(name, title) for name, title, _ in files}
    method = "conversations.replies" if thread else "conversations.history"
    for attempt in range(FIND_ATTEMPTS):
        await asyncio.sleep(attempt)
        response = await deps.slack.read(method, channel=channel, ts=thread, limit=200)
        for message in response.get("messages") or []:
            if wanted <= {(file.get("name"), file.get("title")) for file in message.get("files") or []}:
                return str(message["ts"])
    return None
