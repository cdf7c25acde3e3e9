"""Where each message of ours stands in Slack."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from bot.store.database import Database, dialect_insert
from bot.store.tables import posts


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """A message by its key. Without `ts` nobody knows yet whether Slack has it."""

    key: str
    channel: str
    ts: str | None
    digest: str | None


class SlackMessages:
    """Keys of messages (`INC-2026-0001/headline`) → channel and ts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> SlackMessage | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(posts).where(posts.c.key == key))).one_or_none()
        return SlackMessage(row.key, row.channel, row.ts, row.digest) if row else None

    async def reserve(self, key: str, channel: str) -> bool:
        """Say that the message is about to be sent. False when that was said before."""
        async with self._database.write() as connection:
            statement = dialect_insert(connection, posts).values(key=key, channel=channel)
            made = await connection.execute(statement.on_conflict_do_nothing().returning(posts.c.key))
            return made.first() is not None

    async def mark_sent(self, key: str, channel: str, ts: str | None, digest: str | None) -> None:
        """Slack has it, at `ts` of the channel id `channel`, saying what `digest` is the digest of.

        A topic is no message: it has no `ts`.
        """
        async with self._database.write() as connection:
            await connection.execute(
                update(posts).where(posts.c.key == key).values(channel=channel, ts=ts, digest=digest)
            )

    async def with_prefix(self, prefix: str) -> dict[str, SlackMessage]:
        """The messages that Slack has whose key begins so (an incident's id and a slash), by key."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(posts).where(posts.c.key.startswith(prefix, autoescape=True), posts.c.ts.is_not(None))
            )
            return {row.key: SlackMessage(row.key, row.channel, row.ts, row.digest) for row in rows}
