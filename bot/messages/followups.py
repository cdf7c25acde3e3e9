"""Messages about follow-ups: the issue's text, reminders, and failures to create the issue."""

from __future__ import annotations

from datetime import date

from bot.codeowners import Assignee
from bot.domain.followup import FollowUp
from bot.domain.incident import Incident
from bot.messages.markdown import markdown
from bot.messages.message import Message
from bot.messages.translations import Translations
from bot.team import TeamFile


def issue_body(
    followup: FollowUp, incident: Incident, team: TeamFile, words: Translations, who: Assignee, *, link: str | None
) -> str:
    """Return the issue's text in Markdown. `link` leads to the incident's report or channel in Slack."""
    return markdown(words).write(
        "followup",
        followup=followup,
        incident=incident,
        names={person.slack: person.name for person in team.people},
        link=link,
        who=who,
        unknown=words.label("unknown"),
    )


def opened(followup: FollowUp, words: Translations) -> Message:
    """Return the reply to the person who opened it."""
    return Message.of(words.render_block("followup", "opened", followup=followup, owner=followup.owner))


def reminder(followup: FollowUp, incident: Incident, team: TeamFile, words: Translations, *, today: date) -> Message:
    """Remind the owner of a follow-up that is not done."""
    group = team.teams.get(followup.owner or "")
    late = (today - followup.due).days if followup.due else 0
    return Message.of(
        words.render_block(
            "followup",
            "reminder",
            followup=followup,
            incident=incident,
            usergroup=group.usergroup if group else None,
            due=words.format_time_plain(followup.due) if followup.due else None,
            late=late,
        )
    )


def filing_failed(followup: FollowUp, why: str, words: Translations, *, waiting: bool) -> Message:
    """Report that the issue was not created: it is retried while `waiting`, otherwise GitHub refused it."""
    return Message.of(words.render_block("followup", "waiting" if waiting else "refused", followup=followup, why=why))
