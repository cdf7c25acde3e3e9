"""The sandbox's Alertmanager API by Alertmanager's own document."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import requests
from starlette.applications import Starlette

from sandbox.alertmanager.api import routes
from sandbox.alertmanager.backend import Alertmanager
from sandbox.alertmanager.state import Matcher, Route, parse_matcher, rfc3339
from tests.contract.alertmanager_contract import Contract
from tests.harness.hand_clock import NOON, HandClock
from tests.harness.serving import served

UNKNOWN = "0f3c4a52-9f6e-4b0e-9b57-1d6a4d0e4c11"


@dataclass
class Api:
    """Asks the API; every answer is held against the document."""

    base: str
    clock: HandClock
    contract: Contract

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        answer = requests.request(method, f"{self.base}/api/v2{path}", json=body, params=query, timeout=10)
        told = answer.json() if answer.content else None
        known = "/silence/{silenceID}" if path.startswith("/silence/") else path
        self.contract.check_answer(method, known, answer.status_code, told)
        return answer.status_code, told

    def silence(self, **changes: Any) -> dict[str, Any]:
        matchers = [{"name": "service", "value": "xr-engine", "isRegex": False, "isEqual": True}]
        end = rfc3339(NOON + timedelta(hours=2))
        body = {"matchers": matchers, "startsAt": rfc3339(NOON), "endsAt": end, "createdBy": "ana", "comment": "known"}
        return {**body, **changes}


@pytest.fixture
def api() -> Iterator[Api]:
    contract, clock = Contract(), HandClock()
    with served(Starlette(routes=routes(Alertmanager(clock, Route("bot", ("alertname",)))))) as base:
        yield Api(base, clock, contract)


def raised(**labels: str) -> dict[str, Any]:
    return {"labels": {"alertname": "HighLatency", **labels}, "annotations": {"summary": "slow"}}


def test_alerts_can_be_posted_and_read(api: Api) -> None:
    posted = [raised(service="xr-engine"), raised(service="tamv-core", empty="")]
    api.contract.check_request("postableAlerts", posted)
    assert api("POST", "/alerts", posted) == (200, None)
    _, alerts = api("GET", "/alerts")
    assert {each["labels"]["service"] for each in alerts} == {"xr-engine", "tamv-core"}
    assert {each["status"]["state"] for each in alerts} == {"active"}
    assert "empty" not in alerts[0]["labels"] | alerts[1]["labels"]
    assert {each["endsAt"] for each in alerts} == {"2026-03-02T12:05:00.000Z"}
    _, (group,) = api("GET", "/alerts/groups")
    assert (group["labels"], len(group["alerts"])) == ({"alertname": "HighLatency"}, 2)
    assert len(api("GET", "/alerts", filter=['service=~"xr.*"', 'alertname!="Other"'])[1]) == 1
    api.clock.forward(301)
    assert api("GET", "/alerts")[1] == []


def test_a_silence_is_made_read_changed_and_ended(api: Api) -> None:
    api.contract.check_request("postableSilence", api.silence())
    _, made = api("POST", "/silences", api.silence())
    address = f"/silence/{made['silenceID']}"
    _, read = api("GET", address)
    assert (read["status"], read["comment"], read["createdBy"]) == ({"state": "active"}, "known", "ana")
    api("POST", "/alerts", [raised(service="xr-engine"), raised(service="tamv-core")])
    states = {each["labels"]["service"]: each["status"] for each in api("GET", "/alerts")[1]}
    assert states["xr-engine"]["silencedBy"] == [made["silenceID"]]
    assert (states["xr-engine"]["state"], states["tamv-core"]["state"]) == ("suppressed", "active")
    assert len(api("GET", "/alerts", silenced="false")[1]) == 1
    assert len(api("GET", "/alerts", active="false")[1]) == 1

    longer = api.silence(id=made["silenceID"], endsAt=rfc3339(NOON + timedelta(hours=9)))
    assert api("POST", "/silences", longer) == (200, made)
    assert api("GET", address)[1]["endsAt"] == "2026-03-02T21:00:00.000Z"

    api.clock.forward(60)
    assert api("DELETE", address)[0] == 200
    _, ended = api("GET", address)
    assert (ended["status"]["state"], ended["endsAt"]) == ("expired", "2026-03-02T12:01:00.000Z")
    assert api("GET", "/silences", expired="false")[1] == []
    assert len(api("GET", "/silences")[1]) == 1


def test_a_silence_can_wait_and_runs_out_by_itself(api: Api) -> None:
    later = api.silence(startsAt=rfc3339(NOON + timedelta(hours=1)))
    _, made = api("POST", "/silences", later)

    def state() -> str:
        return str(api("GET", f"/silence/{made['silenceID']}")[1]["status"]["state"])

    assert state() == "pending"
    assert api("GET", "/silences", pending="false")[1] == []
    api.clock.forward(3600)
    assert state() == "active"
    api.clock.forward(3600)
    assert state() == "expired"


def test_other_matchers_make_another_silence(api: Api) -> None:
    _, first = api("POST", "/silences", api.silence())
    other = [{"name": "service", "value": "tamv-.*", "isRegex": True}]
    _, second = api("POST", "/silences", api.silence(id=first["silenceID"], matchers=other))
    assert second["silenceID"] != first["silenceID"]
    assert api("GET", f"/silence/{first['silenceID']}")[1]["status"]["state"] == "expired"
    assert len(api("GET", "/silences", filter=['service="tamv-.*"'])[1]) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"matchers": []},
        {"matchers": [{"name": "a", "value": "(", "isRegex": True}]},
        {"matchers": [{"name": "a", "value": ".*", "isRegex": True}]},
        {"matchers": [{"name": "a", "value": "", "isRegex": False}]},
        {"matchers": [{"name": "", "value": "b", "isRegex": False}]},
        {"endsAt": rfc3339(NOON - timedelta(hours=1))},
        {"startsAt": rfc3339(NOON + timedelta(hours=3))},
        {"startsAt": "tomorrow"},
        {"startsAt": "2026-03-02T12:00:00"},
        {"comment": None},
    ],
)
def test_a_silence_that_makes_no_sense_is_refused(api: Api, changes: dict[str, Any]) -> None:
    status, reason = api("POST", "/silences", api.silence(**changes))
    assert (status in (400, 422), bool(reason)) == (True, True)
    assert api("GET", "/silences")[1] == []


def test_what_does_not_exist_is_not_found(api: Api) -> None:
    assert api("GET", f"/silence/{UNKNOWN}")[0] == 404
    assert api("DELETE", f"/silence/{UNKNOWN}")[0] == 404
    assert api("POST", "/silences", api.silence(id=UNKNOWN))[0] == 404


@pytest.mark.parametrize(
    "body", [[{"labels": {}}], [{}], {"labels": {"a": "b"}}, [{"labels": {"a": 1}}], [{"labels": {"9a": "b"}}]]
)
def test_alerts_that_make_no_sense_are_refused(api: Api, body: Any) -> None:
    assert api("POST", "/alerts", body)[0] in (400, 422)
    assert api("GET", "/alerts")[1] == []


@pytest.mark.parametrize("query", [{"filter": "no matcher"}, {"filter": 'a=~"("'}])
def test_a_filter_that_makes_no_sense_is_refused(api: Api, query: dict[str, str]) -> None:
    api("POST", "/alerts", [raised()])
    assert api("GET", "/alerts", **query)[0] == 400


def test_it_says_what_it_is(api: Api) -> None:
    assert api("GET", "/status")[1]["cluster"]["status"] == "disabled"
    assert api("GET", "/receivers")[1] == [{"name": "bot"}]
    assert requests.get(f"{api.base}/-/ready", timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a="b"', Matcher("a", "b")),
        ("a=b", Matcher("a", "b")),
        ('a != "b c"', Matcher("a", "b c", is_equal=False)),
        ('a=~"x.*"', Matcher("a", "x.*", is_regex=True)),
        ('a!~"x|y"', Matcher("a", "x|y", is_regex=True, is_equal=False)),
        (r'a="say \"hi\" \\"', Matcher("a", 'say "hi" \\')),
        ('a=""', Matcher("a", "")),
    ],
)
def test_matchers_are_read(text: str, expected: Matcher) -> None:
    assert parse_matcher(text) == expected
