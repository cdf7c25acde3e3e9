"""Find the files that come with the product: templates, the example team, the Slack app manifest."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).with_name("data")  # in a wheel; in a checkout they are beside the packages
SHIPPED = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1]
TEMPLATES = SHIPPED / "templates"
EXAMPLE_TEAM = SHIPPED / "teams" / "tamv"
MANIFEST = SHIPPED / "app.yaml"


def languages() -> list[str]:
    """Return the languages of the bot: the folders of `templates/` that contain `labels.yaml`."""
    return sorted(labels.parent.name for labels in TEMPLATES.glob("*/labels.yaml"))
