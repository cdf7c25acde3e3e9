"""The bot's messages in Slack: where each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update

from bot.store.database import Database, dialect_insert
from bot.store.tables import posts


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """A message by its key. Without `ts` it is unknown whether Slack has it: it was first tried at `reserved_at`, and
    last in `channel` and `thread`, and `digest` is that of the one call, None after several.
    """

    key: str
    channel: str
    ts: str | None
    digest: str | None
    reserved_at: datetime | None = None
    thread: str | None = None


class SlackMessages:
    """Messages by key (`INC-2026-0001/headline`), with channel and ts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> SlackMessage | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(posts).where(posts.c.key == key))).one_or_none()
        return _message(row) if row else None

    async def reserve(
        self, key: str, channel: str, at: datetime, *, thread: str | None = None, digest: str | None = None
    ) -> bool:
        """Record that the message is about to be sent for the first time. Returns False if it was recorded before."""
        async with self._database.write() as connection:
            values = {"key": key, "channel": channel, "thread": thread, "digest": digest, "reserved_at": at}
            statement = dialect_insert(connection, posts).values(values)
            inserted = await connection.execute(statement.on_conflict_do_nothing().returning(posts.c.key))
            return inserted.first() is not None

    async def send_to(self, key: str, channel: str, thread: str | None) -> None:
        """Record that a reserved message is about to be sent again, or to another place, where it is looked for
        afterwards; it is not known any more which state of it will be found there.
        """
        values = {"channel": channel, "thread": thread, "digest": None}
        await self._database.execute(update(posts).where(posts.c.key == key, posts.c.ts.is_(None)).values(values))

    async def keep(self, key: str, channel: str) -> None:
        """Record a channel's id under a key."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, posts).values(key=key, channel=channel)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=[posts.c.key], set_={"channel": channel})
            )

    async def start_again(self, key: str) -> None:
        """Forget where the message is, so that it is sent anew."""
        async with self._database.write() as connection:
            await connection.execute(delete(posts).where(posts.c.key == key))

    async def mark_sent(self, key: str, channel: str, ts: str | None, digest: str | None) -> None:
        """Record a message as sent: channel id, ts, and the digest of its content.

        A channel topic is recorded without `ts`.
        """
        async with self._database.write() as connection:
            await connection.execute(
                update(posts).where(posts.c.key == key).values(channel=channel, ts=ts, digest=digest)
            )

    async def with_prefix(self, prefix: str) -> dict[str, SlackMessage]:
        """Return sent messages whose key starts with `prefix` (an incident's id and a slash), by key."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(posts).where(posts.c.key.startswith(prefix, autoescape=True), posts.c.ts.is_not(None))
            )
            return {row.key: _message(row) for row in rows}


def _message(row: Row[Any]) -> SlackMessage:
    return SlackMessage(row.key, row.channel, row.ts, row.digest, row.reserved_at, row.thread)
