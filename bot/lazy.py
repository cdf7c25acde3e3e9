"""Import client libraries on first use: some take 30 MB and half a second."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class LazyModule:
    """A module that is imported when one of its attributes is first read.

    Type checkers see the real module:

        if TYPE_CHECKING:
            import hvac
        else:
            hvac = LazyModule("hvac")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        self.__dict__[attribute] = value
        return value
