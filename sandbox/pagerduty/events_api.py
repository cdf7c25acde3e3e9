"""Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview"""

from __future__ import annotations

import uuid
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.company import PagerDutyService
from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.endpoint import recorded

ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")
LONGEST_SUMMARY = 1024
LONGEST_DEDUP_KEY = 255
LARGEST_EVENT = 512 * 1024


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    async def enqueue(request: HttpRequest) -> Response:
        try:
            event = await recorded(pagerduty, request)
        except ValueError:
            return _invalid(["Invalid JSON"])
        if len(await request.body()) > LARGEST_EVENT:
            return JSONResponse({"status": "payload too large", "message": "Event is over 512 KB"}, 413)
        mistakes = _mistakes(event)
        if mistakes:
            return _invalid(mistakes)
        service = pagerduty.service_of(event["routing_key"])
        if service is None:
            return _invalid(["Invalid routing key"])
        key = event.get("dedup_key") or uuid.uuid4().hex
        _process(pagerduty, service, key, event)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": key}, 202)

    return [Route("/events/v2/enqueue", enqueue, methods=["POST"])]


def _process(pagerduty: PagerDuty, service: PagerDutyService, key: str, event: dict[str, Any]) -> None:
    """Acknowledging or resolving what is not open is accepted, and nothing happens."""
    agent = shapes.integration_reference(pagerduty, service)
    incident = pagerduty.open_incident(key, service.id)
    match event["event_action"]:
        case "trigger" if incident:
            pagerduty.add_alert(incident, event, agent)
        case "trigger":
            payload = event["payload"]
            client = {"name": event["client"], "url": event.get("client_url", "")} if "client" in event else None
            pagerduty.open(
                service,
                key,
                payload["summary"],
                agent,
                urgency="high" if payload["severity"] in ("critical", "error") else "low",
                client=client,
                alert=event,
            )
        case "acknowledge" if incident and incident.status == "triggered":
            pagerduty.acknowledge(incident, agent)
        case "resolve" if incident:
            pagerduty.resolve(incident, agent)


def _mistakes(event: Any) -> list[str]:
    if not isinstance(event, dict):
        return ["Event is not a JSON object"]
    found = []
    routing_key = event.get("routing_key")
    if not isinstance(routing_key, str) or len(routing_key) != 32:
        found.append("'routing_key' is missing or invalid: it has 32 characters")
    action = event.get("event_action")
    if action not in ACTIONS:
        found.append(f"'event_action' is invalid (must be one of {', '.join(ACTIONS)})")
    key = event.get("dedup_key")
    if key is not None and not (isinstance(key, str) and len(key) <= LONGEST_DEDUP_KEY):
        found.append(f"'dedup_key' is longer than {LONGEST_DEDUP_KEY} characters or no string")
    if action == "trigger":
        found += _payload_mistakes(event.get("payload"))
        links = event.get("links", [])
        if not isinstance(links, list) or any(not isinstance(x, dict) or "href" not in x for x in links):
            found.append("'links' must be a list of objects with 'href'")
    elif key is None:
        found.append("'dedup_key' is missing")
    return found


def _payload_mistakes(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or not an object"]
    found = [
        f"'payload.{name}' is missing or blank"
        for name in ("summary", "source")
        if not isinstance(payload.get(name), str) or not payload[name].strip()
    ]
    if len(str(payload.get("summary", ""))) > LONGEST_SUMMARY:
        found.append(f"'payload.summary' is longer than {LONGEST_SUMMARY} characters")
    if payload.get("severity") not in SEVERITIES:
        found.append(f"'payload.severity' is invalid (must be one of {', '.join(SEVERITIES)})")
    if not isinstance(payload.get("custom_details", {}), dict | str):
        found.append("'payload.custom_details' is not an object")
    return found


def _invalid(mistakes: list[str]) -> Response:
    return JSONResponse({"status": "invalid event", "message": "Event object is invalid", "errors": mistakes}, 400)
