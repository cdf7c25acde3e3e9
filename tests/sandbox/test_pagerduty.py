"""The sandbox's PagerDuty over HTTP: events, the REST API, who is on call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.clock import Clock
from sandbox.company import load_company
from sandbox.pagerduty.api import routes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.state import API_TOKEN, USER_TOKEN
from sandbox.server import serving

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
OPENED = MONDAY + timedelta(days=3.5)  # half of a week's shift is over


class Client:
    """Speaks to the served PagerDuty; answers are (status, JSON)."""

    def __init__(self, http: aiohttp.ClientSession, base: str, backend: PagerDuty) -> None:
        self.http, self.base, self.backend = http, base, backend
        self.headers = {"Authorization": f"Token token={API_TOKEN}", "From": "ana@tamv.world"}

    async def event(self, action: str, **changes: Any) -> tuple[int, Any]:
        event: dict[str, Any] = {
            "routing_key": self.backend.routing_key("equipo-SRE-TAMV"),
            "event_action": action,
            "dedup_key": "INC-2026-0001",
        }
        if action == "trigger":
            event["payload"] = {"summary": "xr-engine is slow", "source": "tamv-bot", "severity": "critical"}
        return await self._send("POST", "/events/v2/enqueue", event | changes, {})

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        return await self._send(method, f"/api{path}", body, self.headers if headers is None else headers)

    async def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        url = f"{self.base}/pagerduty{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None

    async def open_incident(self) -> Any:
        await self.event("trigger")
        return (await self.call("GET", "/incidents"))[1]["incidents"][0]


@pytest.fixture
async def pagerduty() -> AsyncIterator[Client]:
    backend = PagerDuty(load_company(), Clock(OPENED))
    app = Starlette(routes=[Mount("/pagerduty", routes=routes(backend))])
    async with serving(app) as base, aiohttp.ClientSession() as http:
        yield Client(http, base, backend)
    await backend.aclose()


async def test_a_trigger_opens_one_incident_however_often_it_comes(pagerduty: Client) -> None:
    first = await pagerduty.event("trigger")
    second = await pagerduty.event("trigger")
    assert first == second
    assert first == (
        202,
        {"status": "success", "message": "Event processed", "dedup_key": "INC-2026-0001"},
    )
    status, answer = await pagerduty.call("GET", "/incidents")
    assert status == 200
    [incident] = answer["incidents"]
    assert (incident["incident_key"], incident["title"]) == ("INC-2026-0001", "xr-engine is slow")
    assert (incident["status"], incident["urgency"]) == ("triggered", "high")
    assert incident["alert_counts"]["all"] == 2
    assert incident["assignments"][0]["assignee"]["summary"] == "Ana Torres"


async def test_events_take_an_incident_through_its_life(pagerduty: Client) -> None:
    incident = await pagerduty.open_incident()
    for action, status in (("acknowledge", "acknowledged"), ("resolve", "resolved")):
        assert (await pagerduty.event(action))[0] == 202
        _, answer = await pagerduty.call("GET", f"/incidents/{incident['id']}")
        assert answer["incident"]["status"] == status
    assert (await pagerduty.event("resolve"))[0] == 202  # dropped, as PagerDuty does
    await pagerduty.event("trigger")
    _, answer = await pagerduty.call("GET", "/incidents?incident_key=INC-2026-0001&statuses[]=triggered")
    assert [found["incident_number"] for found in answer["incidents"]] == [2]


async def test_a_trigger_without_dedup_key_gets_one(pagerduty: Client) -> None:
    _, one = await pagerduty.event("trigger", dedup_key=None)
    _, two = await pagerduty.event("trigger", dedup_key=None)
    assert one["dedup_key"] and one["dedup_key"] != two["dedup_key"]


@pytest.mark.parametrize(
    "changes",
    [
        {"routing_key": "x" * 32},
        {"routing_key": "short"},
        {"routing_key": None},
        {"event_action": "explode"},
        {"dedup_key": "k" * 256},
        {"payload": None},
        {"payload": {"summary": "s" * 1025, "source": "x", "severity": "critical"}},
        {"payload": {"summary": "", "source": "x", "severity": "critical"}},
        {"payload": {"summary": "slow", "severity": "critical"}},
        {"payload": {"summary": "slow", "source": "x", "severity": "SEV1"}},
        {"links": [{"text": "no address"}]},
    ],
)
async def test_a_wrong_event_is_refused_and_says_why(pagerduty: Client, changes: dict[str, Any]) -> None:
    status, answer = await pagerduty.event("trigger", **changes)
    assert status == 400
    assert answer["status"] == "invalid event" and answer["errors"]
    assert not pagerduty.backend.incidents


async def test_acknowledging_without_a_key_is_refused(pagerduty: Client) -> None:
    status, answer = await pagerduty.event("acknowledge", dedup_key=None)
    assert (status, answer["errors"]) == (400, ["'dedup_key' is missing"])


@pytest.mark.parametrize("authorization", ["", "Token token=wrong", f"Bearer {API_TOKEN}"])
async def test_the_api_wants_its_token(pagerduty: Client, authorization: str) -> None:
    status, answer = await pagerduty.call("GET", "/incidents", headers={"Authorization": authorization})
    assert status == 401
    assert answer == {"error": {"message": "Authentication failed", "code": 2006}}


async def test_writes_want_a_known_from(pagerduty: Client) -> None:
    incident = await pagerduty.open_incident()
    path, note = f"/incidents/{incident['id']}/notes", {"note": {"content": "looking"}}
    only_token = {"Authorization": f"Token token={API_TOKEN}"}
    status, answer = await pagerduty.call("POST", path, note, headers=only_token)
    assert (status, answer["error"]["code"]) == (400, 2011)
    status, answer = await pagerduty.call("POST", path, note, headers={**only_token, "From": "who@tamv.world"})
    assert (status, answer["error"]["message"]) == (400, "Requester User Not Found")
    own_token = {"Authorization": f"Token token={USER_TOKEN}"}
    status, answer = await pagerduty.call("POST", path, note, headers=own_token)
    assert (status, answer["note"]["user"]["summary"]) == (200, "Incident bot")


async def test_notes_status_priority_and_log(pagerduty: Client) -> None:
    incident = await pagerduty.open_incident()
    one = f"/incidents/{incident['id']}"
    await pagerduty.call("POST", f"{one}/notes", {"note": {"content": "scaled to 10"}})
    _, answer = await pagerduty.call("GET", f"{one}/notes")
    assert [(n["content"], n["user"]["summary"]) for n in answer["notes"]] == [("scaled to 10", "Ana Torres")]

    _, priorities = await pagerduty.call("GET", "/priorities")
    p1 = priorities["priorities"][0]
    change = {"type": "incident", "status": "acknowledged", "priority": {"id": p1["id"], "type": "priority"}}
    status, answer = await pagerduty.call("PUT", one, {"incident": change})
    assert (status, answer["incident"]["status"], answer["incident"]["priority"]["summary"]) == (
        200,
        "acknowledged",
        "P1",
    )
    assert answer["incident"]["acknowledgements"][0]["acknowledger"]["summary"] == "Ana Torres"
    _, answer = await pagerduty.call("GET", f"{one}/log_entries?limit=100")
    kinds = [entry["type"] for entry in answer["log_entries"]]
    assert kinds[0] == "acknowledge_log_entry" and kinds[-1] == "trigger_log_entry"
    assert answer["log_entries"][-1]["agent"]["type"] == "inbound_integration_reference"


async def test_escalating_notifies_the_next_level(pagerduty: Client) -> None:
    incident = await pagerduty.open_incident()
    one = f"/incidents/{incident['id']}"
    change = {"incident": {"type": "incident", "escalation_level": 2}}
    status, answer = await pagerduty.call("PUT", one, change)
    assert status == 200
    assert answer["incident"]["assignments"][0]["assignee"]["summary"] == "Bruno Díaz"
    status, answer = await pagerduty.call("PUT", one, {"incident": {"escalation_level": 3}})
    assert (status, answer["error"]["code"]) == (400, 1006)


async def test_what_is_resolved_cannot_be_resolved_again(pagerduty: Client) -> None:
    incident = await pagerduty.open_incident()
    change = {"incidents": [{"id": incident["id"], "type": "incident_reference", "status": "resolved"}]}
    assert (await pagerduty.call("PUT", "/incidents", change))[0] == 200
    status, answer = await pagerduty.call("PUT", "/incidents", change)
    assert (status, answer["error"]["message"]) == (400, "Incident Already Resolved")


async def test_an_incident_is_created_once_for_a_key(pagerduty: Client) -> None:
    wanted = {
        "incident": {
            "type": "incident",
            "title": "look at the model",
            "service": {"id": "PAI0001", "type": "service_reference"},
            "incident_key": "page-7",
            "body": {"type": "incident_body", "details": "it forgets"},
        }
    }
    status, answer = await pagerduty.call("POST", "/incidents", wanted)
    assert (status, answer["incident"]["service"]["summary"]) == (201, "equipo-IA-TAMV")
    assert answer["incident"]["assignments"][0]["assignee"]["summary"] == "Carla Méndez"
    status, answer = await pagerduty.call("POST", "/incidents", wanted)
    assert (status, answer["error"]["code"]) == (400, 2001)


async def test_lists_come_in_pages(pagerduty: Client) -> None:
    for number in range(5):
        await pagerduty.event("trigger", dedup_key=f"key-{number}")
    _, answer = await pagerduty.call("GET", "/incidents?limit=2&offset=2&total=true")
    assert [i["incident_key"] for i in answer["incidents"]] == ["key-2", "key-3"]
    assert (answer["more"], answer["total"]) == (True, 5)
    _, answer = await pagerduty.call("GET", "/incidents?limit=2&offset=4")
    assert (answer["more"], answer["total"]) == (False, None)
    status, _ = await pagerduty.call("GET", "/incidents?limit=many")
    assert status == 400


async def test_who_is_on_call_takes_turns_by_the_week(pagerduty: Client) -> None:
    async def level_one(since: datetime) -> list[Any]:
        window = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/oncalls?escalation_policy_ids[]=PPOLSRE&since={window}&include[]=users"
        _, answer = await pagerduty.call("GET", path)
        return [entry for entry in answer["oncalls"] if entry["escalation_level"] == 1]

    [this_week] = await level_one(MONDAY)
    [last_second] = await level_one(MONDAY + timedelta(days=7, seconds=-1))
    [next_week] = await level_one(MONDAY + timedelta(days=7))
    assert this_week["user"]["email"] == "ana@tamv.world"
    assert last_second == this_week
    assert next_week["user"]["email"] == "bruno@tamv.world"
    assert (this_week["start"], this_week["end"]) == ("2026-11-23T09:00:00Z", "2026-11-30T09:00:00Z")


async def test_on_call_over_time_and_earliest(pagerduty: Client) -> None:
    path = "/oncalls?escalation_policy_ids[]=PPOLSRE&since=2026-11-23T09:00:00Z&until=2026-12-20T09:00:00Z"
    _, answer = await pagerduty.call("GET", f"{path}&limit=100")
    assert len([entry for entry in answer["oncalls"] if entry["escalation_level"] == 1]) == 4
    _, answer = await pagerduty.call("GET", f"{path}&earliest=true")
    assert len(answer["oncalls"]) == 4  # two people on two levels
    status, answer = await pagerduty.call("GET", "/oncalls?since=yesterday")
    assert (status, answer["error"]["code"]) == (400, 2004)


async def test_who_never_takes_turns_is_on_call_without_end(pagerduty: Client) -> None:
    _, answer = await pagerduty.call("GET", "/oncalls?escalation_policy_ids[]=PPOLAI0")
    [entry] = answer["oncalls"]
    assert (entry["user"]["summary"], entry["start"], entry["end"]) == ("Carla Méndez", None, None)


async def test_people_services_policies_and_how_to_reach_them(pagerduty: Client) -> None:
    _, answer = await pagerduty.call("GET", "/users?query=ana@&include[]=contact_methods")
    [ana] = answer["users"]
    phones = [m["address"] for m in ana["contact_methods"] if m["type"] == "phone_contact_method"]
    assert phones == ["2025550101"]
    _, answer = await pagerduty.call("GET", f"/users/{ana['id']}/contact_methods")
    assert len(answer["contact_methods"]) == 3
    _, answer = await pagerduty.call("GET", "/services?query=SRE")
    [service] = answer["services"]
    assert service["escalation_policy"]["id"] == "PPOLSRE"
    assert "integration_key" not in service["integrations"][0]
    _, answer = await pagerduty.call("GET", "/services/PSRE001?include[]=integrations")
    [integration] = answer["service"]["integrations"]
    assert integration["integration_key"] == pagerduty.backend.routing_key("PSRE001")
    path = f"/services/PSRE001/integrations/{integration['id']}"
    assert (await pagerduty.call("GET", path))[1]["integration"] == integration
    _, answer = await pagerduty.call("GET", "/escalation_policies/PPOLSRE")
    assert len(answer["escalation_policy"]["escalation_rules"]) == 2
    assert (await pagerduty.call("GET", "/services/PNOBODY"))[0] == 404
    assert (await pagerduty.call("GET", "/abilities"))[0] == 200


async def test_me_is_for_the_token_of_a_user(pagerduty: Client) -> None:
    assert (await pagerduty.call("GET", "/users/me"))[0] == 400
    own_token = {"Authorization": f"Token token={USER_TOKEN}"}
    status, answer = await pagerduty.call("GET", "/users/me", headers=own_token)
    assert (status, answer["user"]["email"]) == (200, "tamv-bot@tamv.world")


async def test_state_and_requests_can_be_looked_at(pagerduty: Client) -> None:
    await pagerduty.event("trigger")
    async with pagerduty.http.get(f"{pagerduty.base}/pagerduty/state") as answer:
        state = await answer.json()
    assert state["incidents"][0]["incident_key"] == "INC-2026-0001"
    assert pagerduty.backend.routing_key("PSRE001") not in str(state)
    [request] = pagerduty.backend.requests
    assert (request.method, request.path) == ("POST", "/events/v2/enqueue")
    assert request.body["payload"]["severity"] == "critical"


async def test_an_unknown_path_answers_as_pagerduty_does(pagerduty: Client) -> None:
    status, answer = await pagerduty.call("GET", "/no/such/thing")
    assert (status, answer["error"]["code"]) == (404, 2100)
