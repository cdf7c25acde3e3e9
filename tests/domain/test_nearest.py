"""What somebody probably meant; nothing is suggested that is only a little like it."""

from __future__ import annotations

import pytest

from bot.domain.nearest import nearest

TEAMS = ["SRETeam", "DevTeam", "AITeam", "InfraTeam", "SecurityTeam", "DevOpsTeam"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("SRETaem", "SRETeam"),
        ("sre", "SRETeam"),
        ("ai", "AITeam"),
        ("sec", "SecurityTeam"),
        ("SecurityTeams", "SecurityTeam"),
        ("infrateam-oncall", "InfraTeam"),
        ("dev", "DevTeam"),
        ("seguridad", "SecurityTeam"),
        ("nadie", None),
        ("@nadie", None),
        ("zzz", None),
        ("", None),
    ],
)
def test_a_word_is_taken_for_what_it_is_most_like(typed: str, meant: str | None) -> None:
    assert nearest(typed, TEAMS) == meant


def test_of_nothing_nothing_is_near() -> None:
    assert nearest("sre", []) is None
