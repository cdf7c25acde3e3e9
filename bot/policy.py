"""The team's policy as the file says it → the rules as the domain judges by them."""

from __future__ import annotations

from bot.domain.policy import Policy, Rule, Window
from bot.team import TeamFile


def policy_of(team: TeamFile) -> Policy:
    """The rules of the team's file, with the roles of its people."""
    written = team.policy
    roles = {role for person in team.people for role in person.roles}
    return Policy(
        roles={role: frozenset(owner.slack for owner in team.people if role in owner.roles) for role in roles},
        rules=[Rule(rule.action, rule.environment, rule.risk, rule.approvals) for rule in written.rules],
        windows=[Window(window.title, window.begins, window.ends) for window in written.freeze_windows],
        break_glass=frozenset(written.break_glass),
        cool_down=written.cool_down,
        expires=written.approval_expires,
    )
