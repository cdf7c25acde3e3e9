"""Deployments are counted from what happened, each once, on whichever roads it was seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.deployments import Deployments, Road, Sighting, count_deployments, deployments

START = datetime(2026, 1, 1, tzinfo=UTC)
BOT, HELM, CLUSTER, GITHUB = Road.BOT, Road.HELM, Road.KUBERNETES, Road.GITHUB


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def counted(*sightings: Sighting, since: datetime | None = None) -> Deployments:
    return count_deployments(sightings, success=99.5, rollback=2, since=since)


def seen(road: Road, version: str, hours: float, succeeded: bool | None = True, service: str = "xr") -> Sighting:
    return Sighting(road, service, version, at(hours), succeeded)


def back(road: Road, version: str, hours: float, service: str = "xr") -> Sighting:
    return Sighting(road, service, version, at(hours), True, goes_back=True)


def figures(result: Deployments) -> tuple[int, float | None, float | None]:
    return result.count, result.success.percent, result.rolled_back.percent


def test_one_release_on_four_roads_is_one_deployment() -> None:
    release = (
        seen(BOT, "v2.1.0", 1),
        seen(HELM, "2.1.0", 1.01),
        seen(CLUSTER, "ghcr.io/tamv/xr:v2.1.0", 1.02),
        seen(GITHUB, "v2.1.0", 0.99),
    )
    assert figures(counted(*release)) == (1, 100, 0)


def test_a_canary_and_its_promotions_are_one_deployment() -> None:
    assert figures(counted(*(seen(HELM, "2.1.0", hours) for hours in (1, 2, 30)))) == (1, 100, 0)


def test_a_canary_that_is_rolled_back_did_not_succeed() -> None:
    assert figures(counted(seen(BOT, "2.1.0", 1), back(BOT, "", 2))) == (1, 0, 100)


def test_two_roll_backs_of_one_deployment_are_one() -> None:
    told = (seen(HELM, "2.1.0", 1), back(HELM, "2.0.0", 2), back(BOT, "", 2.01), back(HELM, "1.9.0", 3))
    assert figures(counted(*told)) == (1, 0, 100)


def test_a_lone_roll_back_took_something_back() -> None:
    assert figures(counted(back(BOT, "", 2))) == (1, 0, 100)


def test_an_earlier_version_that_comes_again_is_a_roll_back() -> None:
    told = (seen(GITHUB, "2.0.0", 1), seen(GITHUB, "2.1.0", 2), seen(GITHUB, "2.0.0", 3))
    assert figures(counted(*told)) == (2, 50, 50)


def test_a_restart_is_no_deployment() -> None:
    assert figures(counted(seen(CLUSTER, "xr:2.1.0", 1), seen(CLUSTER, "xr:2.1.0", 500))) == (1, 100, 0)


def test_what_failed_and_was_tried_again_is_one_deployment() -> None:
    assert figures(counted(seen(HELM, "2.1.0", 1, False), seen(HELM, "2.1.0", 1.2))) == (1, 100, 0)
    assert figures(counted(seen(HELM, "2.1.0", 1, False), seen(CLUSTER, "xr:2.1.0", 1))) == (1, 0, 0)


def test_a_commit_and_a_tag_at_the_same_moment_are_one_deployment() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert figures(counted(seen(GITHUB, commit, 1), seen(HELM, "2.1.0", 1.1))) == (1, 100, 0)
    assert figures(counted(seen(GITHUB, commit, 1), seen(HELM, "2.1.0", 5))) == (2, 100, 0)
    assert figures(counted(seen(GITHUB, commit, 1), seen(HELM, commit[:8], 5))) == (1, 100, 0)


def test_services_are_counted_apart_and_unknown_ones_one_by_one() -> None:
    told = (seen(HELM, "1", 1, service="a"), seen(HELM, "1", 1, service="b"), seen(BOT, "", 1, service=""))
    assert figures(counted(*told, seen(BOT, "", 1, False, service=""))) == (4, 75, 0)


def test_what_goes_on_and_what_was_before_the_window_is_not_counted() -> None:
    told = (seen(HELM, "2.0.0", 1), seen(HELM, "2.1.0", 30, None))
    assert figures(counted(*told, since=at(10))) == (0, None, None)


def test_of_nothing_nothing_is_known() -> None:
    nothing = counted()
    assert (nothing.count, nothing.success.met, nothing.rolled_back.met) == (0, None, None)


@pytest.mark.parametrize("order", [1, -1])
def test_forty_releases_by_four_roads_as_counted_by_hand(order: int) -> None:
    """Ten releases a service: the 4th fails, the 7th is rolled back; each is seen on one road, or on several."""
    told: list[Sighting] = []
    for number, service in enumerate(("xr", "isabella", "core", "render")):
        for release in range(1, 11):
            hours = release * 24 + number
            roads = [BOT, HELM, CLUSTER, GITHUB][: 1 + (release + number) % 4]
            roads = [roads[-1], *roads[:-1]]
            for delay, road in enumerate(roads):
                succeeded = not (release == 4 and road is not CLUSTER)
                told.append(seen(road, f"v2.{release}.0", hours + delay / 60, succeeded, service))
            if release == 4 and roads == [CLUSTER]:
                told.append(seen(HELM, "v2.4.0", hours, False, service))
            if release == 7:
                told.append(back(HELM if number % 2 else BOT, "v2.6.0" if number % 2 else "", hours + 2, service))
    result = counted(*told[::order])
    assert figures(result) == (40, 100 * 32 / 40, 100 * 4 / 40)
    assert len(deployments(told)) == 40
