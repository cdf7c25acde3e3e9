"""From nothing to a team's first incident: the README's commands in an empty folder, the installation included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from tests.architecture.tree import ROOT, files
from tests.harness.way_in import MINUTES, commands, first_incidents

BAR = "from nothing to the first incident of a team's own service"


async def way_in() -> list[Figure]:
    """Measure it with a new virtual environment, an empty cache of pip's, and the checkout beside the folder."""
    with tempfile.TemporaryDirectory(prefix="way-in-") as name:
        folder, given = _prepared(Path(name))
        way = await first_incidents(folder, given, installs=True)
    typed = len([line for line in commands() if not line.startswith("export ")])
    note = "without the clicks on api.slack.com: the sandbox is the workspace"
    return [
        Figure(BAR, "commands in a terminal", typed, "", 5),
        *(Figure(BAR, f"`{line}`", seconds, "s") for line, seconds in way.seconds.items()),
        Figure(BAR, "all of it", sum(way.seconds.values()) / 60, "min", MINUTES, note),
    ]


def _prepared(place: Path) -> tuple[Path, dict[str, str]]:
    """Return an empty folder beside a copy of the checkout, and the environment of a shell with a new Python in it."""
    for file in files():
        copy = place / "tamv-bot" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / file).read_bytes())
    (place / "team").mkdir()
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True, timeout=120)
    pip = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))}
    return place / "team", pip | {"PATH": f"{place}/venv/bin:{os.environ['PATH']}", "PIP_NO_CACHE_DIR": "1"}
