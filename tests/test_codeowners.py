"""Owners by GitHub's rules, and the ways in which a person names one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.codeowners import Assignee, assignee, default_owner, find_team, owners
from bot.domain.errors import BadInput
from bot.team import TeamFile, load_team

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def team() -> TeamFile:
    return load_team(ROOT / "teams/tamv/team.yaml")


FILE = """
# the whole repository
*            @everybody
*.js         @front end@example.com  # scripts
/build/logs/ @logs
docs/*       @docs
apps/        @apps
/libs/**/api @api
**/secret    @vault
/apps/free
[broken      @nobody
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b/c.rb", ["@everybody"]),
        ("a/b.js", ["@front", "end@example.com"]),
        ("build/logs/2026/a.log", ["@logs"]),
        ("x/build/logs/a.log", ["@everybody"]),
        ("docs/a.md", ["@docs"]),
        ("docs/deep/a.md", ["@everybody"]),
        ("any/apps/x/y.rb", ["@apps"]),
        ("libs/a/b/api", ["@api"]),
        ("libs/api", ["@api"]),
        ("deep/down/secret", ["@vault"]),
        ("apps/free/x", []),
        ("/docs/a.md", ["@docs"]),
    ],
)
def test_the_last_line_that_fits_wins(path: str, expected: list[str]) -> None:
    assert owners(FILE, path) == expected


def test_an_empty_file_owns_nothing() -> None:
    assert owners("", "a") == owners("# nothing\n\n", "a") == []


def test_a_path_is_routed_by_the_file(team: TeamFile) -> None:
    assert default_owner(team, team.codeowners, path="security/rules.yaml") == "SecurityTeam"
    assert default_owner(team, "/charts/* @tamv/DevTeam", path="charts/xr-engine") == "DevTeam"
    assert default_owner(team, "/charts/* @stranger @carla-mendez", path="charts/xr-engine") == "U0CARLA003"


def test_a_service_is_routed_by_its_chart_and_then_by_its_own_team(team: TeamFile) -> None:
    assert default_owner(team, "* @AITeam\n/charts/xr-engine/ @DevTeam", service="xr-engine") == "DevTeam"
    assert default_owner(team, "* @AITeam\n/charts/xr-engine @DevTeam", service="xr-engine") == "DevTeam"
    assert (
        default_owner(team, team.codeowners, service="isabella-ai") == "SRETeam"
    )  # /charts/* comes before its own team
    assert default_owner(team, "", service="isabella-ai") == "AITeam"
    assert default_owner(team, "", path="charts/isabella-ai/values.yaml") == "AITeam"
    assert default_owner(team, "/charts/xr-engine @stranger\n", service="xr-engine") == "SRETeam"


def test_a_label_counts_as_a_folder_only_when_the_file_has_it(team: TeamFile) -> None:
    assert default_owner(team, team.codeowners, labels=["monitoring", "docs"], service="xr-engine") == "ProductTeam"
    assert default_owner(team, "* @ProductTeam", labels=["monitoring"]) == "SRETeam"


def test_what_nobody_owns_goes_to_the_team_of_last_resort(team: TeamFile) -> None:
    assert default_owner(team, "", service=None) == team.followups.owner == "SRETeam"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("SRETeam", "SRETeam"),
        ("@sreteam", "SRETeam"),
        ("tamv/SRETeam", "SRETeam"),
        ("<!subteam^S0SRETEAM1|@sre-team>", "SRETeam"),
        ("<@U0ANA00001>", "U0ANA00001"),
        ("<@U0ANA00001|ana>", "U0ANA00001"),
        ("<@U0SOMEBODY>", "U0SOMEBODY"),
        ("U0ANA00001", "U0ANA00001"),
        ("ana-torres", "U0ANA00001"),
        ("ana torres", "U0ANA00001"),
        ("ana@tamv.world", "U0ANA00001"),
        ("/charts/xr-engine", "charts/xr-engine"),
    ],
)
def test_the_ways_to_name_an_owner(team: TeamFile, typed: str, meant: str) -> None:
    assert find_team(typed, team) == meant


def test_a_login_that_belongs_to_a_team_and_to_no_person(team: TeamFile) -> None:
    alone = team.model_copy(update={"people": []})
    assert find_team("@Ana-Torres", alone) == "github:ana-torres"
    assert assignee("github:ana-torres", alone) == Assignee(login="ana-torres")


@pytest.mark.parametrize(("typed", "nearest"), [("SREtem", "SRETeam"), ("Bruno Dias", "Bruno Díaz"), ("zzzz", None)])
def test_a_wrong_owner_is_answered_with_the_nearest(team: TeamFile, typed: str, nearest: str | None) -> None:
    with pytest.raises(BadInput) as mistake:
        find_team(typed, team)
    assert mistake.value.key == "unknown_owner"
    assert mistake.value.facts["nearest"] == nearest
    assert "SRETeam" in str(mistake.value.facts["known"])


def test_who_gets_the_issue(team: TeamFile) -> None:
    assert assignee("SRETeam", team) == Assignee("ana-torres", "tamv/SRETeam")
    assert assignee("U0EMMA0005", team) == Assignee("emma-clark")
    assert assignee("U0STRANGER", team) == Assignee()
