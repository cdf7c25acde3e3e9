"""`tamv-bot` in a terminal: each call is a process of its own, forked from one that has imported the bot already.

A start from nothing takes seconds, most of them for imports; `tests/end_to_end/test_wheel.py` starts it that way.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from bot.settings import Settings

ROOT = Path(__file__).parents[2]
REQUEST_BYTES = 1 << 20
IMPORTED_ALREADY = (
    "bot.command_line",
    "demo.play",
    "boto3",
    "github",
    "hvac",
    "kubernetes.aio.client",
    "alembic.command",
)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def environment(settings: Settings, **others: str) -> dict[str, str]:
    """What a person would have exported, and nothing of this machine's own settings."""
    ours: dict[str, str] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, dict):
            value = ",".join(f"{header}={text.get_secret_value()}" for header, text in value.items())
        elif isinstance(value, list):
            value = ",".join(item.get_secret_value() for item in value)
        elif hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        ours[name.upper()] = "" if value is None else str(value)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, **{name: value for name, value in ours.items() if value}, "COLUMNS": "200", **others}


async def tamv_bot(*arguments: str, env: Mapping[str, str], cwd: Path = ROOT, seconds: float = 120) -> Ran:
    """Run it to its end. Raises TimeoutError after so many seconds, and kills it."""
    return await asyncio.to_thread(run_tamv_bot, *arguments, env=env, cwd=cwd, seconds=seconds)


def run_tamv_bot(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    seconds: float = 120,
    powerless: bool = False,
    stdin: bool = True,
) -> Ran:
    """Run it to its end, by default with this process' environment. Raises TimeoutError after so many seconds.

    A `powerless` one may only read and write what its user may, even if that is root. Its standard input is empty, or
    closed without `stdin`.
    """
    request: dict[str, object] = {"arguments": arguments, "env": dict(os.environ if env is None else env)}
    request |= {"cwd": str(cwd), "powerless": powerless, "stdin": stdin}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(_server())
        socket.send_fds(connection, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
        answers = connection.makefile()
        process = int(answers.readline())
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return Ran(code, out.read().decode(), err.read().decode())


# The process that forks: it has one thread and answers one request after the other.


@functools.cache
def _server() -> str:
    """Start it and return the path of its socket; it ends with this process."""
    folder = tempfile.mkdtemp(prefix="tamv-bot-")
    path = f"{folder}/socket"
    program = f"from tests.harness.command_line import serve_forks; serve_forks({path!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    atexit.register(process.kill)
    return path


def serve_forks(path: str) -> None:
    """Fork a `tamv-bot` for each request on the Unix socket at `path`."""
    for module in IMPORTED_ALREADY:
        import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)  # noqa: T201 - whoever has started it waits for this line
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _run_and_tell(connection)


def _run_and_tell(connection: socket.socket) -> None:
    """Run one request in a child, tell its process id and its exit code, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    raw, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, 2)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(raw), *descriptors)
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _drop_capabilities() -> None:
    """Give up what sets root apart (capabilities(7)), such as reading every file."""
    version, nothing = 0x20080522, (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset((ctypes.c_uint32 * 2)(version, 0), nothing):
        raise OSError(ctypes.get_errno(), "capset")


def _become(request: dict[str, object], out: int, err: int) -> None:
    """Be `tamv-bot` with these arguments, this environment and these outputs."""
    from bot.__main__ import main

    os.dup2(out, 1)
    os.dup2(err, 2)
    if request["stdin"]:
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123 - until it ends
    else:
        os.close(0)
        sys.stdin = None
    code: object = 0
    try:
        os.chdir(str(request["cwd"]))
        if request["powerless"]:
            _drop_capabilities()
        os.environ.clear()
        os.environ.update(request["env"])  # type: ignore[call-overload]
        sys.argv = ["tamv-bot", *request["arguments"]]  # type: ignore[misc]
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)  # noqa: T201
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)
