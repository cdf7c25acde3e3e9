"""Runbooks in YAML: parsed, checked with positions of mistakes, and their expressions evaluated."""

from __future__ import annotations

from bot.runbooks.check import Mistake, check, load
from bot.runbooks.expressions import Expressions
from bot.runbooks.library import Library

__all__ = ["Expressions", "Library", "Mistake", "check", "load"]
