"""The texts of one language: Jinja2 templates and labels. Facts are escaped for Slack's mrkdwn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from babel.dates import format_date, format_datetime
from jinja2 import (
    BaseLoader,
    ChainableUndefined,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
)

from bot.domain.errors import BadInput, BotError
from bot.domain.nearest import nearest
from bot.domain.people import BOT, Person
from bot.domain.translated import in_language
from bot.shipped import TEMPLATES, languages
from bot.team import TeamFile
from bot.yaml_text import NotYaml, load, parse

LABELS_FILE, ACTIONS_FILE = "labels.yaml", "actions.yaml"


class Mrkdwn(str):
    """Markup that must not be escaped. Only the filters below create it."""

    __slots__ = ()


def escape(value: object) -> str:
    """Escape the three special characters of mrkdwn, so that people's text cannot mention anybody."""
    if isinstance(value, Mrkdwn):
        return value
    return str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class RenderedMessage(Mapping[str, str]):
    """The blocks of a message template, each rendered on access, so that only its own facts are needed."""

    def __init__(self, template: Template, facts: Mapping[str, Any]) -> None:
        self._template = template
        self._facts = dict(facts)

    def __getitem__(self, part: str) -> str:
        return "".join(self._template.blocks[part](self._template.new_context(self._facts))).strip()

    def __iter__(self) -> Iterator[str]:
        return iter(self._template.blocks)

    def __len__(self) -> int:
        return len(self._template.blocks)


DAYS_FROM_SECONDS = 48 * 3600
EXAMPLE_SERVICES = {"xr-engine", "tamv-core"}
_SERVICE_OF_EXAMPLES = re.compile(r"\b(?:xr-engine|tamv-core)\b")


IN_TERMINAL = {  # the slash commands that `tamv-bot` has under the same name, and what may follow there
    "incident": r"(?= (?:list|report)\b)",
    "runbook": r"(?= (?:list|show|run|status|cancel|undo)\b)",
    "ops": r"(?![\w-]| (?:freeze|thaw)\b)",
}


class CommandNames:
    """The team's names of the slash commands, by the product's: `incident` → `acme-incident`.

    `service` is the team's own, for examples; None for the team that the examples are of. `bot` is the bot's name.
    Compared by value: equal names share their compiled templates.
    """

    def __init__(self, names: Mapping[str, str], service: str | None = None, bot: str = BOT.name) -> None:
        self._service = service
        self.bot = bot
        self._names = {name: own for name, own in names.items() if name != own}
        self._pattern = re.compile(rf"(?<![\w/.-])/({'|'.join(self._names)})(?![\w/-])") if self._names else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CommandNames) and self._value() == other._value()

    def __hash__(self) -> int:
        return hash(self._value())

    def _value(self) -> tuple[object, ...]:
        return (tuple(sorted(self._names.items())), self._service, self.bot)

    def rename(self, text: str) -> str:
        """Replace `/incident` by the team's name wherever it is a command, and not a part of a path."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: f"/{self._names[match[1]]}", text)

    def in_terminal(self, text: str) -> str:
        """Replace each slash command that a terminal has, too: `/ops pods` by `tamv-bot ops pods`."""
        for command, verbs in IN_TERMINAL.items():
            name = re.escape(self._names.get(command, command))
            text = re.sub(rf"(?<![\w/.-])/{name}{verbs}", f"tamv-bot {command}", text)
        return text

    def example(self, text: str) -> str:
        """Return an example with a service of the team."""
        return _SERVICE_OF_EXAMPLES.sub(self._service, text) if self._service else text


SHIPPED_NAMES = CommandNames({})


class NamingLoader(FileSystemLoader):
    """Loads templates with the names of the team's commands."""

    def __init__(self, folders: Sequence[Path], names: CommandNames) -> None:
        super().__init__(folders)
        self._names = names

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, up_to_date = super().get_source(environment, template)
        return self._names.rename(source), path, up_to_date


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {**below}
    for key, value in above.items():
        both[key] = _merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


class Translations:
    """The texts of one language: `render` messages, look up a `label`, describe an `error`."""

    def __init__(self, locale: str, root: Path = TEMPLATES, names: CommandNames = SHIPPED_NAMES) -> None:
        self.locale = locale
        self.names = names
        self._folders = [folder for folder in (root / locale, TEMPLATES / locale) if folder.is_dir()]
        self._labels: Mapping[str, Any] = self._read(LABELS_FILE)
        self._actions: Mapping[str, str] = self._read(ACTIONS_FILE)
        self._environment = Environment(  # noqa: S701 - not HTML; `finalize` escapes for Slack
            loader=self.loader(),
            undefined=StrictUndefined,
            finalize=escape,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "mention": self.mention,
            "channel": lambda id: Mrkdwn(f"<#{id}>"),
            "usergroup": lambda id: Mrkdwn(f"<!subteam^{id}>"),
            "link": link,
            "when": self.format_time,
            "duration": format_duration,
            "quote": quote,
            "join": join,
            "markup": Mrkdwn,  # for text rendered by another template
            "label": self.label,
            "counted": counted,
        }
        self._pattern = cache(self._environment.from_string)
        self._lenient_pattern = cache(self._environment.overlay(undefined=ChainableUndefined).from_string)

    def loader(self) -> BaseLoader:
        """Return the loader of the templates, a team's before the product's, with the names of the team's commands."""
        return NamingLoader(list(dict.fromkeys(self._folders)), self.names)

    def _read(self, name: str) -> dict[str, Any]:
        """Read a YAML file of labels: a team's over the product's."""
        texts: dict[str, Any] = {}
        for folder in reversed(self._folders):
            if (path := folder / name).is_file():
                texts = _merged(texts, load(self.names.rename(path.read_text(encoding="utf-8"))) or {})
        return texts

    def wrong(self, name: str, text: str) -> Iterator[tuple[str, str]]:
        """Yield place and mistake of a text that would take the place of the file `name` of these."""
        try:
            if name == ACTIONS_FILE:
                texts = parse(text).values
                if not isinstance(texts, dict) or not all(isinstance(one, str) for one in texts.values()):
                    yield "1:1", "must be a mapping of actions to texts"
            elif name == LABELS_FILE:
                shipped = load((TEMPLATES / self.locale / name).read_text("utf-8"))
                yield from self._wrong_labels(shipped, parse(text).values)
            else:
                blocks, own = (set(template.blocks) for template in (
                    self._environment.get_template(name), self._environment.from_string(text)))  # fmt: skip
                yield from (("1:1", f"the block `{block}` is missing") for block in sorted(blocks - own))
        except NotYaml as problem:
            yield from ((f"{line}:{column}", what) for line, column, what in problem.mistakes)
        except TemplateSyntaxError as problem:
            yield f"{problem.lineno}:1", f"is no valid template: {problem.message}"

    def _wrong_labels(self, shipped: Any, own: Any, place: str = "") -> Iterator[tuple[str, str]]:
        if isinstance(shipped, dict) and isinstance(own, dict):
            for key, value in own.items():
                path = f"{place}.{key}".removeprefix(".")
                if key in shipped:
                    yield from self._wrong_labels(shipped[key], value, path)
                else:
                    near = nearest(str(key), [str(one) for one in shipped])
                    yield "1:1", f"{path}: no such text" + (f"; did you mean `{near}`?" if near else "")
        elif type(shipped) is not type(own):
            yield "1:1", f"{place or 'the file'}: must be {'a mapping' if isinstance(shipped, dict) else 'a text'}"
        elif isinstance(own, str):
            try:
                self._environment.from_string(own)
            except TemplateSyntaxError as problem:
                yield "1:1", f"{place}: is no valid template: {problem.message}"

    def messages(self) -> list[str]:
        """Return the names of all message templates; rendering one compiles it."""
        return [Path(name).stem for name in self._environment.list_templates() if name.startswith("messages/")]

    def render(self, name: str, /, **facts: Any) -> RenderedMessage:
        """Return the blocks of `messages/<name>.j2` by name, stripped."""
        template = self._environment.get_template(f"messages/{name}.j2")
        return RenderedMessage(template, facts)

    def render_block(self, name: str, part: str, /, **facts: Any) -> str:
        """Render one block of a message, stripped."""
        template = self._environment.get_template(f"messages/{name}.j2")
        return "".join(template.blocks[part](template.new_context(facts))).strip()

    def mention(self, person: Person | str | None) -> str:
        """Return a mention, and the bot by the name that the team has given it."""
        is_bot = isinstance(person, Person) and person.id == BOT.id
        return self.names.bot if is_bot else mention(person)

    def pick(self, translated: Mapping[Any, str]) -> str:
        """Return a text of the team in this language, or in any."""
        return in_language(translated, self.locale)

    def label(self, key: str, **facts: Any) -> str:
        """Return a label by its dotted key (`buttons.acknowledge`), filled with `facts`. Raises KeyError."""
        value: Any = self._labels
        for step in key.split("."):
            value = value[step]
        if not facts:
            return str(value)
        return self._pattern(str(value)).render(facts)

    def action(self, name: str, summary: str) -> str:
        """Return an action's description; its English `summary` if this language has none."""
        return self._actions.get(name, summary)

    def example(self, text: str) -> str:
        """Return an example of the code in this language, with the team's names."""
        renamed = self.names.rename(text)  # as the labels are when they are read
        return self.names.example(self._labels["examples"].get(renamed, renamed))

    def error(self, problem: BotError) -> str:
        """Describe an error for people: what happened, what it means, what to do next."""
        errors = self._labels["errors"]
        pattern = self._lenient_pattern(errors.get(problem.key) or errors["unknown"])
        facts: dict[str, Any] = {**problem.facts}
        if isinstance(facts.get("example"), str):
            facts["example"] = self.example(facts["example"])
        for name in ("command", "usage"):
            if name in facts:
                facts[name] = self.names.rename(str(facts[name]))
        return pattern.render(key=problem.key, **{"facts": facts} | facts).strip()

    def format_time(self, moment: datetime | None, style: str = "time") -> str:
        """Return a time that Slack shows in each reader's time zone, with UTC as the fallback."""
        if moment is None:
            return self.label("unknown")
        shown = {"time": "{time}", "date": "{date_short_pretty} {time}", "day": "{date_long}"}[style]
        return Mrkdwn(f"<!date^{int(moment.timestamp())}^{shown}|{moment:%Y-%m-%d %H:%M} UTC>")

    def format_time_plain(self, moment: datetime | date) -> str:
        """Return a time or a date as plain text, for reports."""
        if isinstance(moment, datetime):
            return format_datetime(moment, "d MMM yyyy HH:mm:ss", locale=self.locale) + " UTC"
        return format_date(moment, "d MMM yyyy", locale=self.locale)


def join(items: Iterable[object], separator: str = "") -> str:
    """Join texts, each escaped once: the built-in filter forgets which of them are markup."""
    return Mrkdwn(separator.join(escape(item) for item in items))


def mention(person: Person | str | None) -> str:
    """Return a Slack mention of a user id, with the terminal they act from; for anybody else the name, without a
    mention.
    """
    if person is None:
        return "—"
    if isinstance(person, str):
        person = Person(person, person.partition(":")[2] or person)
    if not person.in_slack:
        return person.name or person.id
    return Mrkdwn(f"<@{person.id}>{escape(f' (terminal: {person.terminal})') if person.terminal else ''}")


def link(url: str | None, text: object) -> str:
    """Return a link in mrkdwn, or only the text without a URL."""
    if not url or not re.match(r"https?://", url):
        return str(text)
    return Mrkdwn(f"<{escape(url).replace('|', '%7C')}|{escape(text).replace('|', '¦')}>")


def format_duration(span: timedelta | float | None, target: timedelta | None = None) -> str:
    """Return `45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`: the two largest units, the same in all languages.

    What is a little longer than its target is told to the second, so that it does not read as the target itself.
    """
    if span is None:
        return "—"
    seconds = round(span.total_seconds() if isinstance(span, timedelta) else span)
    limit = round(target.total_seconds()) if target else seconds
    if limit < seconds < DAYS_FROM_SECONDS and (short := format_duration(seconds)) == format_duration(limit):
        return f"{short} {seconds % 60:02d} s"
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min" if minutes >= 10 or not seconds else f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < DAYS_FROM_SECONDS // 3600:
        return f"{hours} h {minutes:02d} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def counted(number: int, one: str, several: str) -> str:
    """Return `1 approval`, `2 approvals`: the words of a language for one and for several (and none)."""
    return f"{number} {one if number == 1 else several}"


def quote(text: object) -> str:
    """Return text as a mrkdwn quotation, every line of it."""
    return Mrkdwn("\n".join(f"> {escape(line)}" for line in str(text).splitlines() or [""]))


@lru_cache(maxsize=16)
def load_translations(
    root: Path = TEMPLATES, names: CommandNames = SHIPPED_NAMES, only: tuple[str, ...] = ()
) -> dict[str, Translations]:
    """Return all languages (or `only` these) by name, read once; `root` may override texts of the product.

    A language is a folder with `labels.yaml`, `messages/` and `reports/`.
    """
    return {locale: Translations(locale, root, names) for locale in languages() if not only or locale in only}


def translations_of(team: TeamFile, locale: str) -> dict[str, Translations]:
    """Return the texts of a team: its own templates and command names, in its languages and in that of its channels.

    Raises BadInput with a line for each mistake in its templates.
    """
    if lines := list(_wrong_texts(team.path("templates"))):
        raise BadInput("team_file_wrong", path=str(team.path("templates")), lines=lines)
    own = team.default_service or next(iter(team.services), None)
    service = None if EXAMPLE_SERVICES & team.services.keys() else own
    names = CommandNames(team.commands.names(), service, team.app.bot)
    return load_translations(team.path("templates"), names, tuple({locale, *team.languages}) if team.languages else ())


def _wrong_texts(folder: Path) -> Iterator[str]:
    """Yield a line for each mistake in a team's own texts, which would otherwise show in the middle of an incident."""
    known = [path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*") if path.is_file()]
    known += [f"{language}/{ACTIONS_FILE}" for language in languages()]  # English ones stand in the code
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".") or "/." in name:  # such as `..data`, by which a ConfigMap is mounted
            continue
        if name not in known:
            near = nearest(name, known)
            yield f"{path}:1:1: no text of the product is called so" + (f"; did you mean `{near}`?" if near else "")
            continue
        shipped = load_translations()[name.partition("/")[0]]
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            yield f"{path}:1:1: cannot be read as UTF-8"
            continue
        yield from (f"{path}:{line}: {what}" for line, what in shipped.wrong(name.partition("/")[2], text))
