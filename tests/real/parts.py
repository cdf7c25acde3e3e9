"""Which real parts this machine has, and what a test does when one is missing."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "prometheus": ("prometheus", "promtool"),
    "alertmanager": ("prometheus-alertmanager", "amtool"),
    "postgresql": ("postgres", "initdb"),
    "chromium": ("chromium",),
    "kubernetes": ("control-plane",),
    "image": ("buildah", "mmdebstrap", "unshare"),
}
HINTS: Mapping[str, str] = {"kubernetes": "`make cluster` builds it"}
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {"prometheus-alertmanager": ("alertmanager",)}


def cache() -> Path:
    """Where programs are kept that the tests need and that were fetched or built for them."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tamv-bot"


def program(name: str) -> Path | None:
    """Where a program is: on PATH, built by `make`, or where Debian keeps PostgreSQL's."""
    for known in (name, *OTHER_NAMES.get(name, ())):
        if found := shutil.which(known) or shutil.which(cache() / known):
            return Path(found)
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


def missing(part: str) -> str | None:
    """Why a part cannot be used here; None when it can."""
    absent = [name for name in PROGRAMS[part] if program(name) is None]
    if not absent:
        return None
    hint = f"; {HINTS[part]}" if part in HINTS else ""
    return f"no {' and no '.join(absent)} on this machine{hint}"


def require(part: str) -> None:
    """Skip the test, and say so, when the part is missing; with REQUIRE_REAL_PARTS=1, fail."""
    reason = missing(part)
    if reason is None:
        return
    if os.environ.get("REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"{part}: {reason}, and REQUIRE_REAL_PARTS=1", pytrace=False)
    pytest.skip(f"{part}: {reason}")


def installed(name: str) -> Path:
    """Where a program is; FileNotFoundError when it is nowhere."""
    found = program(name)
    if found is None:
        raise FileNotFoundError(name)
    return found
