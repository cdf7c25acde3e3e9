"""Changes: one list from several sources, without secrets, and whether one was taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.change import (
    Change,
    ChangeKind,
    Template,
    in_order_of_rollout,
    merged_changes,
    still_applies,
    template_changes,
)

AT = datetime(2026, 1, 1, 3, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return AT + timedelta(minutes=number)


def version(at: float, to: str, source: str, **facts: Any) -> Change:
    return Change(ChangeKind.VERSION, minutes(at), "web", {"to": to, **facts}, sources=(source,))


def merged(*changes: Change) -> list[Change]:
    return merged_changes(changes, since=minutes(-60), until=minutes(60))


def configured(name: str, to: str, service: str = "web") -> Change:
    return Change(ChangeKind.CONFIGURATION, AT, service, {"settings": [{"name": name, "to": to}]})


def deployed(at: float, source: str, **facts: Any) -> Change:
    return Change(
        ChangeKind.DEPLOYMENT, minutes(at), "web", facts, by="ada" if source == "github" else "", sources=(source,)
    )


def test_one_deployment_seen_by_three_sources_is_one_change_of_what_it_changed() -> None:
    seen = merged(
        deployed(0, "github", ref="main"),
        version(1, "v2", "kubernetes", **{"from": "v1"}),
        deployed(2, "helm", revision=4),
    )
    assert [(one.kind, one.at, one.by, one.sources) for one in seen] == [
        (ChangeKind.VERSION, minutes(1), "ada", ("github", "kubernetes", "helm"))
    ]
    assert seen[0].facts == {"from": "v1", "to": "v2", "revision": 4, "ref": "main"}


def test_helm_upgrade_that_only_changes_settings_is_no_new_version() -> None:
    (seen,) = merged(configured("FLAG", "on"), deployed(1, "helm", revision=4))
    assert seen.kind is ChangeKind.CONFIGURATION and seen.facts["revision"] == 4


@pytest.mark.parametrize(
    "changes",
    [
        [version(0, "v2", "kubernetes"), version(1, "v3", "kubernetes")],  # two versions
        [version(0, "v2", "kubernetes"), deployed(30, "helm", revision=2)],  # later
        [deployed(0, "helm", revision=1), Change(ChangeKind.RUN, AT, "web", {"run": "R-1"}, sources=("bot",))],
    ],
)
def test_different_changes_stay_apart(changes: list[Change]) -> None:
    assert len(merged(*changes)) == 2


def test_changes_outside_of_the_time_are_left_out() -> None:
    assert merged(version(-61, "v1", "helm"), version(61, "v2", "helm")) == []


def template(id: str, at: float, image: str = "web:v1", **env: str | None) -> Template:
    return Template(id, minutes(at), image, env)


def test_new_image_is_a_version_and_a_changed_setting_a_configuration() -> None:
    changes = template_changes(
        "web",
        [
            template("a", 0),
            template("b", 1, "registry:5000/web:v2"),
            template("c", 2, "registry:5000/web:v2", FLAG="true"),
        ],
    )
    assert [one.kind for one in changes] == [ChangeKind.VERSION, ChangeKind.CONFIGURATION]
    assert changes[0].facts == {"from": "v1", "to": "v2"}
    assert changes[1].facts["settings"] == [{"name": "FLAG", "from": None, "to": "true"}]


@pytest.mark.parametrize("value", ["hunter2", "postgres://user:pw@db/x", "a-long-word", None])
def test_values_of_settings_that_may_be_secrets_are_left_out(value: str | None) -> None:
    (change,) = template_changes("web", [template("a", 0), template("b", 1, KEY=value)])
    assert change.facts["settings"] in ([{"name": "KEY", "from": None, "to": None}], [])


def test_template_that_is_used_again_counts_from_when_its_pods_began() -> None:
    first = Template("a", minutes(0), "web:v1", pods_since=minutes(9))
    order = in_order_of_rollout([template("b", 5, "web:v2"), first])
    assert [one.at for one in order] == [minutes(5), minutes(9)]


CONFIGURED = {"settings": [{"name": "FLAG", "from": "off", "to": "on"}]}


@pytest.mark.parametrize(
    ("facts", "later", "applies"),
    [
        ({"from": "v1", "to": "v2"}, [], True),
        ({"from": "v1", "to": "v2"}, [version(5, "v1", "kubernetes")], False),
        ({"from": "v1", "to": "v2"}, [version(5, "v3", "kubernetes"), version(9, "v2", "helm")], True),
        (CONFIGURED, [], True),
        (
            CONFIGURED,
            [configured("FLAG", "off")],
            False,
        ),
        (CONFIGURED, [configured("OTHER", "1")], True),
        (
            CONFIGURED,
            [configured("FLAG", "off", "api")],
            True,
        ),
    ],
)
def test_change_applies_until_it_is_taken_back(facts: dict[str, Any], later: list[Change], applies: bool) -> None:
    assert still_applies(facts, "web", later) is applies


def test_change_survives_json() -> None:
    change = Change(ChangeKind.MERGE, AT, "#7", {"title": "x"}, "ada", "https://example.com/7", ("github",))
    assert Change.from_json(change.to_json()) == change
