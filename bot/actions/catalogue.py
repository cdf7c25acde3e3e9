"""Import every module of this package, so that its actions are registered."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from bot import actions
from bot.actions.registry import ACTIONS

MODULES = tuple(
    import_module(f"{actions.__name__}.{module.name}")
    for module in pkgutil.iter_modules(actions.__path__)
    if module.name != "catalogue"
)

__all__ = ["ACTIONS", "MODULES"]
