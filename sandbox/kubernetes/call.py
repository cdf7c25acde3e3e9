"""One request for a resource: what its path names, what its query selects, and its body."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from starlette.datastructures import Headers, QueryParams

from sandbox import yaml_file
from sandbox.kubernetes import protobuf
from sandbox.kubernetes.errors import PathNotFound, StatusError, bad_request, resource_not_found
from sandbox.kubernetes.kinds import Kind, Kinds
from sandbox.kubernetes.objects import Object, at_path, labels_of
from sandbox.kubernetes.state import WriteOptions

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True)
class Target:
    """A resource; one object of it if there is a `name`; a `subresource` of that object if there is one.

    `path` is what a pod is asked for behind `proxy`.
    """

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    path: str = ""


def parse_path(path: str, kinds: Kinds) -> Target:
    """Parse `/apis/apps/v1/namespaces/tamv-prod/deployments/xr-engine/scale`.

    Raises StatusError 404 if the group has no such resource, PathNotFound if there is not even the group.
    """
    parts = path.strip("/").split("/")
    match parts:
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise PathNotFound
    if not any((group, version) == (kind.group, kind.version) for kind in kinds.values()):
        raise PathNotFound
    namespace = ""
    match rest:
        case ["namespaces", namespace, plural, *last] if (group, version, plural) in kinds:
            pass
        case [plural, *last]:
            namespace = ""
        case _:
            raise resource_not_found()
    kind = kinds.get((group, version, plural))
    path = ""
    if last[1:2] == ["proxy"]:
        last, path = last[:2], "/".join(last[2:])
    if kind is None or len(last) > 2 or (namespace and not kind.namespaced):
        raise resource_not_found()
    name, subresource = [*last, "", ""][:2]
    if subresource and subresource not in kind.subresources:
        raise resource_not_found()
    return Target(kind, namespace, name, subresource, path)


@dataclass(frozen=True)
class Call:
    """A request for a resource, its body still as bytes. `warnings` are sent with the response."""

    method: str
    target: Target
    query: QueryParams
    headers: Headers
    raw: bytes = b""
    warnings: list[str] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """The verb of RBAC: get, list, watch, create, update, patch, delete, deletecollection."""
        if self.method == "GET":
            if self.target.name:
                return "get"
            return "watch" if self.query.get("watch") in ("1", "true", "") else "list"
        if self.method == "DELETE":
            return "delete" if self.target.name else "deletecollection"
        return VERBS[self.method]

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip()

    @property
    def wants_table(self) -> bool:
        return "as=Table" in self.headers.get("accept", "")

    @property
    def wants_metadata(self) -> bool:
        return "as=PartialObjectMetadata" in self.headers.get("accept", "")

    @property
    def options(self) -> WriteOptions:
        """The options of a write. Raises StatusError 422 for an unknown dry run."""
        dry_run = self.query.getlist("dryRun")
        if any(value not in ("All", "") for value in dry_run):
            message = f'Invalid value: "{dry_run[0]}": Unsupported value: "{dry_run[0]}": supported values: "All"'
            raise StatusError(422, "Invalid", message)
        agent = self.headers.get("user-agent", "unknown").partition("/")[0]
        return WriteOptions(
            dry_run="All" in dry_run,
            field_manager=self.query.get("fieldManager") or agent,
            subresource=self.target.subresource,
            from_client=True,
            force=self.query.get("force") == "true",
        )

    @property
    def field_validation(self) -> str:
        """What becomes of unknown fields: Ignore, Warn or Strict."""
        return self.query.get("fieldValidation") or "Warn"

    def integer(self, parameter: str) -> int:
        """Return a query parameter, 0 if it is missing. Raises StatusError 400 if it is no number."""
        text = self.query.get(parameter) or "0"
        if not text.isdigit():
            raise bad_request(f'Invalid value: "{text}": {parameter} must be a number')
        return int(text)

    def selector(self) -> Callable[[Object], bool]:
        """Return whether an object is in the namespace and fits the name and the selectors of the call.

        Raises StatusError 400 if a selector cannot be parsed.
        """
        by_label = _parse_label_selector(self.query.get("labelSelector") or "")
        by_field = _parse_field_selector(self.query.get("fieldSelector") or "", self.target.kind.selectable_fields)
        namespace, name = self.target.namespace, self.target.name

        def is_selected(obj: Object) -> bool:
            metadata = obj["metadata"]
            if namespace and metadata.get("namespace") != namespace:
                return False
            return (not name or metadata["name"] == name) and by_label(labels_of(obj)) and by_field(obj)

        return is_selected

    def body(self) -> Any:
        """Return the body, JSON, YAML or protobuf. Raises StatusError 400 if it cannot be parsed."""
        if self.content_type == protobuf.CONTENT_TYPE:
            return protobuf.decode(self.raw)
        try:
            return yaml_file.parse(self.raw) if "yaml" in self.content_type else json.loads(self.raw or b"{}")
        except (ValueError, yaml.YAMLError) as error:
            kind = self.target.kind.name
            raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {error}") from error


# --- selectors in a query
# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors

Labels = Mapping[str, str]

_KEY = r"(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)"
_SET = re.compile(rf"{_KEY}\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)")
_EXISTENCE = re.compile(rf"(?P<not>!?)\s*{_KEY}")
_COMMA = re.compile(r",(?![^(]*\))")
_FIELD = re.compile(r"(?P<path>[A-Za-z0-9_.\[\]]+)\s*(?P<operator>==|=|!=)\s*(?P<value>.*)")
_FIELDS_OF_ALL = ("metadata.name", "metadata.namespace")


def _parse_label_selector(text: str) -> Callable[[Labels], bool]:
    """Parse `app=web,tier in (a, b),!canary`."""
    requirements = [_parse_label_requirement(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(requirement(labels) for requirement in requirements)


def _parse_label_requirement(text: str) -> Callable[[Labels], bool]:
    if match := _SET.fullmatch(text):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["operator"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _EQUALITY.fullmatch(text):
        key, value = match["key"], match["value"]
        if match["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _EXISTENCE.fullmatch(text):
        key, absent = match["key"], bool(match["not"])
        return lambda labels: (key in labels) is not absent
    raise bad_request(f'unable to parse requirement: found "{text}"')


def _parse_field_selector(text: str, selectable: Sequence[str]) -> Callable[[Object], bool]:
    """Parse `metadata.name=web,status.phase!=Running`. Raises StatusError 400 for a field that is not `selectable`."""
    requirements = [_parse_field_requirement(part.strip(), selectable) for part in text.split(",") if part.strip()]
    return lambda obj: all(requirement(obj) for requirement in requirements)


def _parse_field_requirement(text: str, selectable: Sequence[str]) -> Callable[[Object], bool]:
    match = _FIELD.fullmatch(text)
    if match is None:
        raise bad_request(f'invalid field selector: "{text}"; can\'t understand')
    field = match["path"]
    if field not in (*_FIELDS_OF_ALL, *selectable):
        if selectable:
            raise bad_request(f"field label not supported: {field}")
        allowed = ", ".join(f'"{name}"' for name in _FIELDS_OF_ALL)
        raise bad_request(f'"{field}" is not a known field selector: only {allowed}')
    path, value, is_equal = field.split("."), match["value"], match["operator"] != "!="
    return lambda obj: (_format_field(at_path(obj, path)) == value) is is_equal


def _format_field(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
