"""Find the files of the product that the sandbox plays by: alert rules, Alertmanager's routes, the app manifest."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).with_name("data")  # in a wheel; in a checkout they are beside the packages
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1]
