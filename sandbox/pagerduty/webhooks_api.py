"""REST API v2, V3 webhook subscriptions."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.routing import BaseRoute

from sandbox.pagerduty import shapes
from sandbox.pagerduty.backend import PagerDuty
from sandbox.pagerduty.endpoint import Call, found, invalid, paged, rest


def routes(pagerduty: PagerDuty) -> list[BaseRoute]:
    one = "/webhook_subscriptions/{id}"
    return [
        rest(pagerduty, "GET", "/webhook_subscriptions", listed),
        rest(pagerduty, "POST", "/webhook_subscriptions", create, status=201),
        rest(pagerduty, "GET", one, get),
        rest(pagerduty, "DELETE", one, delete),
        rest(pagerduty, "POST", f"{one}/enable", enable),
    ]


def listed(call: Call) -> dict[str, Any]:
    return paged(call, "webhook_subscriptions", call.pagerduty.subscriptions.values(), shapes.subscription_json)


def get(call: Call) -> dict[str, Any]:
    one = found(call.pagerduty.subscriptions, call.path["id"])
    return {"webhook_subscription": shapes.subscription_json(one)}


def create(call: Call) -> dict[str, Any]:
    wanted = call.wrapped("webhook_subscription")
    method = wanted.get("delivery_method") or {}
    scope = wanted.get("filter") or {}
    events = wanted.get("events")
    if method.get("type") != "http_delivery_method" or not str(method.get("url", "")).startswith("http"):
        raise invalid("Delivery method must be an http_delivery_method with a url")
    if not isinstance(events, list) or not events:
        raise invalid("Events can't be blank")
    if scope.get("type") not in ("account_reference", "service_reference"):
        raise invalid("Filter must be an account_reference or a service_reference")
    service = None
    if scope["type"] == "service_reference":
        service = found(call.pagerduty.services, scope.get("id", ""), 5002).id
    subscription = call.pagerduty.subscribe(
        method["url"],
        secrets.token_urlsafe(48),
        events,
        service=service,
        description=wanted.get("description", ""),
    )
    subscription.custom_headers = tuple((h["name"], h["value"]) for h in method.get("custom_headers", []))
    return {"webhook_subscription": shapes.subscription_json(subscription, with_secret=True)}


def delete(call: Call) -> None:
    found(call.pagerduty.subscriptions, call.path["id"])
    del call.pagerduty.subscriptions[call.path["id"]]


def enable(call: Call) -> dict[str, Any]:
    """Deliver again, after three webhooks in a row were dropped."""
    subscription = found(call.pagerduty.subscriptions, call.path["id"])
    subscription.disabled_until = None
    subscription.active = True
    return {"webhook_subscription": shapes.subscription_json(subscription)}
