"""Turn a typed function into a command verb: its help, and its arguments parsed from what a person typed.

The grammar is the same for all commands: `/command verb [words] [key=value …]`, quotes as in a shell. Parameters before
the `*` of the signature may be given by position or by name, those after it by name only. A parameter of type `Rest`
takes all remaining words.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from string import ascii_lowercase
from types import MappingProxyType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from unicodedata import category, normalize

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticKnownError

from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.domain.runbook import NUMBER, WHOLE_NUMBER
from bot.expected import expectation


class _RestMark: ...


class _MentionMark: ...


Rest = Annotated[str, _RestMark()]
"""All remaining words, as typed."""

NOTHING: Mapping[str, bool] = MappingProxyType({})
INCIDENT: Mapping[str, bool] = MappingProxyType({"incident": True})

Mention = Annotated[str, _MentionMark()]
"""A Slack user id, typed as @person."""

KUBECTL = {"n": "namespace", "c": "container"}  # its short options

_SMART = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'"})
_DASHES = re.compile(r"(?<!\S)[—–](?=\w)")
_NUMBERS: Mapping[Any, tuple[re.Pattern[str], Literal["int_parsing", "float_parsing"]]] = {
    int: (WHOLE_NUMBER, "int_parsing"),
    float: (NUMBER, "float_parsing"),
}
_DASHED = re.compile(r"-[a-z]")
_VALUE = r"""(?:"[^"]*"|'[^']*'|<[@\#!][^<>]*>|\S*)"""
_USER = re.compile(r"<@([UW][A-Z0-9]+)(?:\|([^<>]*))?>")
_REFERENCE = re.compile(r"<(?:[@#]|!subteam\^)([A-Z0-9]+)(?:\|[^<>]*)?>|<(?:mailto|tel):[^<>|]+\|([^<>]+)>")
_ENTITY = re.compile(r"<(?:([@#!])([^|<>]+)(?:\|([^<>]*))?|([a-zA-Z][a-zA-Z0-9+.-]*:[^|<>\s]+)(?:\|([^<>]*))?)>")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What was typed after the verb: words in order, `key=value` pairs with `--flags`, and the `raw` text."""

    words: tuple[str, ...]
    options: Mapping[str, str]
    raw: str

    def option(self, name: str) -> str | None:
        """Return the value of an option whose key may be typed in any case."""
        return next((value for key, value in self.options.items() if _plain(key) == name), None)

    def without(self, *names: str) -> dict[str, str]:
        """Return the other options, with their keys as typed."""
        return {key: value for key, value in self.options.items() if _plain(key) not in names}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function, as a person sees it in the help."""

    name: str
    adapter: TypeAdapter[Any]
    required: bool
    positional: bool
    rest: bool
    mention: bool
    flag: bool
    text: bool
    choices: tuple[str, ...]

    @property
    def usage(self) -> str:
        shown = "|".join(self.choices) if 0 < len(self.choices) <= 6 else self.name
        if self.flag:
            return f"[--{self.name.replace('_', '-')}]"
        if self.positional:
            shown = f"@{self.name}" if self.mention else shown
            return shown if self.required else f"[{shown}]"
        shown = shown if self.choices else "…"
        return f"{self.name}={shown}" if self.required else f"[{self.name}={shown}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """A function as a verb of a command: its name, its parameters and an example."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    example: str

    @classmethod
    def of(cls, function: Callable[..., Any], *, example: str, skip: int = 1) -> Signature:
        """Build the signature of `function` without its first `skip` parameters (the context)."""
        hints = get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[skip:]
        return cls(
            function.__name__.removesuffix("_").replace("_", "-"),
            function,
            tuple(_parameter(parameter, hints[parameter.name]) for parameter in parameters),
            example,
        )

    def usage(self, command: str) -> str:
        """Return the usage line: `/incident severity SEV1|SEV2|SEV3|SEV4`."""
        return " ".join([self._prefix(command), *(parameter.usage for parameter in self.parameters)])

    def _prefix(self, command: str) -> str:
        """Return `/incident severity`, or only `/page` when the verb is named like its command."""
        return command if command == f"/{self.name}" else f"{command} {self.name}"

    @property
    def takes_text(self) -> bool:
        return any(parameter.rest for parameter in self.parameters)

    def split(self, text: str, general: Mapping[str, bool] = INCIDENT) -> Tokens:
        """Split the text after this verb. `general`: the options that the command takes, and whether with a value."""
        if len(self.parameters) == 1 and self.parameters[0].rest:
            return tokenize(text)
        names = {_plain(parameter.name): not parameter.flag for parameter in self.parameters}
        return tokenize(text, {**names, **general}, has_text=self.takes_text)

    def read(self, typed: Tokens, command: str, general: Sequence[str] = ()) -> dict[str, Any]:
        """Parse the function's arguments. Raises BadInput with the mistake, the nearest valid name and an example.

        `general` are the options that the command itself takes, whatever the function.
        """
        usage, example = self._prefix(command), self.example
        by_name = {_plain(parameter.name): parameter for parameter in self.parameters}
        if len(self.parameters) == 1 and self.parameters[0].rest:
            values = {self.parameters[0].name: unescape_slack(typed.raw)} if typed.raw else {}
        else:
            values = self._by_position(typed, self.usage(command), example)
            for option, value in typed.options.items():
                parameter = by_name.get(_plain(option))
                if parameter is None:
                    known = [*by_name, *general]
                    near = nearest(option, known)
                    raise BadInput(
                        "unknown_option", usage=usage, option=option, nearest=near, known=known, example=example
                    )
                values[parameter.name] = value
        return {
            parameter.name: self._value(parameter, values[parameter.name], usage, example)
            for parameter in self.parameters
            if parameter.name in values or self._require(parameter, command, example)
        }

    def _by_position(self, typed: Tokens, usage: str, example: str) -> dict[str, str]:
        values: dict[str, str] = {}
        words = list(typed.words)
        named = {option.lower().replace("-", "_") for option in typed.options}
        for parameter in self.parameters:
            if not parameter.positional or not words or parameter.name in named:
                continue
            values[parameter.name] = " ".join(words) if parameter.rest else words[0]
            del words[: len(words) if parameter.rest else 1]
        if words:
            raise BadInput("too_many_words", word=unescape_slack(words[0]), usage=usage, example=example)
        return values

    def _require(self, parameter: Parameter, command: str, example: str) -> bool:
        if parameter.required:
            raise BadInput("argument_missing", argument=parameter.name, usage=self.usage(command), example=example)
        return False

    def _value(self, parameter: Parameter, value: str, usage: str, example: str) -> Any:
        if parameter.mention:
            mentioned = _USER.search(value)
            if not mentioned:
                facts = {"argument": parameter.name, "value": unescape_slack(value), "expected": "@", "nearest": None}
                raise BadInput("bad_value", usage=usage, example=example, **facts)
            return mentioned[1]
        value = unescape_slack(value) if parameter.rest else read_reference(value)
        if not parameter.text:  # a number, a time, one of a few words: what a phone's keyboard makes of it is the same
            value = "".join(char for char in normalize("NFKC", value) if category(char) != "Cf").strip()
        try:
            return parameter.adapter.validate_python(_chosen(value, parameter.choices))
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            raise BadInput(
                "bad_value",
                argument=parameter.name,
                value=value,
                expected=" | ".join(parameter.choices),
                nearest=nearest(value, parameter.choices),
                usage=usage,
                example=example,
                **expectation(first),
            ) from None


def tokenize(text: str, names: Mapping[str, bool] = NOTHING, *, has_text: bool = True) -> Tokens:
    """Split the text after a verb. Smart quotes and long dashes, as phones type them, become plain ones first.

    Of the options with these `names`, which a verb has, `sev = SEV1`, `sev:SEV1` and `--sev=SEV1` are `sev=SEV1`, too:
    a severity that is taken for a part of the title wakes nobody. So are `--sev SEV1`, and `-n tamv-prod` as kubectl
    has it, of those whose name says that a value follows (a flag has none). Where the line `has_text`, a word with one
    dash is a part of it, else an option.
    """
    text = _DASHES.sub("--", text.translate(_SMART)).strip()
    words: list[str] = []
    options: dict[str, str] = {}
    valued = tuple(name for name, has_value in names.items() if has_value)
    shorts = {} if has_text else {short: name for short, name in KUBECTL.items() if name in valued}
    for token in _pattern(tuple(names), valued, tuple(shorts)).finditer(text):
        word = token["word"] or ""
        if key := token["known"] or token["key"]:
            options[key] = _unquoted(token["value"])
        elif key := token["spaced"] or shorts.get(token["short"]):
            options[key] = _unquoted(token["after"])
        elif token["quoted"]:
            words.append(_unquoted(token["quoted"]))
        elif len(word) > 2 and word.startswith("--"):
            options[word[2:]] = "true"
        elif _DASHED.match(word) and not has_text:
            options[word[1:]] = "true"
        else:
            words.append(word)
    return Tokens(tuple(words), options, text)


@lru_cache
def _pattern(names: tuple[str, ...], valued: tuple[str, ...], shorts: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of a token of a line in which options with these names may be."""
    known, spaced = _any_of(names), _any_of(valued)
    return re.compile(
        rf"""(?:--?)?(?: (?P<known>{known})(?:\s*=\s*(?![\w-]+=)|:(?=\S)) | (?P<key>[\w-]*\w)= )(?P<value>{_VALUE})
        | -(?: -(?P<spaced>{spaced}) | (?P<short>{_any_of(shorts)}) )\s+(?P<after>(?!-){_VALUE})
        | (?P<quoted>"[^"]*"|'[^']*') | (?P<word><[@\#!][^<>]*>|\S+)""",
        re.VERBOSE | re.IGNORECASE,
    )


def _plain(name: str) -> str:
    """Return the name of an option as it is compared: `Dry_Run` is `dry-run`."""
    return name.lower().replace("_", "-")


def _any_of(names: Sequence[str]) -> str:
    return "|".join(re.escape(name).replace(r"\-", "[-_]") for name in names) or "(?!)"


def read_reference(text: str) -> str:
    """Return a single value: a mention's id, as names change and are not unique; other text as `unescape_slack`."""
    mentioned = _REFERENCE.fullmatch(text.strip())
    return mentioned[1] or mentioned[2] if mentioned else unescape_slack(text)


def unescape_slack(text: str) -> str:
    """Return text as the person saw it: Slack's mentions, links and escapes turned back into plain text."""

    def shown(entity: re.Match[str]) -> str:
        sigil, id, name, url, label = entity.groups()
        if sigil == "@" or sigil == "!":
            return f"@{(name or id).removeprefix('@')}"
        if sigil == "#":
            return f"#{name or id}"
        return label or url

    return _ENTITY.sub(shown, text).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] in "\"'" and text[-1] == text[0] else text


def _chosen(value: str, choices: Sequence[str]) -> str:
    """Return the one of the choices that was meant: case and punctuation do not count, nor what all but one lack.

    `sev-2`, `SEV2.` and `2` are SEV2.
    """
    typed = _letters(value)
    same = [choice for choice in choices if _letters(choice) == typed]
    if not same and typed.isdecimal():
        same = [choice for choice in choices if _letters(choice).lstrip(ascii_lowercase) == typed]
    return same[0] if len(same) == 1 else value


def _letters(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    marks = [mark for part in [hint, *get_args(hint)] for mark in getattr(part, "__metadata__", ())]
    plain = _without_none(hint)
    return Parameter(
        name=parameter.name,
        adapter=TypeAdapter(_from_text(plain)),
        required=parameter.default is inspect.Parameter.empty,
        positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
        rest=any(isinstance(mark, _RestMark) for mark in marks),
        mention=any(isinstance(mark, _MentionMark) for mark in marks),
        flag=plain is bool,
        text=getattr(plain, "__origin__", plain) is str,
        choices=_choices(plain),
    )


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _from_text(hint: Any) -> Any:
    """Return the type in a form that also accepts text for the values of a Literal, and of numbers plain ones only."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if kind in _NUMBERS:
        return Annotated[hint, BeforeValidator(_plain_number(*_NUMBERS[kind]))]
    if get_origin(hint) is not Literal:
        return hint
    values = {str(value): value for value in get_args(hint)}
    return Annotated[hint, BeforeValidator(lambda given: values.get(given, given))]


def _plain_number(form: re.Pattern[str], error: Literal["int_parsing", "float_parsing"]) -> Callable[[Any], Any]:
    def check(given: Any) -> Any:
        if isinstance(given, str) and not form.fullmatch(given):
            raise PydanticKnownError(error)
        return given

    return check


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(str(value) for value in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple(str(member.value) for member in hint)
    return ()
