"""The image of the Dockerfile, built by buildah on a root made of Debian's packages, and run as a container is.

No registry is asked: both base images are made here. What runs in it has its own view of files and processes, a root
that it cannot write to, /tmp in memory, uid 10001 and no capability; its network is this machine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT
from tests.real import helm
from tests.real.parts import cache, installed

DEBIAN, PACKAGES = "trixie", "python3,python3-venv,ca-certificates"
BASE, HELM, PRODUCT = "localhost/debian:13.0-python", "localhost/helm:4.0.0", "localhost/tamv-bot:test"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"  # this machine's own, by which packages are fetched
MINUTES = 600
ENTER = """
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
    --inh-caps=-all --bounding-set=-all -- env -i "$@"
"""


@dataclass(frozen=True)
class Image:
    """The image's files, mounted, and its configuration as OCI has it."""

    root: Path
    config: Mapping[str, Any]

    def command(self, *words: str, folder: str = "/tmp", **environment: str) -> list[str]:
        """How to run a program in it, by default as what its CMD names; `environment` is added to the image's own."""
        variables = [*self.config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        program = ["sh", "-c", 'cd "$0" && exec "$@"', folder, *(words or self.config["Cmd"])]
        inside = ["sh", "-ec", ENTER, "enter", str(self.root), *variables, *program]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", *inside]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words, **environment), capture_output=True, text=True, timeout=MINUTES, check=False
        )


@contextlib.contextmanager
def image() -> Iterator[Image]:
    """Build the image, and mount it until the block ends."""
    with tempfile.TemporaryDirectory(prefix="image-") as name, contextlib.ExitStack() as left:
        left.callback(_unmount, Path(name))
        yield _build(Path(name))


def _build(folder: Path) -> Image:
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]

    def buildah(*words: str) -> str:
        return _run([str(installed("buildah")), *store, *words])

    for name, source, target in ((BASE, _debian(), "/"), (HELM, helm.helm(), "/usr/bin/helm")):
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, str(source), target)
        buildah("commit", "--quiet", "--rm", container, name)
    bases = ["--build-arg", f"BASE={BASE}", "--build-arg", f"HELM_IMAGE={HELM}"]
    trusted = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    buildah("build", "--isolation=chroot", "--network=host", *bases, *trusted, "--tag", PRODUCT, str(ROOT))
    container = buildah("from", PRODUCT)
    return Image(Path(buildah("mount", container)), json.loads(buildah("inspect", container))["OCIv1"]["config"])


def _unmount(folder: Path) -> None:
    """Undo every mount below the folder, so that it can be removed: buildah leaves its store's."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    for place in sorted((one for one in mounted if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)


def _debian() -> Path:
    """The files of a small Debian with Python, kept in the user's cache: half a minute, once."""
    archive = cache() / f"debian-{DEBIAN}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_suffix(f".{os.getpid()}.tar")
        _run([str(installed("mmdebstrap")), "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(fresh)])
        fresh.rename(archive)
    return archive


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=MINUTES, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()
