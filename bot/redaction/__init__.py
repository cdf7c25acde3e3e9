"""Remove secrets from text before it is stored, posted or logged.

Everything passes here at two places: what is written to the store (`bot.store.database`), and what leaves for Slack,
GitHub, PagerDuty or a log. `shapes` says what a secret looks like.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TextIO, TypeVar
from urllib.parse import quote

from bot.redaction.shapes import BY_FORM, HIDDEN, NAMED, SEPARATES, SHAPES, hide_key_ends, hide_named, hide_random

T = TypeVar("T")

WORD = 64  # characters
WORDS_REMEMBERED = 4096
LONGEST_LINE = 4000  # of the log
SHORTEST = 6  # a shorter setting would match parts of ordinary words
# A field called `secret` often holds the name of a Kubernetes object, which is none; one called `token` never does.
_OBJECT_FIELD = re.compile(r"(?:(?:external|sealed|tls|image[_-]?pull)[_-]?)?secrets?|credentials?", re.IGNORECASE)
_OBJECT_NAME = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)+")
_FIELDS = (
    ("name", "value"),
    ("key", "value"),
    ("Name", "Value"),
    ("Key", "Value"),
    ("field", "value"),
    ("ParameterKey", "ParameterValue"),
)


class Redaction:
    """Replaces everything that looks like a secret, and the secrets of this process's own settings."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in (secret, quote(secret, safe=""))}
        longest_first = sorted(forms, key=len, reverse=True)
        self._own_secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        self._word = lru_cache(WORDS_REMEMBERED)(lambda text: self._clean(text, _hide))  # labels come again and again

    def text(self, text: str) -> str:
        """Return the text with each secret replaced by `***`."""
        return self._word(text) if len(text) <= WORD else self._clean(text, _hide)

    def lines(self, lines: Iterable[str]) -> list[str]:
        """Return as many lines, without secrets, also without those that go over several lines."""
        given = list(lines)
        clean = self._clean("\n".join(given), _hide_by_line).split("\n")
        return clean if len(clean) == len(given) else [self.text(line) for line in given]

    def of(self, value: T) -> T:
        """Return the value with secrets removed from all its strings: JSON, tuples and dataclasses, at any depth."""
        clean: Any = value
        if type(value) is str:
            clean = self.text(str(value))
        elif isinstance(value, Mapping):
            clean = {name: self._entry(name, content) for name, content in value.items()}
            for name, content in _FIELDS:
                if isinstance(clean.get(name), str) and type(clean.get(content)) is str:
                    clean[content] = self._entry(clean[name], clean[content])
        elif type(value) in (list, tuple):
            items = self.lines(value) if _are_lines(value) else map(self.of, value)  # type: ignore[arg-type, call-overload]
            clean = type(value)(items)  # type: ignore[call-arg]
        elif is_dataclass(value) and not isinstance(value, type):
            clean = replace(value, **{field.name: self.of(getattr(value, field.name)) for field in fields(value)})
        return clean  # type: ignore[no-any-return]

    def finds_in(self, value: object) -> bool:
        """Return True if the value holds something that looks like a secret."""
        return self.of(value) != value

    def _entry(self, name: object, content: Any) -> Any:
        if not isinstance(name, str) or not _is_secret_name(name):
            return self.of(content)
        if isinstance(content, list | tuple):
            return type(content)(self._entry(name, item) for item in content)
        if type(content) is str and content:
            is_object = _OBJECT_FIELD.fullmatch(name) and _OBJECT_NAME.fullmatch(content)
            return self.of(content) if is_object else HIDDEN
        return self.of(content)

    def _clean(self, text: str, hide: Callable[[re.Match[str]], str]) -> str:
        if self._own_secrets:
            text = self._own_secrets.sub(HIDDEN, text)
        if len(text) < SHORTEST:
            return text
        lower = text.lower()
        is_word = not SEPARATES.search(text)  # a name, an id, a path: nothing in it can be a name and its value
        for shape in BY_FORM if is_word else SHAPES:
            for hint in shape.hints:
                if hint in lower:
                    text = shape.pattern.sub(hide, text)
                    break
        return hide_random(text if is_word else hide_named(hide_key_ends(text), hide))


class RedactingFormatter(logging.Formatter):
    """Formats log lines and stack traces without secrets."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and below it the stack trace, indented: no text can look like another line of the log."""
        lines = self._redaction.text(super().format(record)).splitlines()
        if not record.exc_info:
            return "\\n".join(lines)[:LONGEST_LINE]
        return "\n    ".join(line[:LONGEST_LINE] for line in lines)


def log_without_secrets(redaction: Redaction, stream: TextIO | None = None) -> None:
    """Write every log line of this process, redacted, to `stream` (default: standard error)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(redaction))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    dbos = logging.getLogger("dbos")
    dbos.handlers[:], dbos.propagate = [handler], False  # else DBOS installs an unredacted handler


@lru_cache(WORDS_REMEMBERED)
def _is_secret_name(name: str) -> bool:
    return NAMED.search(name) is not None


def _are_lines(value: list[Any] | tuple[Any, ...]) -> bool:
    return len(value) > 1 and all(type(item) is str for item in value)


def _hide(match: re.Match[str]) -> str:
    kept = match.groupdict()
    return f"{kept.get('keep') or ''}{HIDDEN}{kept.get('keep2') or ''}"


def _hide_by_line(match: re.Match[str]) -> str:
    """Replace each line of a secret by itself, so that the number of lines stays."""
    kept = match.groupdict()
    before, after = kept.get("keep") or "", kept.get("keep2") or ""
    whole = match[0]
    middle = whole[len(before) : len(whole) - len(after)]
    return before + "\n".join(HIDDEN if line.strip() else line for line in middle.split("\n")) + after
