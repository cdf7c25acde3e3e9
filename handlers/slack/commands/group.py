"""A slash command: its verbs, each a typed function, and how a line is read, run and helped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.messages.help import command_help, verb_help
from bot.messages.message import Message
from bot.signature import Signature, Tokens, tokenize
from handlers.slack.context import Call

Verb = Callable[..., Awaitable[Message | None]]


class Command:
    """`/name verb …`. A verb named by `default` also runs when the line begins with no verb."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.verbs: dict[str, Signature] = {}
        self.default: Signature | None = None

    def verb(self, example: str, *, default: bool = False) -> Callable[[Verb], Verb]:
        """Make a function a verb of this command. Its words stand in the labels, under `help.<command>.<verb>`."""

        def register(function: Verb) -> Verb:
            signature = Signature.of(function, example=example)
            if default:
                self.default = signature
            self.verbs[signature.name] = signature
            return function

        return register

    async def run(self, call: Call, text: str) -> Message | None:
        """Do what the line says. Raises BadInput for what cannot be read, and what the verb raises."""
        given = tokenize(text)
        first = given.words[0].lower() if given.words else ""
        if (first == "help" and "help" not in self.verbs) or (not given.raw and self.default is None):
            return await self._help(call, given.words[1] if len(given.words) > 1 else None)
        if len(given.words) == 2 and given.words[1].lower() == "help" and first in self.verbs:
            return await self._help(call, first)
        signature, rest = self._choose(first, given)
        arguments = signature.read(self._without_incident(call, signature, rest), self._shown(signature))
        return await signature.function(call, **arguments)  # type: ignore[no-any-return]

    def _choose(self, first: str, given: Tokens) -> tuple[Signature, Tokens]:
        chosen = self.verbs.get(first)
        if chosen and (chosen is not self.default or self.default.name != self.name):
            raw = given.raw[len(given.raw.split(None, 1)[0]) :].strip()
            return chosen, replace(given, words=given.words[1:], raw=raw)
        if self.default:
            return self.default, given
        raise BadInput("unknown_verb", command=f"/{self.name}", verb=first, nearest=nearest(first, self.verbs))

    @staticmethod
    def _without_incident(call: Call, signature: Signature, given: Tokens) -> Tokens:
        """`incident=INC-…` names the incident for every verb, from wherever it is typed."""
        if any(parameter.name == "incident" for parameter in signature.parameters):
            return given
        options: dict[str, Any] = dict(given.options)
        call.named_incident = options.pop("incident", None)
        if call.named_incident is None:
            return given
        raw = " ".join(word for word in given.raw.split() if not word.startswith("incident="))
        return replace(given, options=options, raw=raw)

    def _shown(self, signature: Signature) -> str:
        return f"/{self.name}"

    async def _help(self, call: Call, verb: str | None) -> Message:
        words = await call.translations()
        if verb is None:
            return command_help(self.name, list(self.verbs.values()), words)
        if verb not in self.verbs:
            raise BadInput("unknown_verb", command=f"/{self.name}", verb=verb, nearest=nearest(verb, self.verbs))
        return verb_help(self.name, self.verbs[verb], words)
