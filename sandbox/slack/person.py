"""A person who uses Slack: types commands, presses buttons, fills in forms, and sees what Slack shows them.

The scripted responder and every end-to-end test are made of this.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sandbox.slack import events, inputs, payloads
from sandbox.slack.deliveries import HONEST, Delivery, Forgery
from sandbox.slack.interactions import ResponseUrl, Trigger
from sandbox.slack.replies import Reply, SubmitResult
from sandbox.slack.rich_text import rich_text
from sandbox.slack.state import JSON, Channel, Message, User, View
from sandbox.slack.submission import apply_answer, fill_in, response_urls

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack


class Person:
    """One user of the workspace. `forgery` makes everything they send differ from what Slack would send."""

    def __init__(self, slack: Slack, user: User, forgery: Forgery = HONEST) -> None:
        self.slack = slack
        self.user = user
        self._forgery = forgery

    @property
    def id(self) -> str:
        return self.user.id

    def forging(self, **how: Any) -> Person:
        """The same person through a forged request: `unsigned=True`, `age=301`, `team_id="T0OTHER"`, …"""
        return Person(self.slack, self.user, replace(self._forgery, **how))

    # seeing

    async def messages(self, channel: str = "tamv-incidents") -> list[Message]:
        """What this person sees in the channel, oldest first, their ephemeral messages too."""
        return self.slack.channel(channel).visible_to(self.id)

    @property
    def view(self) -> View | None:
        """The modal on the screen."""
        stack = self.slack.modals.get(self.id)
        return stack[-1] if stack else None

    @property
    def home(self) -> View | None:
        return self.slack.homes.get(self.id)

    # typing

    async def run(self, text: str, channel: str = "tamv-incidents") -> Reply:
        """Type a slash command. The names of people, groups and channels in it become references.

        PermissionError when the person is not in the channel.
        """
        name, _, words = text.partition(" ")
        where = self._joined(channel)
        trigger = self.slack.triggers.issue(self.user)
        url = self.slack.response_urls.issue("commands", self.user, where)
        form = payloads.command(self.slack, self.user, where, name, words, trigger, url)
        started = self.slack.new_ts()
        delivery = await self.slack.deliveries.command(form, self._forgery)
        reply = Reply(self.slack, self.user, delivery, trigger, url, started)
        reply.show_body(name)
        return reply

    async def say(self, channel: str, text: str, *, thread: Message | None = None) -> Message:
        """Post a message. PermissionError when the person is not in the channel."""
        where = self._joined(channel)
        words = payloads.escaped(self.slack, text)
        if thread:
            thread.thread_ts = thread.thread_ts or thread.ts
        return self.slack.post(
            where,
            self.user,
            text=words,
            blocks=[rich_text(words)],
            thread_ts=thread.thread_ts if thread else None,
            extra={"client_msg_id": str(uuid.uuid4())},
        )

    async def react(self, message: Message, emoji: str) -> None:
        self.slack.react(message, emoji, self.user)

    async def join(self, channel: str) -> None:
        self.slack.join(self.slack.channel(channel), self.user)

    async def invite(self, channel: str, user: str) -> None:
        """Add a user (or the bot) to a channel that this person is in."""
        self.slack.join(self._joined(channel), self.slack.user(user), self.user)

    # pressing and choosing

    async def press(self, surface: Message | View, action_id: str, value: str | None = None) -> Reply:
        """Press a button of a message or a view; `value` tells buttons with the same action_id apart.

        LookupError when there is no such button, PermissionError when this person does not see the message.
        """
        block_id, element = self._element(surface, action_id, value)
        if element["type"] != "button":
            raise LookupError(f"{action_id} is a {element['type']}, not a button: choose it")
        shown = {key: value for key, value in element.items() if key in ("action_id", "text", "value", "style")}
        return await self._act(surface, {"type": "button", "block_id": block_id, **shown})

    async def choose(self, surface: Message | View, action_id: str, value: Any) -> Reply | None:
        """Choose in a select menu, a picker, an overflow menu, or fill in a field of a view.

        Fields of a form are only sent at once when their block has `dispatch_action`: None otherwise.
        """
        block_id, element = self._element(surface, action_id, None)
        state = inputs.state_of(self.slack, element, value)
        if inputs.has_state(element):
            entered = surface.values if isinstance(surface, View) else surface.entered.setdefault(self.id, {})
            entered.setdefault(block_id, {})[action_id] = state
        block = next(each for each in surface.blocks if each.get("block_id") == block_id)
        if block["type"] == "input" and not block.get("dispatch_action"):
            self.slack.changed()
            return None
        return await self._act(surface, {"action_id": action_id, "block_id": block_id, **state})

    async def suggestions(self, view: View, action_id: str, query: str) -> list[JSON]:
        """What an external select offers for these letters."""
        block_id, element = self._element(view, action_id, None)
        payload = payloads.block_suggestion(self.slack, self.user, view, block_id, element, query)
        answer = (await self.slack.deliveries.interactive(payload, self._forgery)).answers[-1].json() or {}
        return inputs.options_of(answer)

    async def message_shortcut(self, callback_id: str, message: Message) -> Reply:
        self._sees(message)
        trigger = self.slack.triggers.issue(self.user)
        url = self.slack.response_urls.issue("app", self.user, self.slack.channels[message.channel])
        payload = payloads.message_shortcut(self.slack, self.user, callback_id, message, trigger, url)
        return await self._interact(payload, trigger, url)

    async def global_shortcut(self, callback_id: str) -> Reply:
        trigger = self.slack.triggers.issue(self.user)
        payload = payloads.global_shortcut(self.slack, self.user, callback_id, trigger)
        return await self._interact(payload, trigger, None)

    # forms and the App Home

    async def submit(self, values: dict[str, Any] | None = None, view: View | None = None) -> SubmitResult:
        """Fill in the open modal and submit it.

        `values` by `block_id/action_id`, block_id, action_id or label. What Slack's app itself refuses (a
        required field left empty, a text too long) comes back as errors and is not sent.
        """
        view = view or self.view
        if view is None:
            raise LookupError("no modal is open")
        refused = fill_in(self.slack, view, values or {})
        if refused:
            return SubmitResult(errors=refused, view=view)
        trigger = self.slack.triggers.issue(self.user, view)
        urls = response_urls(self.slack, self.user, view)
        payload = payloads.view_submission(self.slack, self.user, view, trigger, urls)
        delivery = await self.slack.deliveries.interactive(payload, self._forgery)
        return apply_answer(self.slack, self.user, view, delivery)

    async def close(self, view: View | None = None) -> Delivery | None:
        """Close the modal on the screen; the bot is told when the view has `notify_on_close`."""
        view = view or self.view
        if view is None:
            raise LookupError("no modal is open")
        self.slack.modals[self.id].remove(view)
        self.slack.changed()
        if not view.body.get("notify_on_close"):
            return None
        payload = payloads.view_closed(self.slack, self.user, view, cleared=False)
        return await self.slack.deliveries.interactive(payload, self._forgery)

    async def open_home(self, timeout: float = 5.0) -> View:
        """Open the App Home and wait until the bot has drawn it. TimeoutError when it does not."""
        before = self.home.hash if self.home else None
        events.app_home_opened(self.slack, self.user, self.home)

        def drawn() -> View | None:
            return self.home if self.home and self.home.hash != before else None

        return await self.slack.wait_for(drawn, timeout)

    # within

    async def _act(self, surface: Message | View, action: JSON) -> Reply:
        trigger = self.slack.triggers.issue(self.user, surface if isinstance(surface, View) else None)
        url = None
        if not isinstance(surface, View):
            channel = self.slack.channels[surface.channel]
            surface = channel.messages.get(surface.ts, surface)
            url = self.slack.response_urls.issue("actions", self.user, channel, surface)
        payload = payloads.block_actions(self.slack, self.user, surface, action, trigger, url)
        return await self._interact(payload, trigger, url)

    async def _interact(self, payload: JSON, trigger: Trigger, url: ResponseUrl | None) -> Reply:
        started = self.slack.new_ts()
        delivery = await self.slack.deliveries.interactive(payload, self._forgery)
        return Reply(self.slack, self.user, delivery, trigger, url, started)

    def _element(self, surface: Message | View, action_id: str, value: str | None) -> tuple[str, JSON]:
        if isinstance(surface, Message):
            self._sees(surface)
        found = [pair for pair in surface.elements() if pair[1]["action_id"] == action_id]
        if value is not None:
            found = [pair for pair in found if pair[1].get("value") == value]
        if len(found) != 1:
            offered = [(element["action_id"], element.get("value")) for _, element in surface.elements()]
            raise LookupError(f"{len(found)} elements {action_id!r} with value {value!r} among {offered}")
        return found[0]

    def _sees(self, message: Message) -> None:
        if message.ephemeral_to not in (None, self.id):
            raise PermissionError(f"{self.user.name} does not see this message")

    def _joined(self, channel: str) -> Channel:
        where = self.slack.channel(channel)
        if self.id not in where.members:
            raise PermissionError(f"{self.user.name} is not in #{where.name}")
        return where
