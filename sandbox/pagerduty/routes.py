"""PagerDuty over HTTP; the paths are those within the service: `/events/v2/enqueue`, `/api/incidents`, `/state`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.pagerduty import directory_api, events_api, incidents_api, shapes, webhooks_api
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.endpoint import error_answer
from sandbox.pagerduty.records import Problem


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    async def state(_request: Request) -> Response:
        return JSONResponse(
            {
                "incidents": [
                    shapes.incident_json(pagerduty, incident)
                    | {
                        "notes": [shapes.note_json(note) for note in incident.notes],
                        "alerts": [{**alert, "routing_key": "hidden"} for alert in incident.alerts],
                        "escalation_level": incident.level,
                    }
                    for incident in pagerduty.incidents.values()
                ],
                "webhook_subscriptions": [
                    shapes.subscription_json(subscription) for subscription in pagerduty.subscriptions.values()
                ],
                "deliveries": [
                    {
                        "webhook_id": delivery.webhook_id,
                        "subscription": delivery.subscription,
                        "event_type": delivery.event["event_type"],
                        "attempts": delivery.attempts,
                        "state": delivery.state,
                    }
                    for delivery in pagerduty.deliverer.log
                ],
                "requests": len(pagerduty.requests),
            }
        )

    async def nothing_here(_request: Request) -> Response:
        return error_answer(Problem(404, 2100, "Not Found"))

    return [
        *events_api.routes(pagerduty),
        *directory_api.routes(pagerduty),
        *incidents_api.routes(pagerduty),
        *webhooks_api.routes(pagerduty),
        Route("/state", state),
        Route("/{path:path}", nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
