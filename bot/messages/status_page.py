"""The public status page as HTML: no script, no login, nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from babel.dates import format_datetime
from jinja2 import Environment, FileSystemLoader

from bot.domain.status_page import StatusPage
from bot.messages.translations import Translations
from bot.shipped import TEMPLATES
from bot.team import TeamFile


def status_page_html(
    page: StatusPage | None, team: TeamFile, words: Translations, *, now: datetime, languages: Sequence[str]
) -> str:
    """Return the page in the words' language, with links to the other languages; without a page it says so."""

    def when(moment: datetime) -> str:
        local = moment.astimezone(team.zone)
        return format_datetime(local, "d MMM y, HH:mm ZZZZ", tzinfo=team.zone, locale=words.locale)

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("status.html.j2").render(
        page=page,
        title=words.pick(team.status_page.title) if team.status_page.title else team.organisation,
        names={name: words.pick(title) for name, title in team.status_page.components.items()},
        days=team.status_page.days,
        locale=words.locale,
        languages=[language for language in languages if language != words.locale],
        label=lambda key, **facts: words.label(f"status_page.{key}", **facts),
        when=when,
        now=now,
    )
