"""What the engine writes to its tables is JSON, and nothing else is ever read from them.

DBOS chooses how to read a value by the label in the value's own row, and one of its labels means pickle: whoever can
write a row could run code as the bot. Here the pickle reader is replaced by a refusal, for all labels of all tables.
"""

from __future__ import annotations

from typing import Any

from dbos import DBOSPortableJSONSerializer
from dbos._serialization import DefaultSerializer


class NotJson(Exception):
    """A row's label asks for another format than JSON. The workflow of the row fails; nothing is executed."""


def json_serializer() -> DBOSPortableJSONSerializer:
    """Return the serializer of all values, after making sure that nothing can be unpickled in this process.

    To be called before DBOS or its client is opened. Calling it again changes nothing.
    """
    refuse_pickles(DefaultSerializer)
    return DBOSPortableJSONSerializer()


def refuse_pickles(serializer: type[DefaultSerializer]) -> None:
    """Make DBOS's pickle serializer refuse to read."""

    def refuse(self: DefaultSerializer, serialized_data: str) -> Any:
        raise NotJson("a value in the engine's tables is not JSON, and is not read")

    serializer.deserialize = refuse  # type: ignore[method-assign, assignment]
