"""How the sandbox's Alertmanager calls its receiver: groups, waits, repeats, retries, silences."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.alertmanager.backend import Alertmanager
from sandbox.alertmanager.shapes import encode, notification
from sandbox.alertmanager.state import Alert, Matcher, Route, fingerprint, load_route, parse_time
from sandbox.deadline import deadline
from tests.harness.hand_clock import NOON, HandClock
from tests.harness.receiver import Receiver

CONTRACTS = Path(os.environ.get("CONTRACTS_DIR", Path(__file__).parents[3] / "shared" / "contracts"))
ROUTE = Route("bot", ("alertname", "service"), timedelta(seconds=10), timedelta(minutes=1), timedelta(hours=4))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().serving() as served:
        yield served


@pytest.fixture
async def alertmanager(clock: HandClock, receiver: Receiver) -> AsyncIterator[Alertmanager]:
    backend = Alertmanager(clock, ROUTE, url=receiver.url, token="am-secret", retry_delay=0.01)
    yield backend
    await backend.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with deadline(5):
        while not condition():  # noqa: ASYNC110 - the receiver is looked at from outside
            await asyncio.sleep(0.005)


async def told(times: int, clock: HandClock, alertmanager: Alertmanager) -> None:
    """So many calls were answered, and every group waits: its next interval is counted from now on."""
    await until(lambda: len(alertmanager.deliveries) == times and clock.sleeping == len(alertmanager.groups))


async def quiet() -> None:
    """Long enough for a call over the loopback interface that should not come."""
    await asyncio.sleep(0.1)


def alert(clock: HandClock, *, ended: bool = False, **labels: str) -> Alert:
    now = clock.now()
    own = {"alertname": "HighLatency", "service": "xr-engine", "severity": "critical", **labels}
    return Alert(own, {"summary": "slow"}, NOON, now if ended else now + timedelta(hours=9), now)


async def test_a_group_is_told_once_after_its_wait(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    alertmanager.receive([alert(clock, pod="a")])
    clock.forward(5)
    alertmanager.receive([alert(clock, pod="b"), alert(clock, service="tamv-core")])
    await quiet()
    assert receiver.received == []
    clock.forward(5)
    await told(2, clock, alertmanager)
    first, second = sorted((each.json for each in receiver.received), key=lambda body: -len(body["alerts"]))
    assert [each["labels"]["pod"] for each in first["alerts"]] == ["a", "b"]
    assert first["groupLabels"] == {"alertname": "HighLatency", "service": "xr-engine"}
    assert first["commonLabels"] == {**first["groupLabels"], "severity": "critical"}
    assert second["groupLabels"]["service"] == "tamv-core"
    assert {each.headers["authorization"] for each in receiver.received} == {"Bearer am-secret"}
    assert {each.headers["content-type"] for each in receiver.received} == {"application/json"}
    clock.forward(60)
    await quiet()
    assert len(receiver.received) == 2, "nothing has changed since"


async def test_an_alert_that_is_not_new_does_not_wait(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    clock.forward(3600)
    alertmanager.receive([alert(clock)])
    await told(1, clock, alertmanager)


async def test_news_of_a_group_is_told_at_its_interval(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    alertmanager.receive([alert(clock, pod="a")])
    clock.forward(10)
    await told(1, clock, alertmanager)
    alertmanager.receive([alert(clock, pod="b")])
    clock.forward(30)
    await quiet()
    assert len(receiver.received) == 1
    clock.forward(30)
    await told(2, clock, alertmanager)
    assert len(receiver.received[1].json["alerts"]) == 2


async def test_the_end_is_told_with_its_time(clock: HandClock, alertmanager: Alertmanager, receiver: Receiver) -> None:
    alertmanager.receive([alert(clock, pod="a"), alert(clock, pod="b")])
    clock.forward(10)
    await told(1, clock, alertmanager)
    clock.forward(20)
    alertmanager.receive([alert(clock, ended=True, pod="a")])
    clock.forward(40)
    await told(2, clock, alertmanager)
    partly = receiver.received[1].json
    assert (partly["status"], [each["status"] for each in partly["alerts"]]) == ("firing", ["resolved", "firing"])
    assert partly["alerts"][0]["endsAt"] == "2026-03-02T12:00:30Z"
    assert partly["alerts"][1]["endsAt"] == "0001-01-01T00:00:00Z"
    alertmanager.receive([alert(clock, ended=True, pod="b")])
    clock.forward(60)
    await told(3, clock, alertmanager)
    wholly = receiver.received[2].json
    assert (wholly["status"], [each["labels"]["pod"] for each in wholly["alerts"]]) == ("resolved", ["b"])
    await until(lambda: not alertmanager.groups)
    assert alertmanager.alerts == {}


async def test_a_short_alert_that_nobody_heard_of_is_not_told(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    alertmanager.receive([alert(clock)])
    clock.forward(2)
    alertmanager.receive([alert(clock, ended=True)])
    clock.forward(300)
    await until(lambda: not alertmanager.groups)
    assert receiver.received == []


async def test_an_alert_that_nobody_renews_ends(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    now = clock.now()
    alertmanager.receive([Alert({"alertname": "A"}, {}, now, now + timedelta(minutes=5), now)])
    clock.forward(10)
    await told(1, clock, alertmanager)
    clock.forward(300)
    await told(2, clock, alertmanager)
    assert receiver.received[1].json["status"] == "resolved"


async def test_a_failed_call_is_tried_again_with_the_same_body(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    receiver.answers = [503, 500, 200]
    alertmanager.receive([alert(clock)])
    clock.forward(10)
    await until(lambda: len(alertmanager.deliveries) == 3)
    assert len({each.body for each in receiver.received}) == 1
    assert [each.status for each in alertmanager.deliveries] == [503, 500, 200]
    clock.forward(60)
    await quiet()
    assert len(receiver.received) == 3


async def test_a_refused_call_is_tried_again_only_at_the_next_interval(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    receiver.answers = [401]
    alertmanager.receive([alert(clock)])
    clock.forward(10)
    await told(1, clock, alertmanager)
    await quiet()
    assert len(receiver.received) == 1
    clock.forward(60)
    await told(2, clock, alertmanager)


async def test_a_receiver_that_is_not_there_is_tried_again(clock: HandClock, receiver: Receiver) -> None:
    backend = Alertmanager(clock, ROUTE, url="http://127.0.0.1:9/hook", retry_delay=0.01)
    backend.receive([alert(clock)])
    clock.forward(10)
    await until(lambda: len(backend.deliveries) >= 2)
    assert {each.status for each in backend.deliveries} == {0}
    backend.url = receiver.url
    await until(lambda: len(receiver.received) == 1)
    await backend.aclose()


async def test_it_repeats_itself_after_hours(clock: HandClock, alertmanager: Alertmanager, receiver: Receiver) -> None:
    alertmanager.receive([alert(clock)])
    clock.forward(10)
    await told(1, clock, alertmanager)
    clock.forward(4 * 3600)
    await told(2, clock, alertmanager)
    assert receiver.received[0].json["groupKey"] == receiver.received[1].json["groupKey"]


async def test_a_silenced_alert_is_not_told_until_the_silence_ends(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    now = clock.now()
    silence = alertmanager.silences.put(
        [Matcher("service", "xr-.*", is_regex=True)], now, now + timedelta(hours=1), "ana", "known", now
    )
    alertmanager.receive([alert(clock), alert(clock, service="tamv-core")])
    clock.forward(10)
    await told(1, clock, alertmanager)
    assert receiver.received[0].json["groupLabels"]["service"] == "tamv-core"
    clock.forward(60)
    await quiet()
    assert len(receiver.received) == 1
    alertmanager.silences.expire(silence.id, clock.now())
    clock.forward(60)
    await told(2, clock, alertmanager)


async def test_an_alert_silenced_while_it_fires_is_not_told_as_resolved(
    clock: HandClock, alertmanager: Alertmanager, receiver: Receiver
) -> None:
    alertmanager.receive([alert(clock)])
    clock.forward(10)
    await told(1, clock, alertmanager)
    now = clock.now()
    alertmanager.silences.put([Matcher("service", "xr-engine")], now, now + timedelta(hours=1), "ana", "known", now)
    clock.forward(120)
    await quiet()
    assert len(receiver.received) == 1


def recorded() -> tuple[bytes, Any]:
    path = CONTRACTS / "alertmanager" / "real-am-0.25.cap_01.json"
    if not path.exists():
        pytest.skip(f"the recorded body is missing: {path}")
    return path.read_bytes(), json.loads(path.read_bytes())


def test_the_body_is_a_real_one_s_byte_for_byte() -> None:
    raw, body = recorded()
    told = [
        Alert(
            each["labels"],
            each["annotations"],
            parse_time(each["startsAt"]),
            NOON + timedelta(days=3650),
            NOON,
            each["generatorURL"],
        )
        for each in reversed(body["alerts"])
    ]
    made = encode(notification(body["receiver"], body["groupLabels"], told, external_url=body["externalURL"], now=NOON))
    # Go has nanoseconds, Python microseconds
    assert made == raw.replace(b".869068168Z", b".869068Z")


def test_fingerprints_are_a_real_one_s() -> None:
    _, body = recorded()
    assert [fingerprint(each["labels"]) for each in body["alerts"]] == [each["fingerprint"] for each in body["alerts"]]


def test_the_route_is_the_example_s() -> None:
    route = load_route()
    assert (route.receiver, route.group_by) == ("tamv-bot", ("service",))
    assert (route.group_wait, route.repeat_interval) == (timedelta(seconds=10), timedelta(hours=4))


def test_a_configuration_with_more_routes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "am.yaml"
    file.write_text(
        "{route: {receiver: a, routes: [{receiver: b}]}, receivers: [{name: a, webhook_configs: [{url: x}]}]}"
    )
    with pytest.raises(ValueError, match="one route"):
        load_route(file)
