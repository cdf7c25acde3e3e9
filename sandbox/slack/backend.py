"""The state of one Slack workspace and everything that can happen to it; no HTTP here.

Whoever changes something calls one of the methods below: the change is made, the event goes to the bot, and all
who wait for a condition (`wait_for`) look again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sandbox.company import Company
from sandbox.slack import events
from sandbox.slack.deliveries import Deliveries
from sandbox.slack.errors import SlackError
from sandbox.slack.interactions import ResponseUrls, Triggers
from sandbox.slack.person import Person
from sandbox.slack.shapes import message_json
from sandbox.slack.snapshot import snapshot
from sandbox.slack.socket_mode import SocketMode
from sandbox.slack.state import (
    JSON,
    Call,
    Caption,
    Channel,
    Credentials,
    File,
    Message,
    User,
    UserGroup,
    View,
)

T = TypeVar("T")


class Slack:
    """One workspace with one installed app, the bot. `base_url` is where its own routes are reached."""

    def __init__(
        self,
        company: Company,
        *,
        credentials: Credentials | None = None,
        bot_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.company = company
        self.credentials = credentials or Credentials()
        self.bot_url = bot_url
        self.base_url = "http://127.0.0.1"
        self.now = now
        self.users: dict[str, User] = {}
        self.usergroups: dict[str, UserGroup] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, File] = {}
        self.homes: dict[str, View] = {}  # user id → App Home
        self.modals: dict[str, list[View]] = {}  # user id → stack of open modals, the visible one last
        self.calls: list[Call] = []
        self.subscriptions = set(events.ALL)
        self.scopes: set[str] = set()  # of the bot's token, said with each answer; when empty nothing is said
        self.sockets = SocketMode(self)
        self.deliveries = Deliveries(self)
        self.triggers = Triggers()
        self.response_urls = ResponseUrls(self)
        self._last_ts = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._seed()

    def _seed(self) -> None:
        workspace = self.company.workspace
        for person in self.company.people:
            self.users[person.slack] = User(
                person.slack, person.handle, person.name, person.email, person.locale, person.title
            )
        self.users[workspace.bot_user_id] = User(
            workspace.bot_user_id, workspace.bot_name, workspace.bot_name, bot_id=workspace.bot_id
        )
        self.users["USLACKBOT"] = User("USLACKBOT", "slackbot", "Slackbot")
        for group in self.company.usergroups:
            members = [self.company.person(handle).slack for handle in group.members]
            self.usergroups[group.id] = UserGroup(group.id, group.handle, group.name, members)
        for seed in self.company.channels:
            members = [self.company.person(handle).slack for handle in seed.members]
            if seed.bot:
                members.append(workspace.bot_user_id)
            channel = Channel(seed.id, seed.name, creator=members[0], created=int(self.now()), members=members)
            channel.is_general = seed.name == "general"
            self.channels[channel.id] = channel

    # looking up

    @property
    def bot_user(self) -> User:
        return self.users[self.company.workspace.bot_user_id]

    def channel(self, id_or_name: str) -> Channel:
        """SlackError channel_not_found when there is none."""
        if id_or_name in self.channels:
            return self.channels[id_or_name]
        name = id_or_name.removeprefix("#")
        for channel in self.channels.values():
            if channel.name == name and not channel.is_im:
                return channel
        raise SlackError("channel_not_found")

    def user(self, id_or_handle: str) -> User:
        """SlackError user_not_found when there is none."""
        if id_or_handle in self.users:
            return self.users[id_or_handle]
        handle = id_or_handle.removeprefix("@")
        for user in self.users.values():
            if user.name == handle:
                return user
        raise SlackError("user_not_found")

    def message(self, channel: str, ts: str) -> Message:
        """SlackError message_not_found when there is none."""
        message = self.channel(channel).messages.get(ts)
        if message is None:
            raise SlackError("message_not_found")
        return message

    def person(self, id_or_handle: str) -> Person:
        """Somebody of the company, to act with."""
        return Person(self, self.user(id_or_handle))

    def views(self) -> Iterator[View]:
        yield from self.homes.values()
        for stack in self.modals.values():
            yield from stack

    def messages(self) -> Iterator[Message]:
        for channel in self.channels.values():
            yield from channel.messages.values()

    def calls_of(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]

    # time, ids, waiting

    def new_id(self, prefix: str) -> str:
        """Random, so that no id returns after a restart of the sandbox."""
        return f"{prefix}0{secrets.token_hex(5).upper()}"

    def new_ts(self) -> str:
        """A message time that nothing else has, always later than the last one."""
        self._last_ts = max(self._last_ts + 1, int(self.now() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def changed(self) -> None:
        """Wake everybody who waits for a condition."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, condition: Callable[[], T | None], timeout: float = 5.0) -> T:
        """The first truthy value of `condition`, looked at after every change. TimeoutError after `timeout` s."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not (value := condition()):
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                raise TimeoutError(f"Slack did not come to it within {timeout} s") from None
            finally:
                self._waiters.discard(waiter)
        return value

    # what can happen

    def post(self, channel: Channel, user: User, **fields: Any) -> Message:
        """Put a message into the channel; `fields` are those of `Message`."""
        bot_id = user.bot_id if user.is_bot and "subtype" not in fields else None
        message = Message(ts=self.new_ts(), channel=channel.id, user=user.id, bot_id=bot_id, **fields)
        channel.messages[message.ts] = message
        if message.ephemeral_to is None:
            events.message_posted(self, message)
        self.changed()
        return message

    def update(self, message: Message, user: User, **fields: Any) -> None:
        before = message_json(self, message)
        for name, value in fields.items():
            setattr(message, name, value)
        message.edited = {"user": user.id, "ts": self.new_ts()}
        if message.ephemeral_to is None:
            events.message_changed(self, message, before)
        self.changed()

    def delete(self, message: Message) -> None:
        channel = self.channels[message.channel]
        del channel.messages[message.ts]
        message.deleted = True
        if message.ephemeral_to is None:
            events.message_deleted(self, message)
        self.changed()

    def react(self, message: Message, name: str, user: User) -> None:
        people = message.reactions.setdefault(name, [])
        if user.id in people:
            raise SlackError("already_reacted")
        people.append(user.id)
        events.reaction_added(self, message, name, user)
        self.changed()

    def join(self, channel: Channel, user: User, inviter: User | None = None) -> None:
        """Make the user a member, with the message that Slack shows for it. No-op for a member."""
        if user.id in channel.members:
            return
        channel.members.append(user.id)
        self.post(channel, user, text=f"<@{user.id}> has joined the channel", subtype="channel_join")
        events.member_joined(self, channel, user, inviter)

    def caption(self, channel: Channel, which: str, value: str, user: User) -> None:
        """Set the `topic` or the `purpose`, with the message that Slack shows for it."""
        setattr(channel, which, Caption(value, user.id, int(self.now())))
        text = f"<@{user.id}> set the channel {which}: {value}"
        self.post(channel, user, text=text, subtype=f"channel_{which}", extra={which: value})

    def open_im(self, user: User) -> Channel:
        """The direct-message channel of the bot with this user."""
        for channel in self.channels.values():
            if channel.im_user == user.id:
                return channel
        created = int(self.now())
        members = [self.bot_user.id, user.id]
        channel = Channel(self.new_id("D"), "", self.bot_user.id, created, members, im_user=user.id)
        self.channels[channel.id] = channel
        self.changed()
        return channel

    def record(self, call: Call) -> None:
        self.calls.append(call)
        self.changed()

    def snapshot(self) -> JSON:
        """The whole state as JSON, for tests in another process."""
        return snapshot(self)

    async def aclose(self) -> None:
        await self.sockets.aclose()
        await self.deliveries.aclose()
