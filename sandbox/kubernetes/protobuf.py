"""Decoder of Kubernetes' protobuf bodies. Helm and kubectl send them for a few kinds that they have types for.

An envelope is four magic bytes, then `runtime.Unknown` with the type (field 1) and the object's bytes (field 2). The
field numbers of the messages are in protobuf.yaml.
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from sandbox import yaml_file
from sandbox.kubernetes.errors import StatusError, bad_request
from sandbox.kubernetes.objects import Object, timestamp

MESSAGES = Path(__file__).with_suffix(".yaml")
MAGIC = b"k8s\x00"
CONTENT_TYPE = "application/vnd.kubernetes.protobuf"

Raw: TypeAlias = int | bytes


@dataclass(frozen=True)
class Field:
    """A field of a message: its JSON name ("^" for a message whose fields are inlined in this one) and type."""

    name: str
    type: str
    is_repeated: bool
    is_map: bool


@cache
def messages() -> Mapping[str, Mapping[int, Field]]:
    """Return the messages of protobuf.yaml by name, their fields by number."""
    loaded = yaml_file.read(MESSAGES)
    return {name: {number: _parse_field(text) for number, text in fields.items()} for name, fields in loaded.items()}


def _parse_field(text: str) -> Field:
    name, _, type = text.partition(" ")
    return Field(name.rstrip("*%"), type or "text", name.endswith("*"), name.endswith("%"))


def decode(body: bytes) -> Object:
    """Return the object in an envelope. Raises StatusError 415 for a kind or a field that is not in protobuf.yaml."""
    if not body.startswith(MAGIC):
        raise bad_request("the body of the request is not a protobuf envelope")
    envelope = dict(_fields(body[len(MAGIC) :]))
    type_meta = dict(_fields(_bytes(envelope[1])))
    kind = _bytes(type_meta[2]).decode()
    if kind not in messages():
        raise _unsupported(kind)
    api_version = _bytes(type_meta.get(1, b"")).decode()
    return {"apiVersion": api_version, "kind": kind, **_message(kind, _bytes(envelope.get(2, b"")))}


def _message(name: str, raw: bytes) -> Object:
    fields, result = messages()[name], Object()
    for number, value in _fields(raw):
        if not fields:
            return {}
        field = fields.get(number)
        if field is None:
            raise _unsupported(f"{name}, field {number},")
        if field.name == "^":
            result |= _message(field.type, _bytes(value))
        elif field.is_map:
            entry = dict(_fields(_bytes(value)))
            result.setdefault(field.name, {})[_bytes(entry.get(1, b"")).decode()] = _value(field, entry.get(2, b""))
        elif field.is_repeated:
            result.setdefault(field.name, []).append(_value(field, value))
        else:
            result[field.name] = _value(field, value)
    return {name: value for name, value in result.items() if value not in ("", None)}


def _value(field: Field, raw: Raw) -> Any:
    match field.type:
        case "text":
            return _bytes(raw).decode()
        case "bool":
            return bool(raw)
        case "int":
            return _number(raw)
        case "bool~" | "int~":
            return (bool(raw) if field.type == "bool~" else _number(raw)) or None
        case "bytes":
            return base64.b64encode(_bytes(raw)).decode()
        case "time":
            seconds = dict(_fields(_bytes(raw))).get(1)
            return None if seconds is None else timestamp(datetime.fromtimestamp(_number(seconds), UTC))
        case "quantity":
            return _bytes(dict(_fields(_bytes(raw))).get(1, b"0")).decode()
        case "port":
            is_string, number, text = map(dict(_fields(_bytes(raw))).get, (1, 2, 3))
            return _bytes(text or b"").decode() if is_string else _number(number or 0)
        case message:
            return _message(message, _bytes(raw))


def _fields(raw: bytes) -> Iterator[tuple[int, Raw]]:
    """Yield field numbers and raw values, in order. https://protobuf.dev/programming-guides/encoding/"""
    position = 0

    def varint() -> int:
        nonlocal position
        number = shift = 0
        while True:
            byte = raw[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while position < len(raw):
        tag = varint()
        match tag & 7:
            case 0:
                yield tag >> 3, varint()
                continue
            case 1:
                length = 8
            case 2:
                length = varint()
            case _:
                length = 4
        yield tag >> 3, raw[position : position + length]
        position += length


def _bytes(raw: Raw) -> bytes:
    return raw if isinstance(raw, bytes) else b""


def _number(raw: Raw) -> int:
    """Return a varint as a signed number; negative ones take all 64 bits."""
    return raw - (1 << 64) if isinstance(raw, int) and raw >= 1 << 63 else int(raw)


def _unsupported(message: str) -> StatusError:
    text = f"the sandbox does not read a {message} as protobuf; send it as JSON"
    return StatusError(415, "UnsupportedMediaType", text)
