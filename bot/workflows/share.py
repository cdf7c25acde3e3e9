"""Files in Slack, shared once for each key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bot.parts import Parts

FIND_ATTEMPTS = 3  # a second or two: Slack shows the message of an upload a moment after it has said yes

File = tuple[str, str, bytes]


async def upload_once(
    parts: Parts, key: str, channel: str, files: Sequence[File], comment: str, *, thread: str | None = None
) -> None:
    """Share `files` (name, title, content) as one message, unless that was done for this `key` before.

    Slack has neither a key for uploads nor metadata on their message. So it is noted beforehand that the key is about
    to be shared, and a later call that finds no end to that looks in the channel or the thread for files with these
    names and titles; they must therefore tell one key from another. Raises Unavailable and Refused.
    """
    posts = parts.store.slack_messages
    message = await posts.get(key)
    if message and message.ts:
        return
    if not await posts.reserve(key, channel) and (ts := await _find_upload(parts, channel, thread, files)):
        await posts.mark_sent(key, channel, ts, None)
        return
    ids = await parts.slack.upload(channel, files, comment, thread)
    await posts.mark_sent(key, channel, next(iter(ids), key)[:32], None)


async def _find_upload(parts: Parts, channel: str, thread: str | None, files: Sequence[File]) -> str | None:
    wanted = {(name, title) for name, title, _ in files}
    method = "conversations.replies" if thread else "conversations.history"
    for look in range(FIND_ATTEMPTS):
        await asyncio.sleep(look)
        answer = await parts.slack.read(method, channel=channel, ts=thread, limit=200)
        for message in answer.get("messages") or []:
            if wanted <= {(file.get("name"), file.get("title")) for file in message.get("files") or []}:
                return str(message["ts"])
    return None
