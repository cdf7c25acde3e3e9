"""Errors of the API, as the Status objects that the real API server sends.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sandbox.kubernetes.kinds import Cause, Kind
from sandbox.kubernetes.objects import Object

CAUSE_REASONS = {"Required value": "FieldValueRequired", "Forbidden": "FieldValueForbidden",
                 "Unsupported value": "FieldValueNotSupported", "Duplicate value": "FieldValueDuplicate"}  # fmt: skip


class PathNotFound(Exception):
    """Nothing is served at the path; the API answers 404 in plain text."""


class StatusError(Exception):
    """A refused request: HTTP `code`, the API's `reason`, the `message` and the `details` of its Status."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Object:
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        return status if self.details is None else {**status, "details": self.details}


def success(kind: Kind, obj: Object) -> Object:
    """Build the Status that answers a deletion."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**_details(kind, obj["metadata"]["name"]), "uid": obj["metadata"]["uid"]},
    }


# --- 400 to 499, by code


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def decoding_failed(kind: Kind, why: str) -> StatusError:
    return bad_request(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}')


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(user: str, verb: str, kind: Kind, namespace: str, name: str, subresource: str = "") -> StatusError:
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    message = (
        f'{subject} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {scope}'
    )
    return StatusError(403, "Forbidden", message, _details(kind, name))


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def resource_not_found() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def already_exists(kind: Kind, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str | None = None) -> StatusError:
    reason = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {reason}'
    return StatusError(409, "Conflict", message, _details(kind, name))


def expired(version: int, oldest: int) -> StatusError:
    return StatusError(410, "Expired", f"too old resource version: {version} ({oldest})")


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return StatusError(415, "UnsupportedMediaType", message)


# --- 422


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> StatusError:
    return invalid_object(kind.name, kind.group, name, causes)


def invalid_object(kind: str, group: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """Build the error for an object whose kind is not served, such as a Scale."""
    reasons = ", ".join(f"{field}: {message}" for field, message in causes)
    reasons = reasons if len(causes) == 1 else f"[{reasons}]"
    subject = {"name": name, "group": group, "kind": kind}
    details: Object = {key: value for key, value in subject.items() if value}
    details["causes"] = [
        {
            "reason": CAUSE_REASONS.get(message.partition(":")[0], "FieldValueInvalid"),
            "message": message,
            "field": field,
        }
        for field, message in causes
    ]
    message = f'{f"{kind}.{group}" if group else kind} "{name}" is invalid: {reasons}'
    return StatusError(422, "Invalid", message, details)


def invalid_json_patch() -> StatusError:
    """Build the error for a JSON Patch that cannot be applied; the real API does not say why either."""
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def invalid_patch_result(obj: Object, why: str) -> StatusError:
    """Build the error for a patch whose result `obj` is not of its kind; the message quotes the whole of it."""
    quoted = json.dumps(json.dumps(obj, separators=(",", ":")))
    message = f"Invalid value: {quoted}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]
    return StatusError(422, "Invalid", f' "" is invalid: patch: {message}', {"causes": causes})


# --- 500


def internal_error(message: str) -> StatusError:
    """Build an error for which the API server has no reason."""
    return StatusError(500, "", message)


def _details(kind: Kind, name: str) -> Object:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: value for key, value in details.items() if value}
