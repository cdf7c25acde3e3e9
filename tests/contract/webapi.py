"""Slack's published request types and Block Kit's limits, as checks of what the bot sends.

problems("chat.postMessage", call.arguments) == []
"""

import copy
import functools
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import jsonschema_rs
import pytest

CONTRACTS = Path(os.environ.get("CONTRACTS_DIR", Path(__file__).parents[3] / "shared" / "contracts"))
REQUESTS = "webapi-requests.from-slack-web-api-8.2.0.schema.json"
BLOCK_KIT = "blockkit.from-slack-types-3.2.0.limits.schema.json"

needs_contracts = pytest.mark.skipif(not CONTRACTS.is_dir(), reason=f"no contracts at {CONTRACTS}: set CONTRACTS_DIR")


@functools.cache
def load(path: str) -> Any:
    """One JSON document of the contracts' `slack` folder."""
    return json.loads((CONTRACTS / "slack" / path).read_text(encoding="utf-8"))


def covered(method: str) -> bool:
    """Is there a published request type for this method?"""
    return method in load(REQUESTS)["methods"]


def problems(method: str, arguments: dict[str, Any]) -> list[str]:
    """What the published request type, and the Block Kit schema for blocks and views, say against a request.

    Texts stand for numbers and booleans where the type wants one, since query strings and forms have only text.
    Methods that are not `covered` are judged by their blocks alone.
    """
    found = []
    if covered(method):
        found = _problems(load(REQUESTS)["methods"][method], method, _coerced(method, arguments))
    if arguments.get("blocks"):
        found += block_kit_problems(arguments["blocks"], "Blocks")
    if arguments.get("view"):
        found += block_kit_problems(arguments["view"], "AnyView")
    return [f"{method}: {words}" for words in found]


def block_kit_problems(value: Any, root: str) -> list[str]:
    """What the Block Kit schema says; `root` is `Blocks` or `AnyView`."""
    return _problems({**load(BLOCK_KIT), "$ref": f"#/definitions/{root}"}, root, value)


_fast: dict[str, jsonschema_rs.Draft7Validator] = {}


def _problems(schema: dict[str, Any], name: str, value: Any) -> list[str]:
    """What a schema, compiled once under its name, says. What is wrong is put into words by a slower validator."""
    if name not in _fast:
        _fast[name] = jsonschema_rs.Draft7Validator(schema)
    if _fast[name].is_valid(value):
        return []
    return [_words(error) for error in jsonschema.Draft7Validator(schema).iter_errors(value)]


def _words(error: jsonschema.ValidationError) -> str:
    best = jsonschema.exceptions.best_match([error]) or error
    return f"{best.json_path}: {best.message[:300]}"


def _coerced(method: str, arguments: dict[str, Any]) -> dict[str, Any]:
    arguments = copy.deepcopy(arguments)
    schema = load(REQUESTS)["methods"][method]
    for name, value in arguments.items():
        if isinstance(value, str):
            types = _types(schema, schema, name)
            if "string" not in types:
                arguments[name] = _typed(value, types)
    return arguments


def _typed(value: str, types: frozenset[str]) -> Any:
    if types & {"integer", "number"} and value.removeprefix("-").isdigit():
        return int(value)
    if "boolean" in types and value.lower() in ("1", "0", "true", "false"):
        return value.lower() in ("1", "true")
    return value


def _types(node: dict[str, Any], schema: dict[str, Any], name: str) -> frozenset[str]:
    """Every type that a request type allows for this argument."""
    node = _resolved(node, schema)
    found: set[str] = set()
    if name in node.get("properties", {}):
        found |= _own_types(node["properties"][name], schema)
    for part in (*node.get("anyOf", ()), *node.get("allOf", ())):
        found |= _types(part, schema, name)
    return frozenset(found)


def _own_types(node: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    node = _resolved(node, schema)
    kind = node.get("type", [])
    found = {kind} if isinstance(kind, str) else set(kind)
    for part in (*node.get("anyOf", ()), *node.get("allOf", ())):
        found |= _own_types(part, schema)
    return found


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["definitions"][unquote(node["$ref"].rpartition("/")[2])]
    return node
