"""Every action: each module of this package is imported, and what it defines registers itself."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from bot import actions
from bot.actions.registry import ACTIONS

MODULES = tuple(
    import_module(f"{actions.__name__}.{found.name}")
    for found in pkgutil.iter_modules(actions.__path__)
    if found.name != "catalogue"
)

__all__ = ["ACTIONS", "MODULES"]
