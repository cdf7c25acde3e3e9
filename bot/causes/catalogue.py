"""All causes."""

from __future__ import annotations

from bot.causes import cluster, outside, service  # noqa: F401 - importing them registers their causes
from bot.causes.registry import CAUSES

__all__ = ["CAUSES"]
