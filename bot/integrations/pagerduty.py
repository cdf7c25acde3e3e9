"""PagerDuty by pdpyras: pages, incidents, who is on call, and the signature of its webhooks."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bot.clock import Clock
from bot.domain.errors import BotError, NotConfigured, Refused, Unavailable
from bot.domain.on_call import OnCall, PagerDutyAgent
from bot.integrations.base import connection_error, http_error, in_thread, invalid_response, parse_retry_after

EVENTS_INTEGRATION = "events_api_v2_inbound_integration"

T = TypeVar("T")
SERVICE = "PagerDuty"
SUMMARY_LIMIT = 1024
GRACE_SECONDS = 0.5  # the thread's own timeout comes first: its error is more precise
MALFORMED = (KeyError, IndexError, TypeError, AttributeError, ValueError)  # what our parsing of a response raises
ALREADY_RESOLVED = 1001  # PagerDuty's error codes: https://developer.pagerduty.com/docs/errors
CACHE_TTL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class PagerDutyIncident:
    """An incident in PagerDuty. `status` is triggered, acknowledged or resolved; `service` is a name."""

    id: str
    key: str | None
    title: str
    status: str
    url: str
    service: str
    assignees: tuple[str, ...]
    acknowledged_by: tuple[PagerDutyAgent, ...] = ()


def verify_signature(header: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Return True if a V3 webhook is from PagerDuty: a `v1=<hex>` of the header is the HMAC-SHA256 of the raw body.

    Any of the `secrets` and any of the header's signatures may match, so that secrets can be rotated.
    Source: https://developer.pagerduty.com/docs/verifying-webhook-signatures
    """
    signatures = [part.strip().encode() for part in header.split(",")]
    expected = [b"v1=" + hmac.new(s.encode(), body, hashlib.sha256).hexdigest().encode() for s in secrets if s]
    return any(hmac.compare_digest(signature, other) for signature in signatures for other in expected)


def events_keys(service: Mapping[str, Any]) -> list[str]:
    """Return the routing keys of a service's Events API v2 integrations."""
    integrations = service.get("integrations") or []
    return [integration["integration_key"] for integration in integrations if integration["type"] == EVENTS_INTEGRATION]


def parse_incident(raw: Mapping[str, Any]) -> PagerDutyIncident:
    return PagerDutyIncident(
        raw["id"],
        raw.get("incident_key"),
        raw["title"],
        raw["status"],
        raw["html_url"],
        raw["service"]["summary"],
        tuple(assignment["assignee"]["summary"] for assignment in raw.get("assignments", ())),
        tuple(
            PagerDutyAgent(who["id"], who.get("type") or "", who.get("summary"))
            for who in (one["acknowledger"] for one in raw.get("acknowledgements") or ())
        ),
    )


def parse_on_call(entry: Mapping[str, Any], methods: Sequence[Mapping[str, Any]]) -> OnCall:
    """Parse an on-call entry that includes its user, with the user's contact methods."""
    user = entry["user"]
    until = datetime.fromisoformat(entry["end"]) if entry["end"] else None
    name = user.get("name") or user["summary"]
    return OnCall(int(entry["escalation_level"]), name, user.get("email"), _phone(methods), user["id"], until)


def _phone(methods: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the phone number to call, in international format; else one for text messages."""
    for kind in ("phone_contact_method", "sms_contact_method"):
        for method in methods:
            if method["type"] == kind:
                return f"+{method['country_code']} {method['address']}"
    return None


def error_message(response: Any) -> tuple[str, int | None]:
    """Return PagerDuty's reason for a rejected request and its code. The two APIs use different formats."""
    try:
        body = response.json()
    except ValueError:
        return "", None
    if not isinstance(body, dict):
        return "", None
    error = body["error"] if isinstance(body.get("error"), dict) else body
    errors = error.get("errors")
    reasons = [error.get("message"), *(errors if isinstance(errors, list) else [])]
    code = error.get("code")
    return ": ".join(dict.fromkeys(str(reason) for reason in reasons if reason)), code if isinstance(
        code, int
    ) else None


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns about its end of life on every import
    import pdpyras


@dataclass(frozen=True, slots=True)
class PageAlert:
    """The content of a page. `severity` is critical, error, warning or info; `links` have `href` and `text`."""

    summary: str
    severity: str
    source: str
    details: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[Mapping[str, str]] = ()
    component: str | None = None


class PagerDuty:
    """One PagerDuty account. `timeout` in seconds applies to each method as a whole.

    Methods raise Unavailable or Refused (with PagerDuty's message as `why`); events raise NotConfigured without a
    routing key, other methods Refused without an API token. All methods may be repeated.
    """

    def __init__(
        self,
        api_token: str | None,
        routing_key: str | None,
        from_email: str | None,
        api_url: str = "https://api.pagerduty.com",
        events_url: str = "https://events.pagerduty.com",
        timeout: float = 10.0,
    ) -> None:
        self._sessions = _Sessions(api_token, from_email, api_url, events_url)
        self._api_token = api_token
        self._routing_key = routing_key
        self._from = from_email
        self._timeout = timeout
        self._user_id: str | None = None
        self._routing_keys: dict[str, str] = {}

    async def trigger(self, dedup_key: str, alert: PageAlert, *, service: str | None = None) -> None:
        """Page, or add to the open page with this key.

        `service` (name or id) is paged instead of the routing key's own service. If the REST API cannot return the
        routing key of `service`, the routing key's own service is paged: a page to the wrong team is better than none.
        """

        def send(call: _Calls) -> None:
            try:
                routing_key = self._key_of_service(call, service)
            except (pdpyras.PDClientError, *MALFORMED):
                if not self._routing_key:
                    raise
                routing_key = self._routing_key
            call.events(routing_key).trigger(
                alert.summary[:SUMMARY_LIMIT],
                alert.source,
                dedup_key=dedup_key,
                severity=alert.severity,
                payload={"component": alert.component} if alert.component else None,
                custom_details=dict(alert.details),
                links=[dict(link) for link in alert.links],
            )

        await self._call("trigger", send, writes=True)

    async def acknowledge(self, dedup_key: str, *, service: str | None = None) -> None:
        """Acknowledge the open page with this key, if any. `service` as in `trigger`."""
        await self._send_event("acknowledge", dedup_key, service)

    async def resolve(self, dedup_key: str, *, service: str | None = None) -> None:
        """Resolve the open page with this key, if any. `service` as in `trigger`."""
        await self._send_event("resolve", dedup_key, service)

    async def incident_by_key(self, dedup_key: str) -> PagerDutyIncident | None:
        """Return the newest incident with this key; None if there is none yet: `trigger` takes effect with a delay."""

        def find(call: _Calls) -> PagerDutyIncident | None:
            params = {"incident_key": dedup_key, "date_range": "all", "sort_by": "created_at:desc", "limit": 1}
            matches = call.rest().rget("incidents", params=params)
            return parse_incident(matches[0]) if matches else None

        return await self._call("find the incident", find)

    async def incident(self, incident_id: str) -> PagerDutyIncident:
        """Return an incident as it is now. Raises Refused if it does not exist."""
        return await self._call(
            "read the incident", lambda call: parse_incident(call.rest().rget(f"incidents/{_id(incident_id)}"))
        )

    async def key_of(self, incident_id: str) -> str | None:
        """Return the dedup key of an incident. Raises Refused if it does not exist."""

        def fetch(call: _Calls) -> str | None:
            key = call.rest().rget(f"incidents/{_id(incident_id)}").get("incident_key")
            if key:
                return str(key)
            alerts = call.rest().rget(f"incidents/{_id(incident_id)}/alerts", params={"limit": 1})
            return str(alerts[0]["alert_key"]) if alerts else None

        return await self._call("read the incident", fetch)

    async def note(self, incident_id: str, text: str) -> None:
        """Add a note, unless one with the same text exists."""

        def add(call: _Calls) -> None:
            notes = call.rest().rget(f"incidents/{_id(incident_id)}/notes")
            if not any(note["content"] == text for note in notes):
                call.rest().rpost(f"incidents/{_id(incident_id)}/notes", json={"content": text})

        await self._call("note", add, writes=True)

    async def page_person(self, key: str, title: str, user_id: str, *, service: str, details: str) -> str:
        """Open an incident that is assigned to one user, whoever is on call; returns its id.

        If one with this key is open, returns that one. Raises Refused for an unknown service or user.
        """

        def open_incident(call: _Calls) -> str:
            params = {"incident_key": key, "statuses[]": ["triggered", "acknowledged"], "limit": 1}
            if existing := call.rest(0.5).rget("incidents", params=params):
                return str(existing[0]["id"])
            found = _find_by_name(call, "services", service)
            if found is None:
                raise Refused("pagerduty_unknown", name=service)
            body = {
                "type": "incident",
                "title": title[:SUMMARY_LIMIT],
                "service": {"id": found["id"], "type": "service_reference"},
                "urgency": "high",
                "incident_key": key,
                "body": {"type": "incident_body", "details": details},
                "assignments": [{"assignee": {"id": user_id, "type": "user_reference"}}],
            }
            return str(call.rest().rpost("incidents", json=body)["id"])

        return await self._call("page a person", open_incident, writes=True)

    async def escalate(self, incident_id: str, level: int) -> None:
        """Notify who is on call at an escalation level (1 is the first). Raises Refused for an unknown level."""
        await self._change("escalate", incident_id, {"escalation_level": level})

    async def acknowledge_incident(self, incident_id: str) -> None:
        """Acknowledge an incident. Raises Refused if it is resolved."""
        await self._change("acknowledge", incident_id, {"status": "acknowledged"})

    async def resolve_incident(self, incident_id: str) -> None:
        """Resolve an incident. Does nothing if it is resolved."""
        try:
            await self._change("resolve", incident_id, {"status": "resolved"})
        except Refused as refusal:
            if refusal.facts.get("code") != ALREADY_RESOLVED:
                raise

    async def on_call(self, of: str, at: datetime | None = None) -> list[OnCall]:
        """Return who is on call for a service or an escalation policy (name or id), by level, with phone numbers.

        `at`: who will be then; default: who is now.

        Raises Refused with `pagerduty_unknown` if there is neither.
        """

        def fetch(call: _Calls) -> list[OnCall]:
            params = {"escalation_policy_ids[]": [self._policy_id(call, of)], "include[]": ["users"], "limit": 100}
            if at is not None:
                params |= {"since": at.isoformat(), "until": at.isoformat()}
            people: dict[tuple[int, str], OnCall] = {}
            for entry in call.rest().rget("oncalls", params=params):
                level_and_user = (int(entry["escalation_level"]), str(entry["user"]["id"]))
                if level_and_user not in people:
                    people[level_and_user] = parse_on_call(
                        entry, call.rest().rget(f"users/{level_and_user[1]}/contact_methods")
                    )
            return sorted(people.values(), key=lambda on_call: on_call.level)

        return await self._call("ask who is on call", fetch)

    async def own_user_id(self) -> str | None:
        """Return the user of the From address: webhooks name it as the agent of the bot's own REST calls."""
        if self._user_id is None:
            self._user_id = await self._call("find our own user", lambda call: self._sender(call).get("id"))
        return self._user_id

    async def services(self) -> list[str]:
        """Return the names of all services."""
        return await self._call(
            "list services",
            lambda call: [str(service["name"]) for service in call.rest().rget("services", params={"limit": 100})],
        )

    async def check(self) -> str:
        """Check token and From, read-only. Returns the account, the sender and the services that pages reach."""

        def fetch(call: _Calls) -> str:
            call.rest().rget("abilities")
            sender = self._sender(call)
            services = call.rest().rget("services", params={"include[]": ["integrations"], "limit": 100})
            ours = [s["name"] for s in services if self._routing_key in events_keys(s)]
            account = sender["html_url"].split("/")[2] if sender else "no From"
            return f"{account}, as {sender.get('name', '-')}, pages {', '.join(ours) or 'by a global routing key'}"

        return await self._call("check", fetch)

    def _sender(self, call: _Calls) -> dict[str, Any]:
        """Return the user of the From address; empty without one. Raises Refused if PagerDuty does not know it."""
        if not self._from:
            return {}
        for user in call.rest().rget("users", params={"query": self._from, "limit": 100}):
            if str(user["email"]).lower() == self._from.lower():
                return dict(user)
        raise Refused("pagerduty_from_unknown", service=SERVICE, email=self._from)

    def _policy_id(self, call: _Calls, name_or_id: str) -> str:
        service = _find_by_name(call, "services", name_or_id)
        if service:
            return str(service["escalation_policy"]["id"])
        policy = _find_by_name(call, "escalation_policies", name_or_id)
        if policy:
            return str(policy["id"])
        raise Refused("pagerduty_unknown", service=SERVICE, name=name_or_id)

    def _key_of_service(self, call: _Calls, service: str | None) -> str | None:
        """Return the routing key of a service: the bot's own if it belongs to it, or without an API token."""
        if service is None or self._api_token is None:
            return self._routing_key
        if service not in self._routing_keys:
            raw = _find_by_name(call, "services", service, include="integrations")
            if raw is None:
                raise Refused("pagerduty_unknown", service=SERVICE, name=service)
            keys = events_keys(raw)
            if not keys:
                raise Refused("pagerduty_no_integration", service=SERVICE, name=service)
            self._routing_keys[service] = str(self._routing_key) if self._routing_key in keys else keys[0]
        return self._routing_keys[service]

    async def _send_event(self, action: str, dedup_key: str, service: str | None) -> None:
        """Send an event to both routing keys that the page may have used; PagerDuty ignores unknown dedup keys."""

        def send(call: _Calls) -> None:
            keys = {key for key in (self._key_of_service(call, service), self._routing_key) if key}
            if not keys:
                raise NotConfigured("pagerduty_off")
            for routing_key in keys:
                call.events(routing_key).send_event(action, dedup_key)

        await self._call(action, send, writes=True)

    async def _change(self, what: str, incident_id: str, change: Mapping[str, Any]) -> None:
        body = {"type": "incident_reference", **change}
        await self._call(what, lambda call: call.rest().rput(f"incidents/{_id(incident_id)}", json=body), writes=True)

    async def _call(self, what: str, action: Callable[[_Calls], T], *, writes: bool = False) -> T:
        def run() -> T:
            with self._translate_errors(what, writes=writes):
                return action(_Calls(self._sessions, until))

        until = time.monotonic() + self._timeout
        return await in_thread(run, deadline=self._timeout + GRACE_SECONDS, service=SERVICE)

    @contextmanager
    def _translate_errors(self, what: str, *, writes: bool) -> Iterator[None]:
        try:
            yield
        except pdpyras.PDHTTPError as error:
            if error.response.ok:
                raise invalid_response(SERVICE, what, writes=writes) from error
            raise self._refusal(what, error.response, writes=writes) from error
        except pdpyras.PDClientError as error:
            cause = error.__cause__ or error
            raise connection_error(SERVICE, what, cause, seconds=self._timeout, writes=writes) from error
        except MALFORMED as error:
            raise invalid_response(SERVICE, what, writes=writes) from error

    def _refusal(self, what: str, response: Any, *, writes: bool) -> BotError:
        why, code = error_message(response)
        for secret in filter(None, (self._api_token, self._routing_key, *self._routing_keys.values())):
            why = why.replace(secret, "***")
        status = response.status_code
        wait = parse_retry_after(response.headers, "Retry-After", "ratelimit-reset") if status == 429 else None
        problem = http_error(SERVICE, what, status, why, retry_after=wait, writes=writes)
        if code is not None:
            problem.facts["code"] = code
        return problem


class _Sessions:
    """pdpyras's sessions, one set per thread: requests' sessions are not thread-safe."""

    def __init__(self, api_token: str | None, from_email: str | None, api_url: str, events_url: str) -> None:
        self._api_token = api_token
        self._from = from_email
        self._api_url = api_url.rstrip("/")
        self._events_url = events_url.rstrip("/")
        self._thread_local = threading.local()

    def rest(self) -> pdpyras.APISession:
        if not self._api_token:
            raise Refused("pagerduty_no_token", service=SERVICE)
        return self._session("rest", self._api_url, lambda: pdpyras.APISession(self._api_token, self._from))

    def events(self, routing_key: str | None) -> pdpyras.EventsAPISession:
        if not routing_key:
            raise NotConfigured("pagerduty_off")
        return self._session(routing_key, self._events_url, lambda: pdpyras.EventsAPISession(routing_key))

    def _session(self, name: str, url: str, make: Callable[[], pdpyras.PDSession]) -> pdpyras.PDSession:
        """Return the thread's session of this name, which makes one attempt per request.

        The caller retries, so that no thread sleeps meanwhile. On 429 pdpyras retries forever unless that status has a
        limit, and only a negative limit for all statuses means no retry.
        """
        if name not in self._thread_local.__dict__:
            session = make()
            session.url = url
            session.retry = {429: 1}
            session.max_http_attempts = -1
            session.max_network_attempts = 0
            self._thread_local.__dict__[name] = session
        return self._thread_local.__dict__[name]


class _Calls:
    """The API sessions of one call in its thread, which share the deadline `until` (time.monotonic)."""

    def __init__(self, sessions: _Sessions, until: float) -> None:
        self._sessions = sessions
        self._until = until

    def rest(self, share: float = 1.0) -> pdpyras.APISession:
        """Return the REST session, limited to this share of the remaining time."""
        return self._timed(self._sessions.rest(), share)

    def events(self, routing_key: str | None) -> pdpyras.EventsAPISession:
        return self._timed(self._sessions.events(routing_key))

    def _timed(self, session: pdpyras.PDSession, share: float = 1.0) -> pdpyras.PDSession:
        session.timeout = max(0.05, (self._until - time.monotonic()) * share)
        return session


def _id(incident_id: str) -> str:
    """Return an incident's id if it is safe in a URL path. Raises Refused otherwise."""
    if not (incident_id.isascii() and incident_id.isalnum()):
        raise Refused("pagerduty_unknown", service=SERVICE, name=incident_id)
    return incident_id


def _find_by_name(call: _Calls, resource: str, name_or_id: str, include: str | None = None) -> dict[str, Any] | None:
    """Return a service or an escalation policy by name or id."""
    more = {"include[]": [include]} if include else {}
    session = call.rest(share=0.4)
    for raw in session.rget(resource, params={"query": name_or_id, "limit": 100, **more}):
        if name_or_id.casefold() in (raw["name"].casefold(), raw["id"].casefold()):
            return dict(raw)
    if not (name_or_id.isascii() and name_or_id.isalnum()):
        return None
    try:
        return dict(session.rget(f"{resource}/{name_or_id}", params=more))
    except pdpyras.PDHTTPError as error:
        if error.response.status_code != 404:
            raise
        return None


class OnCallCache:
    """PagerDuty's on-call lists by service name, cached for CACHE_TTL, and longer while PagerDuty is down."""

    def __init__(self, pagerduty: PagerDuty | None, clock: Clock) -> None:
        self._pagerduty = pagerduty
        self._clock = clock
        self._cached: dict[str, tuple[datetime, list[OnCall]]] = {}

    async def get(self, service: str, *, cached_only: bool = False) -> list[OnCall]:
        """Return who is on call for a PagerDuty service, all levels; with `cached_only`, from the cache only.

        An outdated list is returned while PagerDuty is down; Unavailable if there is none.
        """
        return (await self.updated_at(service, cached_only=cached_only))[1]

    def cached(self, service: str) -> list[OnCall]:
        """Return who was on call when it was last asked; empty if it was never asked."""
        return self._cached[service][1] if service in self._cached else []

    async def updated_at(self, service: str, *, cached_only: bool = False) -> tuple[datetime, list[OnCall]]:
        """Return the same with the time at which it was fetched."""
        now = self._clock.now()
        cached = self._cached.get(service)
        if cached_only:
            return cached or (now, [])
        if cached and now - cached[0] < CACHE_TTL:
            return cached
        if self._pagerduty is None:
            raise NotConfigured("pagerduty_off")
        try:
            self._cached[service] = (now, await self._pagerduty.on_call(service))
        except Unavailable:
            if cached is None:
                raise
        return self._cached[service]
