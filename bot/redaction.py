"""Remove secrets from text before it is stored, posted or logged."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TextIO, TypeVar
from urllib.parse import quote

T = TypeVar("T")

HIDDEN = "***"
SHORTEST = 6  # a shorter setting would match parts of ordinary words

_NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|contraseña|clave|secret|token|credentials?"
    r"|(?:api|access|private|secret|signing|routing|auth)[_-]?key|(?:client|shared)[_-]?secret|secret[_-]?access[_-]?key"
)
_NAMED = re.compile(rf"(?:^|[_.-])(?:{_NAMES})$", re.IGNORECASE)

_HINTS = ("pass", "pwd", "contraseña", "clave", "secret", "token", "credential", "key")

# A match is replaced, except for the text of its groups. For speed a pattern is only tried on a text that contains
# one of its hints (in lower case); most texts contain none.
_PATTERNS = tuple(
    (hints, re.compile(pattern, flags))
    for hints, pattern, flags in (
        (("private key",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        (("eyj",), r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*", 0),  # a JSON web token
        (("xox", "xapp-"), r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{6,}|\bxapp-[\w-]{6,}", 0),  # Slack
        (("gh", "github_pat_"), r"\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}", 0),
        (("akia", "asia", "abia", "acca"), r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", 0),  # an AWS access key
        (("hvs.", "hvb.", "hvr."), r"\bhv[sbr]\.[\w-]{16,}", 0),  # Vault
        (("_live_", "_test_"), r"\b[sr]k_(?:live|test)_\w{10,}", 0),  # Stripe
        (("aiza", "glpat-", "npm_"), r"\bAIza[\w-]{35}|\bglpat-[\w-]{16,}|\bnpm_\w{30,}", 0),
        (("hooks.slack.com",), r"(https://hooks\.slack\.com/\w+/)[\w/]+", 0),
        (("://",), r"(://[^\s:/@]{0,200}:)[^\s/@]{1,500}(@)", 0),  # a URL with a password
        (("bearer", "basic"), r"(\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
        (
            _HINTS,
            rf"((?<![A-Za-z])(?:{_NAMES})[\"']?\s*=\s*)(?:\"[^\"]+\"|'[^']+'|[^\s\"',;&|]+)",
            re.IGNORECASE,
        ),
        (  # Prose often follows a colon: only a value with a digit and without a space is a secret.
            _HINTS,
            rf"((?<![A-Za-z])(?:{_NAMES})[\"']?\s*:\s*[\"']?)(?=[^\s\"']{{0,200}}\d)[^\s\"',;&|]{{6,}}",
            re.IGNORECASE,
        ),
    )
)


class Redaction:
    """Replaces everything that looks like a secret, and the secrets of this process's own settings."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in (secret, quote(secret, safe=""))}
        longest_first = sorted(forms, key=len, reverse=True)
        self._own_secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        """Return the text with each secret replaced by `***`."""
        if self._own_secrets:
            text = self._own_secrets.sub(HIDDEN, text)
        lower = text.lower()
        for hints, pattern in _PATTERNS:
            if any(hint in lower for hint in hints):
                text = pattern.sub(_hide, text)
        return text

    def of(self, value: T) -> T:
        """Return the value with secrets removed from all its strings: JSON, tuples and dataclasses, at any depth."""
        clean: Any = value
        if type(value) is str:
            clean = self.text(str(value))
        elif isinstance(value, Mapping):
            clean = {name: self._entry(name, content) for name, content in value.items()}
        elif type(value) in (list, tuple):
            clean = type(value)(self.of(item) for item in value)  # type: ignore[attr-defined, call-arg]
        elif is_dataclass(value) and not isinstance(value, type):
            clean = replace(value, **{field.name: self.of(getattr(value, field.name)) for field in fields(value)})
        return clean  # type: ignore[no-any-return]

    def _entry(self, name: object, content: Any) -> Any:
        if isinstance(name, str) and type(content) is str and content and _NAMED.search(name):
            return HIDDEN
        return self.of(content)


class RedactingFormatter(logging.Formatter):
    """Formats log lines and stack traces without secrets."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        return self._redaction.text(super().format(record))


def log_without_secrets(redaction: Redaction, stream: TextIO | None = None) -> None:
    """Write every log line of this process, redacted, to `stream` (default: standard error)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter(redaction))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    dbos = logging.getLogger("dbos")
    dbos.handlers[:], dbos.propagate = [handler], False  # else DBOS installs an unredacted handler


def _hide(match: re.Match[str]) -> str:
    before, *after = match.groups() or ("",)
    return f"{before}{HIDDEN}{''.join(after)}"
