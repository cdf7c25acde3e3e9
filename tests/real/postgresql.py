"""A real PostgreSQL on the loopback interface."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from demo.bot_process import free_port
from tests.harness.processes import DEADLINE
from tests.real.parts import installed

OWNER = "tamv"
UNPRIVILEGED = ("postgres", "nobody")  # PostgreSQL refuses to run as root
# Nothing here outlives the machine, so nothing has to reach its disk.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


class PostgreSQL:
    """One server in `folder`, which belongs to `user` (None: to whoever runs the tests)."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.port = free_port()
        self._folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def initialise(self) -> None:
        """Make the files of an empty server."""
        command = ["initdb", "--no-sync", "--auth=trust", f"--username={OWNER}", "--encoding=UTF8", "--locale=C"]
        with self._run([*command, f"--pgdata={self._folder / 'data'}"], "initdb.log") as process:
            if process.wait(DEADLINE):
                raise RuntimeError((self._folder / "initdb.log").read_text("utf-8", "replace"))

    def start(self) -> None:
        """Run it, and come back when it answers."""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = ["postgres", "-D", str(self._folder / "data"), "-p", str(self.port), *options]
        self._process = self._run(command, "postgres.log")
        until = time.monotonic() + DEADLINE
        while self._process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres")):
                return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "postgres.log").read_text("utf-8", "replace")[-4000:])

    def stop(self) -> None:
        """End it, and every connection with it, without waiting for anybody."""
        if self._process:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(DEADLINE)
        self._process = None

    def url(self, database: str) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of an empty database of its own."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def _run(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        program = [str(installed(command[0])), *command[1:]]
        with (self._folder / log).open("wb") as output:
            return subprocess.Popen(
                program,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                user=self._user,
                group=pwd.getpwnam(self._user).pw_gid if self._user else None,
                extra_groups=[] if self._user else None,
            )


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """An empty server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        user = _unprivileged() if os.geteuid() == 0 else None
        if user:
            os.chown(name, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        server = PostgreSQL(Path(name), user)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _unprivileged() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in known)
