"""A real Prometheus on the loopback interface."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from demo.bot_process import free_port
from tests.harness.processes import running
from tests.real.parts import installed


@contextlib.contextmanager
def prometheus(config: Mapping[str, Any] | None = None, *, openmetrics: str | None = None) -> Iterator[str]:
    """Run Prometheus with `config` (prometheus.yml as data) and yield its base URL.

    `openmetrics` are samples with timestamps, which stand in its storage from the start.
    """
    with tempfile.TemporaryDirectory(prefix="prometheus-") as name:
        folder = Path(name)
        data = folder / "data"
        (folder / "prometheus.yml").write_text(yaml.safe_dump(dict(config or {})))
        if openmetrics is not None:
            _import(openmetrics, folder / "samples.om", data)
        port = free_port()
        command = [
            str(installed("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=100y",
            "--rules.alert.resend-delay=1s",  # an alert that fires before Alertmanager is known is told again soon
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with running(command, f"http://127.0.0.1:{port}/-/ready", folder / "log"):
            yield f"http://127.0.0.1:{port}"


def version() -> tuple[int, int]:
    """Major and minor version of the installed Prometheus."""
    said = subprocess.run([installed("prometheus"), "--version"], capture_output=True, text=True, check=True)
    major, minor = (said.stdout + said.stderr).split("version ")[1].split(".")[:2]
    return int(major), int(minor)


def _import(openmetrics: str, file: Path, data: Path) -> None:
    file.write_text(openmetrics)
    promtool = str(installed("promtool"))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(file), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool: {done.stdout}{done.stderr}")
