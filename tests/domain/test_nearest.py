"""What somebody probably meant; nothing is suggested that is only a little like it."""

from __future__ import annotations

import pytest

from bot.domain.errors import BadInput
from bot.domain.nearest import known_service, nearest

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


@pytest.mark.parametrize(("typed", "meant"), [("xr-engine", "xr-engine"), ("XR-Engine", "xr-engine"), ("Core", "Core")])
def test_a_service_is_known_in_any_case(typed: str, meant: str) -> None:
    assert known_service(typed, ["xr-engine", "Core", "core"]) == meant


@pytest.mark.parametrize("typed", ["xr-engin", "CORE"])
def test_a_service_that_is_unknown_or_could_be_two_is_refused(typed: str) -> None:
    with pytest.raises(BadInput):
        known_service(typed, ["xr-engine", "Core", "core"])
