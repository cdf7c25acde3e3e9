"""Small checks of JSON values that Block Kit's tables are made of; each adds its problems to a list.

The words are those of Slack's `response_metadata.messages`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.slack.state import JSON

Problems = list[str]
Check = Callable[[Any, str, Problems], None]


def report(problems: Problems, what: str, path: str) -> None:
    problems.append(f"[ERROR] {what} [json-pointer:{path}]")


def string(most: int, least: int = 1, pattern: str = "") -> Check:
    """A string of `least` to `most` characters that fits `pattern`."""

    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, str):
            report(problems, "must provide a string", path)
        elif len(value) < least:
            report(problems, f"must be more than {least - 1} characters", path)
        elif len(value) > most:
            report(problems, f"must be less than {most + 1} characters", path)
        elif pattern and not re.fullmatch(pattern, value):
            report(problems, f"must match regexp: {pattern}", path)

    return check


def integer(least: int, most: int) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            report(problems, "must provide an integer", path)
        elif not least <= value <= most:
            report(problems, f"must be between {least} and {most}", path)

    return check


def boolean(value: Any, path: str, problems: Problems) -> None:
    if not isinstance(value, bool):
        report(problems, "must be a boolean", path)


def anything(_value: Any, _path: str, _problems: Problems) -> None:
    """For keys that are only known, not looked into."""


def choice(*values: str) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if value not in values:
            report(problems, f"must be one of: {', '.join(values)}", path)

    return check


def array(item: Check, least: int, most: int) -> Check:
    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, list):
            report(problems, "must provide an array", path)
            return
        if len(value) < least:
            report(problems, f"no fewer than {least} items allowed", path)
        if len(value) > most:
            report(problems, f"no more than {most} items allowed", path)
        for index, each in enumerate(value):
            item(each, f"{path}/{index}", problems)

    return check


@dataclass(frozen=True)
class Shape:
    """An object: keys it must have, keys it may have, keys of which it must have just one.

    The further rules are asked when all of that is right.
    """

    required: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()
    rules: tuple[Callable[[JSON, str, Problems], None], ...] = ()

    def __call__(self, value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            report(problems, "must provide an object", path)
            return
        known = {**self.required, **self.optional}
        before = len(problems)
        for key in self.required:
            if value.get(key) is None:
                report(problems, f"missing required field: {key}", path)
        for key, each in value.items():
            if key not in known:
                report(problems, f"invalid additional property: {key}", path)
            elif each is not None:
                known[key](each, f"{path}/{key}", problems)
        if self.one_of and sum(value.get(key) is not None for key in self.one_of) != 1:
            report(problems, f"must provide just one of: {', '.join(self.one_of)}", path)
        if len(problems) == before:
            for rule in self.rules:
                rule(value, path, problems)


def typed(shapes: Mapping[str, Shape], *types: str) -> Check:
    """An object whose `type` says which of the shapes it has; only `types` are allowed here (all, when none)."""

    def check(value: Any, path: str, problems: Problems) -> None:
        if not isinstance(value, dict):
            report(problems, "must provide an object", path)
            return
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in shapes or (types and kind not in types):
            report(problems, f"unsupported type: {kind}", f"{path}/type")
            return
        shapes[kind](value, path, problems)

    return check
