"""What a person sees after they did something: how fast the bot acknowledged, what it answered, what it opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.slack.deliveries import Answer, Delivery
from sandbox.slack.errors import SlackError
from sandbox.slack.interactions import ResponseUrl, Trigger
from sandbox.slack.state import JSON, Message, User, View

if TYPE_CHECKING:
    from sandbox.slack.backend import Slack


@dataclass
class Reply:
    """The bot's reply to a command, a button or a shortcut. `error` is Slack's word for a failure."""

    slack: Slack
    user: User
    delivery: Delivery
    trigger: Trigger
    response_url: ResponseUrl | None
    started: str  # ts of the moment before it was sent
    error: str | None = None

    def __post_init__(self) -> None:
        self.error = self.answer.error

    @property
    def answer(self) -> Answer:
        return self.delivery.answers[0]

    @property
    def status(self) -> int | None:
        """HTTP status of the acknowledgement; None when there was none in time."""
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
        """The answers so far: by the body, the response_url, or an ephemeral message to this person."""
        answers = list(self.response_url.messages) if self.response_url else []
        token = self.response_url.token if self.response_url else None
        for channel in self.slack.channels.values():
            for message in reversed(channel.messages.values()):
                if message.ts <= self.started:
                    break
                mine = message.ephemeral_to == self.user.id and message.bot_id
                if mine and message not in answers and message.answer_to in (None, token):
                    answers.append(message)
        return sorted(answers, key=lambda message: message.ts)

    async def message(self, timeout: float = 5.0, number: int = 1) -> Message:
        """The first (`number`-th) answer. TimeoutError when there is none in time."""
        return (await self.slack.wait_for(lambda: self.messages[number - 1 : number], timeout))[0]

    async def view(self, timeout: float = 5.0) -> View:
        """The modal that the bot opened with this trigger. TimeoutError when it does not."""
        return await self.slack.wait_for(lambda: self.trigger.opened, timeout)

    def show_body(self, command: str) -> None:
        """Show what came in the acknowledgement of a command: a message, or Slack's word for a failure."""
        body: JSON | None = self.answer.json()
        if body is None and self.answer.body.strip():
            body = {"text": self.answer.body}
        if self.answer.ok and body and self.response_url:
            try:
                self.slack.response_urls.answer(self.response_url, body)
            except SlackError as error:
                self.error = error.code
        if self.error:
            text = f'{command} failed with the error "{self.error}"'
            slackbot = self.slack.users["USLACKBOT"]
            channel = self.slack.channels[self.delivery.payload["channel_id"]]
            self.slack.post(channel, slackbot, text=text, ephemeral_to=self.user.id)


@dataclass
class SubmitResult:
    """What became of a form: `errors` by block_id, or `view` (what is on the screen now, None when all is closed)."""

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
