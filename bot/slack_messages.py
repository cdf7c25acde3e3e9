"""Send, edit and find the bot's messages in Slack, each identified by a key: the only way to what people must see.

Slack may refuse in four ways (see `bot.integrations.slack_errors`). What passes, or can be fixed by an administrator,
is tried again by the caller; a closed channel is replaced by the next place; a message that is too long or not valid
is sent in a simpler form; the rest is raised as Refused, and the caller must say so.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from bot.deps import Deps
from bot.domain.errors import Blocked, BotError, Refused, Unavailable
from bot.integrations.slack import is_id, reaction_of
from bot.integrations.slack_errors import Reaction
from bot.messages.message import Message
from bot.store.slack_messages import SlackMessage

# A channel that refuses, although it seems to be open, is replaced after this: the bot may be invited again soon.
CLOSED_AFTER_SECONDS = 30.0
KEY_LIMIT = 160
# Refusals that concern one channel. A token that is not valid, or a missing scope, concerns all of them.
_OF_A_CHANNEL = frozenset(
    {"not_in_channel", "restricted_action", "restricted_action_read_only_channel", "no_permission", "access_denied",
     "channel_is_limited_access", "posting_to_channel_denied", "slack_connect_team_blocked", "forbidden",
     "external_channel_migrating", "messages_tab_disabled"}
)  # fmt: skip
_NOT_FOUND = frozenset({"channel_not_found", "invalid_channel"})  # or closed to the bot, or for a moment
_GONE = _NOT_FOUND | {"is_archived", "channel_is_archived"}
_NO_REPLIES = frozenset(
    {"cannot_reply_to_message", "restricted_action_non_threadable_channel", "restricted_action_thread_locked",
     "thread_not_found", "message_not_found"}
)  # fmt: skip
DELETED = "deleted"  # instead of a digest
File = tuple[str, str, bytes]
T = TypeVar("T")
Send = Callable[["Place", Message], Awaitable[T]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message goes: a channel or one of its threads. If that is closed, the other places of its incident are
    used, or the direct messages of `person`. A message that does not `move` is refused instead.
    """

    channel: str
    thread: str | None = None
    incident_id: str | None = None
    person: str | None = None
    moves: bool = True

    @property
    def name(self) -> str:
        """What messages that wait are counted by."""
        return self.incident_id or self.channel


async def upsert_message(deps: Deps, key: str, place: Place, message: Message) -> dict[str, Any]:
    """Send the message identified by `key`, or edit it in place if it exists and its content changed. Idempotent.

    Before sending again after an interrupted call, searches for the key. Returns `{"channel": id, "ts": …}`. Raises
    Unavailable, and Refused if Slack accepts it in no form and no place.
    """
    async with _waiting(deps, key, place):
        sent = await deps.store.slack_messages.get(key)
        if sent is None or sent.ts is None:
            return await _send(deps, key, place, message)
        if sent.digest == message.digest:
            return {"channel": sent.channel, "ts": sent.ts}
        try:
            await _edit(deps, key, sent, message)
        except Refused as problem:
            here = Place(sent.channel, moves=place.moves)
            if reaction_of(problem) is not Reaction.ELSEWHERE or not await _is_closed(deps, here, problem):
                raise
            if problem.facts.get("error") in _GONE and not place.moves:
                raise  # it can be edited again once the channel is open
            if problem.facts.get("error") not in _NO_REPLIES:
                where = [sent.channel, sent.ts, sent.thread or sent.ts]
                await deps.store.outbox.enqueue_once(
                    f"{key}/replaced/{sent.ts}", "point_to_replacement", [place.name, key, *where]
                )
            await deps.store.slack_messages.start_again(key)
            return await _send(deps, key, place, message)
        return {"channel": sent.channel, "ts": sent.ts}


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


async def upload_once(deps: Deps, key: str, place: Place, files: Sequence[File], comment: str) -> None:
    """Upload `files` (name, title, content) as one message, unless this was done for `key` before. Idempotent.

    Slack offers no key for uploads and no metadata on their message. The upload is therefore reserved in the store
    first; after an interrupted call the channel or thread is searched for files with the same names and titles, so
    these must be unique per key. Raises Unavailable and Refused.
    """

    async def upload(candidate: Place, _: Message) -> str:
        channel = await _channel_id(deps, candidate.channel)
        await posts.send_to(key, candidate.channel, candidate.thread)
        ids = await deps.slack.upload(key, channel, files, comment, candidate.thread)
        return next(iter(ids), key)[:32]

    posts = deps.store.slack_messages
    async with _waiting(deps, key, place):
        stored = await posts.get(key)
        if stored and stored.ts:
            return
        if not await posts.reserve(key, place.channel, datetime.now(UTC), thread=place.thread):
            for candidate in await _places_to_search(deps, place, stored):
                if ts := await _find_upload(deps, candidate, files, stored.reserved_at if stored else None):
                    deps.slack.in_flight.forget(key)
                    await posts.mark_sent(key, candidate.channel, ts, None)
                    return
        used, ts = await _in_some_place(deps, place, upload, [Message.of(comment)])
        await posts.mark_sent(key, used.channel, ts, None)


async def where_it_went(deps: Deps, place: Place, sent: Mapping[str, Any]) -> Place:
    """Return the place of a message, which may have moved: then the headline's thread."""
    if not is_id(place.channel) or sent["channel"] == place.channel or place.incident_id is None:
        return replace(place, channel=sent["channel"])
    headline = await deps.store.slack_messages.get(f"{place.incident_id}/headline")
    in_thread = headline is not None and headline.channel == sent["channel"]
    return replace(place, channel=sent["channel"], thread=headline.ts if headline and in_thread else None)


async def below(deps: Deps, place: Place, sent: Mapping[str, Any]) -> Place:
    """Return the thread that a message is in, or else begins: threads do not nest."""
    used = await where_it_went(deps, place, sent)
    return used if used.thread else replace(used, thread=sent["ts"])


# Sending.


async def _send(deps: Deps, key: str, place: Place, message: Message) -> dict[str, Any]:
    posts = deps.store.slack_messages
    reserved = await posts.reserve(key, place.channel, datetime.now(UTC), thread=place.thread, digest=message.digest)
    if not (reserved or deps.slack.in_flight.was_refused(key)) and (existing := await _find(deps, key, place)):
        deps.slack.in_flight.forget(key)
        await posts.send_to(key, existing.channel, existing.thread)
        await posts.mark_sent(key, existing.channel, existing.ts, existing.digest)
        return await upsert_message(deps, key, place, message)

    async def post(candidate: Place, form: Message) -> tuple[str, str]:
        if not reserved or (candidate.channel, candidate.thread) != (place.channel, place.thread):
            await posts.send_to(key, candidate.channel, candidate.thread)
        return await deps.slack.post(candidate.channel, form.text, form.blocks, key=key, thread=candidate.thread)

    earlier_call = deps.slack.in_flight.is_under_way(key)  # it sends an earlier state of the message
    used, (channel, ts) = await _in_some_place(deps, place, post, message.forms())
    await _keep_id(deps, used.channel, channel)
    await posts.mark_sent(key, channel, ts, None if earlier_call else message.digest)
    return await upsert_message(deps, key, place, message) if earlier_call else {"channel": channel, "ts": ts}


async def _in_some_place(deps: Deps, place: Place, send: Send[T], forms: Sequence[Message]) -> tuple[Place, T]:
    """Send in the first place that is open, in the first form that Slack accepts."""
    candidates = [*await _by_kept_id(deps, place), *await _other_places(deps, place)]
    for candidate, is_last in zip(candidates, [*[False] * (len(candidates) - 1), True], strict=True):
        try:
            sent = await _in_some_form(candidate, send, forms)
        except (Refused, Blocked) as problem:
            if not place.moves or not await _is_closed(deps, candidate, problem):
                raise
            if is_last:  # keep it, and try again
                raise Blocked("slack_blocked", **dict(problem.facts)) from problem
            continue
        deps.waiting.channel_accepted(candidate.channel)
        if candidate.thread != place.thread:
            await _say_where(deps, place, candidate)
        return candidate, sent
    raise AssertionError("there is at least one place")


async def _in_some_form(place: Place, send: Send[T], forms: Sequence[Message]) -> T:
    for form, simpler in zip(forms, [*forms[1:], None], strict=True):
        try:
            return await send(place, form)
        except Refused as problem:
            error = problem.facts.get("error")
            if place.thread and place.moves and error in _NO_REPLIES:
                return await send(replace(place, thread=None), form)
            if reaction_of(problem) not in (Reaction.DIFFERENTLY, Reaction.NEVER) or simpler is None:
                raise
    raise AssertionError("a message has at least one form")


async def _is_closed(deps: Deps, place: Place, problem: Refused | Blocked) -> bool:
    """Return True if another place must be used. Raises Unavailable if this one may be open again soon."""
    error = str(problem.facts.get("error"))
    if reaction_of(problem) is Reaction.ELSEWHERE:
        if error not in _NOT_FOUND or not await _exists(deps, place.channel):
            return True
    elif error not in _OF_A_CHANNEL:
        return False
    if deps.waiting.channel_refused(place.channel) >= CLOSED_AFTER_SECONDS:
        return True
    raise Blocked("slack_blocked", **dict(problem.facts)) from problem


async def _exists(deps: Deps, channel: str) -> bool:
    """Return False if Slack says that the channel does not exist, or is archived."""
    try:
        info = await deps.slack.read("conversations.info", channel=await _channel_id(deps, channel))
    except Refused as problem:
        return reaction_of(problem) is Reaction.NEVER  # the question was wrong, so there is no answer
    except Blocked:
        return True
    return not (info.get("channel") or {}).get("is_archived")


async def _other_places(deps: Deps, place: Place) -> list[Place]:
    """Return the places to use instead: the headline's thread, the incidents' channel, a person's direct messages."""
    others: list[Place] = []
    person = place.person
    if place.incident_id:
        headline = await deps.store.slack_messages.get(f"{place.incident_id}/headline")
        if headline and headline.ts:
            others.append(replace(place, channel=headline.channel, thread=headline.ts))
        others.append(replace(place, channel=deps.incident_channel, thread=None))
        incident = await deps.store.incidents.get(place.incident_id)
        declarer = incident.declared_by.id if incident.declared_by.in_slack else None
        person = incident.commander or person or declarer
    if person:
        others.append(replace(place, channel=person, thread=None))
    return [other for other in others if (other.channel, other.thread) != (place.channel, place.thread)]


async def _say_where(deps: Deps, closed: Place, used: Place) -> None:
    """Say once for each closed channel of an incident that its messages come here. A courtesy: not tried again."""
    if closed.incident_id is None or used.thread is None:
        return
    key = f"{closed.incident_id}/moved/{closed.channel}/{used.thread}"
    if not await deps.store.slack_messages.reserve(key, used.channel, datetime.now(UTC)):
        return
    message = Message.of(deps.words.render_block("everybody", "moved", channel=closed.channel))
    try:
        await deps.slack.post(used.channel, message.text, message.blocks, key=key, thread=used.thread)
    except (Unavailable, Refused):
        return


# Editing.


async def _edit(deps: Deps, key: str, sent: SlackMessage, message: Message) -> None:
    async def edit(place: Place, form: Message) -> None:
        await deps.slack.update(place.channel, str(sent.ts), form.text, form.blocks, key=key)

    await _in_some_form(Place(sent.channel), edit, message.forms())
    await deps.store.slack_messages.mark_sent(key, sent.channel, sent.ts, message.digest)


async def point_to_replacement(deps: Deps, key: str, channel: str, ts: str, thread: str) -> None:
    """Say in the thread of a message that can no longer be edited where the current one is. Idempotent.

    Raises Unavailable, also while the current one is on its way, and Refused.
    """
    new = await deps.store.slack_messages.get(key)
    if new is None or new.ts is None:
        raise Unavailable("message_pending")
    await deps.slack.identity()
    link = deps.slack.permalink(new.channel, new.ts)
    message = Message.of(deps.words.render_block("everybody", "replaced", link=link))
    await upsert_message(deps, f"{key}/replaced/{ts}"[:KEY_LIMIT], Place(channel, thread, moves=False), message)


# Finding.


async def _find(deps: Deps, key: str, place: Place) -> SlackMessage | None:
    """Return the message if an earlier attempt has sent it to one of its places."""
    reserved = await deps.store.slack_messages.get(key)
    since = reserved.reserved_at if reserved else None
    for candidate in await _places_to_search(deps, place, reserved):
        try:
            channel = await _channel_id(deps, candidate.channel)
            ts = await deps.slack.find_message(channel, key, thread=candidate.thread, since=since)
        except (Refused, Blocked) as problem:
            if _cannot_be_read(problem):
                continue
            raise
        if ts:
            return SlackMessage(key, channel, ts, reserved.digest if reserved else None, thread=candidate.thread)
    return None


async def _places_to_search(deps: Deps, place: Place, reserved: SlackMessage | None) -> list[Place]:
    """Return where an earlier attempt may have sent a message: where it was to go last (its place may be another one
    now, such as the thread of a card that was replaced), and where it goes now.
    """
    now = [place, *await _other_places(deps, place)]
    if reserved is None or any((one.channel, one.thread) == (reserved.channel, reserved.thread) for one in now):
        return now
    return [replace(place, channel=reserved.channel, thread=reserved.thread), *now]


async def _find_upload(deps: Deps, place: Place, files: Sequence[File], since: datetime | None) -> str | None:
    wanted = {(name, title) for name, title, _ in files}
    try:
        channel = await _channel_id(deps, place.channel)
        async for message in deps.slack.messages(channel, thread=place.thread, since=since):
            if wanted <= {(file.get("name"), file.get("title")) for file in message.get("files") or []}:
                return str(message["ts"])
    except (Refused, Blocked) as problem:
        if not _cannot_be_read(problem):
            raise
    return None


def _cannot_be_read(problem: BotError) -> bool:
    """Return True if looking for a message there is no use, now and later."""
    return isinstance(problem, Refused) or problem.facts.get("error") in (*_OF_A_CHANNEL, "missing_scope")


async def _channel_id(deps: Deps, channel: str) -> str:
    """Return the id of a channel by its name, also of one that was renamed since; ids are returned as they are."""
    if channel.startswith(("U", "W")) and is_id(channel):  # a person: the direct messages with them
        return str((await deps.slack.call("conversations.open", users=channel))["channel"]["id"])
    if is_id(channel):
        return channel
    if kept := await deps.store.slack_messages.get(_kept(channel)):
        return kept.channel
    id = await deps.slack.channel_id(channel)
    if id is None:
        raise Refused("slack_refused", method="conversations.list", error="channel_not_found")
    await _keep_id(deps, channel, id)
    return id


async def keep_channel_id(deps: Deps, channel: str) -> None:
    """Find out the id of a channel that the settings name, so that it is found after it is renamed."""
    try:
        await _channel_id(deps, channel)
    except (Unavailable, Refused) as problem:
        log.warning("the id of %s is not known yet: %s", channel, problem)


async def _by_kept_id(deps: Deps, place: Place) -> list[Place]:
    """Return the place by its kept id, then by its name: another channel may have it now."""
    if is_id(place.channel) or not (kept := await deps.store.slack_messages.get(_kept(place.channel))):
        return [place]
    return [replace(place, channel=kept.channel), place]


async def _keep_id(deps: Deps, channel: str, id: str) -> None:
    if not is_id(channel):
        await deps.store.slack_messages.keep(_kept(channel), id)


def _kept(channel: str) -> str:
    return f"channel/{channel.removeprefix('#')}"


# What waits.


@asynccontextmanager
async def _waiting(deps: Deps, key: str, place: Place) -> AsyncIterator[None]:
    """Count the message as waiting while Slack does not take it. Once all of a place are there, say how late."""
    try:
        yield
    except Unavailable as problem:
        deps.waiting.refused(key, place.name, str(problem.facts.get("error") or problem.key))
        raise
    except BotError as problem:
        deps.waiting.given_up(key)
        log.error("Slack accepts message %s in no form: %s", key, problem)
        raise
    if delay := deps.waiting.sent(key):
        text = deps.words.render_block("everybody", "late", delay=delay)
        late = f"{place.name}/late/{int(datetime.now(UTC).timestamp())}"
        try:
            await upsert_message(deps, late, place, Message.of(text))
        except (Unavailable, Refused):
            return
