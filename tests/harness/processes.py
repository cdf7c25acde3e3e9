"""Start a program, wait until it answers, stop it."""

import contextlib
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

DEADLINE = 30.0  # seconds to start


@contextlib.contextmanager
def running(
    command: Sequence[str], ready_url: str, log: Path, *, trusted: ssl.SSLContext | None = None
) -> Iterator[None]:
    """Run the command until the block ends. RuntimeError with its log when `ready_url` does not answer 200.

    `trusted` is what an https URL is checked against. It uses no proxy: whom it asks is on this machine.
    """
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=direct) as process:
        try:
            _wait(process, ready_url, log, trusted)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, trusted: ssl.SSLContext | None) -> None:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=2, context=trusted),  # noqa: S310
        ):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} is not ready:\n{log.read_text('utf-8', 'replace')[-4000:]}")
