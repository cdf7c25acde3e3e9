"""A slash command: its verbs, each a typed function; parsing, running and help."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.messages.help import command_help, verb_help
from bot.messages.message import Message
from bot.signature import Signature, Tokens, tokenize
from handlers.slack.context import Call

Verb = Callable[..., Awaitable[Message | None]]
HELP = ("help", "-h", "?")
_INCIDENT = re.compile(r"INC-\d{4}-\d+", re.IGNORECASE)


class Command:
    """A command `/name verb …`. The `default` verb runs when the line does not start with a verb.

    `suggest` gives what was probably meant by a word that is no verb.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.verbs: dict[str, Signature] = {}
        self.default: Signature | None = None
        self.suggest: Callable[[Call, str], str | None] = lambda _, word: nearest(word, self.verbs)

    def verb(self, example: str, *, default: bool = False) -> Callable[[Verb], Verb]:
        """Register a function as a verb. Its help text is in the labels, under `help.<command>.<verb>`."""

        def register(function: Verb) -> Verb:
            signature = Signature.of(function, example=example)
            if default:
                self.default = signature
            self.verbs[signature.name] = signature
            return function

        return register

    async def run(self, call: Call, text: str) -> Message | None:
        """Run a line. Raises BadInput for a line that cannot be parsed, and what the verb raises."""
        tokens = tokenize(text)
        first = tokens.words[0].lower() if tokens.words else "help" if "help" in tokens.options else ""
        first = "help" if first in HELP else first
        if (first == "help" and "help" not in self.verbs) or (not tokens.raw and self.default is None):
            return await self._help(call, tokens.words[1] if len(tokens.words) > 1 else None)
        asks = [word.lower() for word in (*tokens.words[1:], *tokens.options)]
        if len(asks) == 1 and asks[0] in HELP and first in self.verbs:
            return await self._help(call, first)
        signature, rest = self._choose(call, first, tokens)
        arguments = signature.read(self._without_incident(call, signature, rest), self._command(signature))
        return await signature.function(call, **arguments)  # type: ignore[no-any-return]

    def _choose(self, call: Call, first: str, tokens: Tokens) -> tuple[Signature, Tokens]:
        chosen = self.verbs.get(first)
        if chosen and (chosen is not self.default or self.default.name != self.name):
            return chosen, chosen.split(tokens.raw[len(tokens.raw.split(None, 1)[0]) :])
        if self.default:
            return self.default, self.default.split(tokens.raw)
        raise BadInput("unknown_verb", command=f"/{self.name}", verb=first, nearest=self.suggest(call, first))

    @staticmethod
    def _without_incident(call: Call, signature: Signature, tokens: Tokens) -> Tokens:
        """Remove `incident=INC-…`, which names the incident for any verb, from any channel.

        Where a verb takes no text the incident's id may stand alone: `/incident status INC-2026-0001`.
        """
        if any(parameter.name == "incident" for parameter in signature.parameters):
            return tokens
        call.named_incident = tokens.option("incident")
        if call.named_incident is None:
            alone = [] if signature.takes_text else [word for word in tokens.words if _INCIDENT.fullmatch(word)]
            if not alone:
                return tokens
            call.named_incident = alone[0]
            return replace(tokens, words=tuple(word for word in tokens.words if word != alone[0]))
        raw = " ".join(word for word in tokens.raw.split() if not word.lower().startswith("incident="))
        return replace(tokens, options=tokens.without("incident"), raw=raw)

    def _command(self, signature: Signature) -> str:
        return f"/{self.name}"

    async def _help(self, call: Call, verb: str | None) -> Message:
        words = await call.translations()
        if verb is None:
            return command_help(self.name, list(self.verbs.values()), words)
        if verb not in self.verbs:
            raise BadInput("unknown_verb", command=f"/{self.name}", verb=verb, nearest=nearest(verb, self.verbs))
        return verb_help(self.name, self.verbs[verb], words)
