"""kubectl and helm, run on a cluster by its kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 200.0  # on a busy machine


@dataclass(frozen=True)
class Program:
    """A program that works in one namespace. `home` keeps what it has learnt of the API from one call to the next."""

    path: Path
    kubeconfig: Path
    namespace: str
    home: Path = field(repr=False)

    def __call__(self, *words: str, text: str | None = None) -> str:
        """What it prints. AssertionError with what it complains of when it fails."""
        done = self.run(*words, text=text)
        assert done.returncode == 0, f"{self.path.name} {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), input=text, capture_output=True, text=True, env=self.environment(),
            timeout=SECONDS, check=False,
        )  # fmt: skip

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*words), env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def command(self, *words: str) -> list[str]:
        return [str(self.path), "--namespace", self.namespace, *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home), "HELM_DRIVER": "secret"}
