"""Matchers: which alerts a silence or a filter is about."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.alertmanager.alerts import Labels

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TEXT = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!=|!~|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"\s][^"]*?))?\s*', re.DOTALL)


@dataclass(frozen=True)
class Matcher:
    """One matcher; the value may be an expression that must match the label whole. ValueError when it is none."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def __post_init__(self) -> None:
        if not LABEL_NAME.fullmatch(self.name):
            raise ValueError(f'invalid label name "{self.name}"')
        if self.is_regex:
            try:
                re.compile(self.value)
            except re.error as error:
                raise ValueError(f"bad expression {self.value}: {error}") from None

    def fits(self, labels: Labels) -> bool:
        own = labels.get(self.name, "")
        same = re.fullmatch(self.value, own) is not None if self.is_regex else own == self.value
        return same == self.is_equal


def fit(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether all matchers fit the labels."""
    return all(matcher.fits(labels) for matcher in matchers)


def matcher(text: str) -> Matcher:
    """A matcher as a filter has it: `service="xr-engine"`, `pod=~"xr-.*"`. ValueError when it is none."""
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"bad matcher format: {text}")
    name, operator, quoted, bare = found.groups()
    value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else (bare or "")
    return Matcher(name, value, is_regex="~" in operator, is_equal=operator[0] == "=")
