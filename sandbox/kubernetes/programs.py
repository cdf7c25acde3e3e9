"""What `exec` runs in a pod: a few programs, played."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from sandbox.kubernetes.objects import Object, name_of, namespace_of
from sandbox.kubernetes.resources.main import SECRET
from sandbox.kubernetes.store import Store

STDOUT, STDERR = 1, 2
CHUNK = 64 * 1024
SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "ash")


@dataclass
class Dump:
    """What pg_dump does: writes so many bytes of an archive; with `fail_at` it breaks off there, with exit code 1."""

    size: int = 2 * 1024 * 1024
    fail_at: int | None = None

    def content(self, begin: int, length: int) -> bytes:
        """Bytes of the archive, the same at each call: pg_dump's magic, then what looks compressed."""
        if begin == 0:
            return (b"PGDMP\x01\x10\x00" + self._noise(0))[:length]
        return self._noise(begin)[:length]

    def _noise(self, at: int) -> bytes:
        return hashlib.sha256(str(at).encode()).digest() * (CHUNK // 32)

    def whole(self) -> bytes:
        """The archive at once, for who compares."""
        return b"".join(self.content(at, min(CHUNK, self.size - at)) for at in range(0, self.size, CHUNK))


@dataclass
class Exit:
    """How a program ended. `missing` is a program that the container does not have."""

    code: int = 0
    missing: str = ""


class Programs:
    """Runs commands; `dump` can be changed by who tries what then happens. `commands` have been run so far."""

    def __init__(self, store: Store) -> None:
        self.dump = Dump()
        self.commands: list[list[str]] = []
        self._store = store

    async def run(self, command: Sequence[str], pod: Object, ended: Exit) -> AsyncIterator[tuple[int, bytes]]:
        """What a command writes, as (stream, bytes); `ended` is filled in at the end."""
        words = list(command)
        self.commands.append(words)
        while words and words[0] in SHELLS:
            script = [word for word in words[1:] if not word.startswith("-")]
            if not script:
                return  # a shell that nobody types into ends at once
            words = _words(script[0])
        program = words[0].rpartition("/")[2] if words else ""
        environment = self._environment(pod)
        match program:
            case "pg_dump":
                async for written in self._pg_dump(environment, ended):
                    yield written
            case "echo":
                yield STDOUT, (" ".join(words[1:]) + "\n").encode()
            case "env" | "printenv":
                yield STDOUT, "".join(f"{name}={value}\n" for name, value in environment.items()).encode()
            case "hostname":
                yield STDOUT, f"{name_of(pod)}\n".encode()
            case "true":
                return
            case "false":
                ended.code = 1
            case _:
                ended.missing = words[0] if words else "sh"

    async def _pg_dump(self, environment: dict[str, str], ended: Exit) -> AsyncIterator[tuple[int, bytes]]:
        if not {"DATABASE_URL", "PGHOST"} & set(environment):
            yield STDERR, b"pg_dump: error: connection to server on socket failed: No such file or directory\n"
            ended.code = 1
            return
        end = self.dump.size if self.dump.fail_at is None else min(self.dump.fail_at, self.dump.size)
        for at in range(0, end, CHUNK):
            yield STDOUT, self.dump.content(at, min(CHUNK, end - at))
        if self.dump.fail_at is not None:
            yield STDERR, b"pg_dump: error: connection to server was lost\n"
            ended.code = 1

    def _environment(self, pod: Object) -> dict[str, str]:
        container = pod["spec"]["containers"][0]
        found = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": name_of(pod)}
        for source in container.get("envFrom") or ():
            name = (source.get("secretRef") or {}).get("name", "")
            data = (self._store.get(SECRET, namespace_of(pod), name) or {}).get("data") or {}
            found |= {key: base64.b64decode(value).decode() for key, value in data.items()}
        return found | {one["name"]: one.get("value", "") for one in container.get("env") or ()}


def _words(script: str) -> list[str]:
    """The first command of a script's last line that is none of the shell's own (`set`, `exec`)."""
    last = next((line for line in reversed(script.splitlines()) if line.strip()), "")
    for part in last.replace("&&", ";").split(";"):
        words = shlex.split(part, comments=True)
        while words and (words[0] == "exec" or "=" in words[0]):
            words = words[1:]
        if words and words[0] not in ("set", "cd", "export", "umask"):
            return words
    return ["true"]
