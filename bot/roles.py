"""Who has a role by a Slack user group: its members, kept fresh."""

from __future__ import annotations

import logging

from bot.deps import Deps
from bot.domain.errors import BotError

log = logging.getLogger(__name__)


async def refresh_roles(deps: Deps) -> None:
    """Ask Slack for the members of the user groups that give a role; the integration caches them for ten minutes.

    While Slack does not answer, the members that were known keep their roles.
    """
    members: dict[str, frozenset[str]] = {}
    for group in deps.team.role_groups:
        try:
            members[group] = frozenset(await deps.slack.usergroup_members(group))
        except BotError as problem:
            log.warning("the members of the user group %s are not known: %s", group, problem)
    if current := {group: people for group, people in members.items() if people}:
        deps.use_team(deps.team.with_members(current))
