"""A real Alertmanager on the loopback interface."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from demo.bot_process import free_port
from tests.harness.processes import running
from tests.real.parts import installed


@contextlib.contextmanager
def alertmanager(config: Mapping[str, Any]) -> Iterator[str]:
    """Run Alertmanager with `config` (alertmanager.yml as data) and yield its base URL."""
    with tempfile.TemporaryDirectory(prefix="alertmanager-") as name:
        folder = Path(name)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
        port = free_port()
        command = [
            str(installed("prometheus-alertmanager")),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        with running(command, f"http://127.0.0.1:{port}/-/ready", folder / "log"):
            yield f"http://127.0.0.1:{port}"
