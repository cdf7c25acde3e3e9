"""Runbooks from YAML: read with good errors, checked against everything they name, and filled in step by step."""

from __future__ import annotations

from bot.runbooks.check import Mistake, check, load
from bot.runbooks.expressions import Expressions
from bot.runbooks.library import Library

__all__ = ["Expressions", "Library", "Mistake", "check", "load"]
