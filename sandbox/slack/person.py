"""A person who uses Slack: types commands, presses buttons, fills in forms, and sees what Slack shows them.

The scripted responder, the console and every end-to-end test are made of this.
"""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.slack import inputs, payloads
from sandbox.slack.backend import Slack
from sandbox.slack.block_kit import check_view
from sandbox.slack.deliveries import HONEST, Answer, Delivery, Forgery
from sandbox.slack.state import JSON, PATIENCE_SECONDS, Channel, Message, ResponseUrl, SlackError, Trigger, User, View

_TOKEN = re.compile(r"<([@#!]|https?://)([^>|]+)(?:\|([^>]*))?>")


class Person:
    """One user of the workspace. `forgery` makes their requests differ from genuine ones."""

    def __init__(self, slack: Slack, user: User | str, forgery: Forgery = HONEST) -> None:
        """`user` may be an id or a handle. Raises SlackError user_not_found."""
        self.slack = slack
        self.user = slack.user(user) if isinstance(user, str) else user
        self._forgery = forgery

    @property
    def id(self) -> str:
        return self.user.id

    def forging(self, **changes: Any) -> Person:
        """Return the same person with forged requests: `unsigned=True`, `age=301`, `team_id="T0OTHER"`, …"""
        return Person(self.slack, self.user, replace(self._forgery, **changes))

    # Reading.

    async def messages(self, channel: str = "tamv-incidents") -> list[Message]:
        """Return what this person sees in the channel, oldest first, their ephemeral messages included."""
        return self.slack.channel(channel).visible_to(self.id)

    @property
    def view(self) -> View | None:
        """The modal on the screen."""
        stack = self.slack.modals.get(self.id)
        return stack[-1] if stack else None

    @property
    def home(self) -> View | None:
        return self.slack.homes.get(self.id)

    # Typing.

    async def run(self, text: str, channel: str = "tamv-incidents") -> Reply:
        """Type a slash command. The names of people, groups and channels in it become references.

        Raises PermissionError when the person is not in the channel.
        """
        name, _, arguments = text.partition(" ")
        joined = self._joined(channel)
        trigger = self.slack.triggers.issue(self.user)
        url = self.slack.response_urls.issue("commands", self.user, joined)
        form = payloads.command(self.slack, self.user, joined, name, arguments, trigger, url)
        started = self.slack.new_ts()
        delivery = await self.slack.deliveries.command(form, self._forgery)
        reply = Reply(self.slack, self.user, delivery, trigger, url, started)
        reply.show_body(name)
        return reply

    async def say(self, channel: str, text: str, *, thread: Message | None = None) -> Message:
        """Post a message. Raises PermissionError when the person is not in the channel."""
        joined = self._joined(channel)
        escaped = payloads.escape(self.slack, text)
        if thread:
            thread.thread_ts = thread.thread_ts or thread.ts
        return self.slack.post(
            joined,
            self.user,
            text=escaped,
            blocks=[rich_text(escaped)],
            thread_ts=thread.thread_ts if thread else None,
            extra={"client_msg_id": str(uuid.uuid4())},
        )

    async def react(self, message: Message, emoji: str) -> None:
        self.slack.react(message, emoji, self.user)

    async def join(self, channel: str) -> None:
        self.slack.join(self.slack.channel(channel), self.user)

    # Buttons, menus and shortcuts.

    async def press(self, surface: Message | View, action_id: str, value: str | None = None) -> Reply:
        """Press a button of a message or a view; `value` distinguishes buttons with the same action_id.

        Raises LookupError for no such button, PermissionError for a message this person does not see.
        """
        block_id, element = self._element(surface, action_id, value)
        if element["type"] != "button":
            raise LookupError(f"{action_id} is a {element['type']}, not a button: use choose()")
        shown = {key: value for key, value in element.items() if key in ("action_id", "text", "value", "style")}
        return await self._act(surface, {"type": "button", "block_id": block_id, **shown})

    async def choose(self, surface: Message | View, action_id: str, value: Any) -> Reply | None:
        """Choose in a select menu, a picker, an overflow menu, or fill in a field of a view.

        Returns None for the field of a form, which is not sent at once, unless its block has `dispatch_action`.
        """
        block_id, element = self._element(surface, action_id, None)
        state = inputs.state_of(self.slack, element, value)
        if inputs.has_state(element):
            values = surface.values if isinstance(surface, View) else surface.entered.setdefault(self.id, {})
            values.setdefault(block_id, {})[action_id] = state
        block = next(block for block in surface.blocks if block.get("block_id") == block_id)
        if block["type"] == "input" and not block.get("dispatch_action"):
            self.slack.changed()
            return None
        return await self._act(surface, {"action_id": action_id, "block_id": block_id, **state})

    async def suggestions(self, view: View, action_id: str, query: str) -> list[JSON]:
        """Return the options that an external select offers for these letters."""
        block_id, element = self._element(view, action_id, None)
        payload = payloads.block_suggestion(self.slack, self.user, view, block_id, element, query)
        answer = (await self.slack.deliveries.interactive(payload, self._forgery)).answers[-1].json() or {}
        return inputs.options_of(answer)

    async def message_shortcut(self, callback_id: str, message: Message) -> Reply:
        self._check_visible(message)
        trigger = self.slack.triggers.issue(self.user)
        url = self.slack.response_urls.issue("app", self.user, self.slack.channels[message.channel])
        payload = payloads.message_shortcut(self.slack, self.user, callback_id, message, trigger, url)
        return await self._interact(payload, trigger, url)

    async def global_shortcut(self, callback_id: str) -> Reply:
        trigger = self.slack.triggers.issue(self.user)
        payload = payloads.global_shortcut(self.slack, self.user, callback_id, trigger)
        return await self._interact(payload, trigger, None)

    # Forms and the App Home.

    async def submit(self, values: dict[str, Any] | None = None, view: View | None = None) -> SubmitResult:
        """Fill in the open modal and submit it.

        `values` are keyed by `block_id/action_id`, block_id, action_id or label. What Slack's app itself rejects (an
        empty required field, a text too long) is returned as errors and not sent.
        """
        view = view or self.view
        if view is None:
            raise LookupError("no modal is open")
        errors = fill_in(self.slack, view, values or {})
        if errors:
            return SubmitResult(errors=errors, view=view)
        trigger = self.slack.triggers.issue(self.user, view)
        urls = _response_urls(self.slack, self.user, view)
        payload = payloads.view_submission(self.slack, self.user, view, trigger, urls)
        delivery = await self.slack.deliveries.interactive(payload, self._forgery)
        return _apply_answer(self.slack, self.user, view, delivery)

    async def close(self, view: View | None = None) -> Delivery | None:
        """Close the modal on the screen; the bot gets view_closed if the view has `notify_on_close`."""
        view = view or self.view
        if view is None:
            raise LookupError("no modal is open")
        self.slack.modals[self.id].remove(view)
        self.slack.changed()
        if not view.body.get("notify_on_close"):
            return None
        payload = payloads.view_closed(self.slack, self.user, view, cleared=False)
        return await self.slack.deliveries.interactive(payload, self._forgery)

    async def open_home(self, timeout: float = PATIENCE_SECONDS) -> View:
        """Open the App Home and wait until the bot has published it. Raises TimeoutError."""
        before = self.home.hash if self.home else None
        self.slack.open_home(self.user)

        def published() -> View | None:
            return self.home if self.home and self.home.hash != before else None

        return await self.slack.wait_for(published, timeout)

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
            self._check_visible(surface)
        matches = [pair for pair in surface.elements() if pair[1]["action_id"] == action_id]
        if value is not None:
            matches = [pair for pair in matches if pair[1].get("value") == value]
        if len(matches) != 1:
            offered = [(element["action_id"], element.get("value")) for _, element in surface.elements()]
            raise LookupError(f"{len(matches)} elements {action_id!r} with value {value!r} among {offered}")
        return matches[0]

    def _check_visible(self, message: Message) -> None:
        if message.ephemeral_to not in (None, self.id):
            raise PermissionError(f"{self.user.name} does not see this message")

    def _joined(self, channel: str) -> Channel:
        joined = self.slack.channel(channel)
        if self.id not in joined.members:
            raise PermissionError(f"{self.user.name} is not in #{joined.name}")
        return joined


@dataclass
class Reply:
    """The bot's reply to a command, a button or a shortcut. `error` is Slack's code of a failure."""

    slack: Slack
    user: User
    delivery: Delivery
    trigger: Trigger
    response_url: ResponseUrl | None
    started: str  # a ts just before it was sent
    error: str | None = None

    def __post_init__(self) -> None:
        self.error = self.answer.error

    @property
    def answer(self) -> Answer:
        return self.delivery.answers[0]

    @property
    def status(self) -> int | None:
        """HTTP status of the acknowledgement; None if it timed out."""
        return self.answer.status

    @property
    def milliseconds(self) -> float:
        return self.answer.milliseconds

    @property
    def body(self) -> str:
        """The body of the acknowledgement."""
        return self.answer.body

    @property
    def messages(self) -> list[Message]:
        """The messages so far: by the body, the response_url, or ephemeral to this person."""
        answers = list(self.response_url.messages) if self.response_url else []
        token = self.response_url.token if self.response_url else None
        for channel in self.slack.channels.values():
            for message in reversed(channel.messages.values()):
                if message.ts <= self.started:
                    break
                is_mine = message.ephemeral_to == self.user.id and message.bot_id
                if is_mine and message not in answers and message.answer_to in (None, token):
                    answers.append(message)
        return sorted(answers, key=lambda message: message.ts)

    async def message(self, timeout: float = PATIENCE_SECONDS, number: int = 1) -> Message:
        """Wait for the first (`number`-th) message. Raises TimeoutError."""
        return (await self.slack.wait_for(lambda: self.messages[number - 1 : number], timeout))[0]

    async def view(self, timeout: float = PATIENCE_SECONDS) -> View:
        """Wait for the modal that the bot opens with this trigger. Raises TimeoutError."""
        return await self.slack.wait_for(lambda: self.trigger.opened, timeout)

    def show_body(self, command: str) -> None:
        """Post what the acknowledgement of a command holds: a message, or Slack's text about a failure."""
        body: JSON | None = self.answer.json()
        if body is None and self.answer.body.strip():
            body = {"text": self.answer.body}
        if self.answer.ok and body and self.response_url:
            try:
                self.slack.response_urls.reply(self.response_url, body)
            except SlackError as error:
                self.error = error.code
        if self.error:
            text = f'{command} failed with the error "{self.error}"'
            slackbot = self.slack.users["USLACKBOT"]
            channel = self.slack.channels[self.delivery.payload["channel_id"]]
            self.slack.post(channel, slackbot, text=text, ephemeral_to=self.user.id)


@dataclass
class SubmitResult:
    """The result of a form: `errors` by block_id, or the `view` on the screen, None when all are closed."""

    errors: dict[str, str] = field(default_factory=dict)
    view: View | None = None
    closed: bool = False
    error: str | None = None
    delivery: Delivery | None = None

    @property
    def ok(self) -> bool:
        return not self.errors and self.error is None

    @property
    def milliseconds(self) -> float:
        return self.delivery.answers[0].milliseconds if self.delivery else 0.0


# Forms: filled in, checked as Slack's app does, and the bot's answer applied.


def fill_in(slack: Slack, view: View, values: dict[str, Any]) -> dict[str, str]:
    """Enter the values; return what the app rejects, by block_id. Raises KeyError for an unknown field."""
    fields: dict[str, tuple[str, JSON]] = {}
    for block in view.blocks:
        if block["type"] == "input":
            block_id, element = block["block_id"], block["element"]
            names = (f"{block_id}/{element['action_id']}", block_id, element["action_id"], block["label"]["text"])
            fields.update({name: (block_id, element) for name in names if name not in fields})
    for block_id, element in view.elements():
        fields.setdefault(f"{block_id}/{element['action_id']}", (block_id, element))
        fields.setdefault(element["action_id"], (block_id, element))
    for name, value in values.items():
        if name not in fields:
            raise KeyError(f"no field {name!r} among {sorted(fields)}")
        block_id, element = fields[name]
        view.values.setdefault(block_id, {})[element["action_id"]] = inputs.state_of(slack, element, value)
    slack.changed()
    return _rejected_fields(view)


def _rejected_fields(view: View) -> dict[str, str]:
    entered = payloads.states(view.blocks, view.values)
    rejected = {}
    for block in view.blocks:
        if block["type"] != "input" or not inputs.has_state(block["element"]):
            continue
        state = entered[block["block_id"]][block["element"]["action_id"]]
        reason = inputs.refusal(block["element"], state, optional=block.get("optional", False))
        if reason:
            rejected[block["block_id"]] = reason
    return rejected


def _response_urls(slack: Slack, user: User, view: View) -> list[JSON]:
    """Return a response_url for each chosen channel of a select with `response_url_enabled`."""
    entered = payloads.states(view.blocks, view.values)
    urls = []
    for block_id, element in view.elements():
        if not element.get("response_url_enabled"):
            continue
        channel = inputs.entered_value(entered[block_id][element["action_id"]])
        if channel:
            url = slack.response_urls.issue("app", user, slack.channels[channel]).url
            ids = {"block_id": block_id, "action_id": element["action_id"], "channel_id": channel}
            urls.append(ids | {"response_url": url})
    return urls


def _apply_answer(slack: Slack, user: User, view: View, delivery: Delivery) -> SubmitResult:
    """Apply the `response_action` of the acknowledgement: https://docs.slack.dev/surfaces/modals#updating_views"""
    answer = delivery.answers[0]
    stack = slack.modals.get(user.id, [])
    if not answer.ok:
        return SubmitResult(view=view, error=answer.error, delivery=delivery)
    body = answer.json() or {}
    try:
        match body.get("response_action"):
            case "errors":
                return SubmitResult(errors=_checked_errors(view, body.get("errors")), view=view, delivery=delivery)
            case "update":
                check_view(body.get("view"), "modal")
                slack.replace_view(view, body["view"])
            case "push":
                check_view(body.get("view"), "modal")
                slack.push_view(user.id, body["view"])
            case "clear":
                stack.clear()
            case None:
                if view in stack:
                    stack.remove(view)
            case unknown:
                raise SlackError("invalid_response_action", str(unknown))
    except SlackError as error:
        return SubmitResult(view=view, error=error.code, delivery=delivery)
    slack.changed()
    shown = stack[-1] if stack else None
    return SubmitResult(view=shown, closed=view not in stack, delivery=delivery)


def _checked_errors(view: View, errors: Any) -> dict[str, str]:
    """Return the errors, which must be texts of input blocks of this view."""
    blocks = {block["block_id"] for block in view.blocks if block["type"] == "input"}
    if not isinstance(errors, dict) or not errors or not errors.keys() <= blocks:
        raise SlackError("invalid_errors")
    if not all(isinstance(text, str) and text for text in errors.values()):
        raise SlackError("invalid_errors")
    return dict(errors)


# The rich_text block that Slack makes of what a person types.


def rich_text(text: str) -> JSON:
    """Convert text as Slack passes it on: `<@U…>`, `<#C…>`, `<!here>`, `<https://…>` and entities."""
    elements: list[JSON] = []
    end = 0
    for match in _TOKEN.finditer(text):
        elements += _text_element(text[end : match.start()])
        elements.append(_reference_element(match[1], match[2], match[3]))
        end = match.end()
    elements += _text_element(text[end:])
    section = {"type": "rich_text_section", "elements": elements}
    return {"type": "rich_text", "block_id": secrets.token_urlsafe(3), "elements": [section]}


def _text_element(text: str) -> list[JSON]:
    plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return [{"type": "text", "text": plain}] if plain else []


def _reference_element(sigil: str, target: str, label: str | None) -> JSON:
    if sigil == "@":
        return {"type": "user", "user_id": target}
    if sigil == "#":
        return {"type": "channel", "channel_id": target}
    if sigil == "!" and target.startswith("subteam^"):
        return {"type": "usergroup", "usergroup_id": target.removeprefix("subteam^")}
    if sigil == "!":
        return {"type": "broadcast", "range": target}
    link = {"type": "link", "url": sigil + target}
    return link | ({"text": label} if label else {})
