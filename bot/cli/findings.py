"""The findings of `tamv-bot doctor`, and how a check words them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from bot.domain.errors import BotError, Unavailable
from bot.messages.translations import Translations

CHECK_SECONDS = 9.0  # of one check, unless another limit is given; they all run at once


class State(StrEnum):
    GOOD = "good"
    OFF = "off"  # not configured: its commands say so, everything else works
    NOTE = "note"  # worth knowing, not an error
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `text` says it, with how to fix it."""

    subject: str
    state: State
    text: str


class Checks:
    """Words findings in one language, and runs checks to their end, whatever becomes of them."""

    def __init__(self, words: Translations, seconds: float) -> None:
        self._words = words
        self._seconds = seconds  # that one check may take

    async def _try(self, subject: str, setting: str, check: AsyncIterator[Finding]) -> list[Finding]:
        """Return what a check found until it failed or its time was over, and that."""
        findings: list[Finding] = []
        try:
            async with asyncio.timeout(self._seconds):
                async for finding in check:
                    findings.append(finding)
        except BotError as problem:
            findings.append(self._wrong(subject, problem, setting))
        except TimeoutError:
            findings.append(self._finding(subject, State.WRONG, "away", why=f"{self._seconds:g} s", setting=setting))
        return findings

    def _good(self, subject: str, part: str, **facts: object) -> Finding:
        return self._finding(subject, State.GOOD, part, **facts)

    def _note(self, subject: str, part: str, **facts: object) -> Finding:
        return self._finding(subject, State.NOTE, part, **facts)

    def _off(self, subject: str, setting: str) -> Finding:
        return self._finding(subject, State.OFF, "off", setting=setting)

    def _wrong(self, subject: str, problem: BotError, setting: str) -> Finding:
        facts = problem.facts
        why = facts.get("error") or facts.get("why") or facts.get("status") or problem.key
        if isinstance(problem, Unavailable):
            return self._finding(subject, State.WRONG, "away", why=why, setting=setting)
        if problem.key in ("slack_refused", "refused"):
            return self._finding(subject, State.WRONG, "refused", why=why, setting=setting)
        return Finding(subject, State.WRONG, self._words.error(problem))

    def _wrong_in_team(self, subject: str, problem: BotError, path: str, setting: str) -> Finding:
        """Word a mistake of the team file, with the place in it that mends it (`services.web.chart`); where nobody
        answers, the setting that says who should.
        """
        if isinstance(problem, Unavailable):
            return self._wrong(subject, problem, setting)
        is_bare = problem.key in ("slack_refused", "refused") and problem.facts.get("why")
        why = str(problem.facts["why"]) if is_bare else self._words.error(problem)
        return self._finding(subject, State.WRONG, "wrong_in_team", why=why.rstrip("."), path=path)

    def _finding(self, subject: str, state: State, part: str, **facts: object) -> Finding:
        return Finding(subject, state, self._words.render_block("doctor", part, **facts))
