"""A database's dump: what the pod runs, what comes to lie in S3, and what is left of a dump that broke off."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bot.domain.errors import BadInput, Refused, WrongState
from bot.integrations.aws import Aws, Objects, clients
from bot.integrations.kubernetes.exec import SCRIPT
from sandbox.aws import KEY_ID, REGION, SECRET_KEY
from sandbox.deadline import deadline
from sandbox.kubernetes.containers import Behaviour, Dump
from sandbox.server import Sandbox
from tests.harness.actor import Actor, in_cluster, parts
from tests.real.parts import program

T = TypeVar("T")
MIB = 1024 * 1024


@dataclass
class Place:
    sandbox: Sandbox
    actor: Actor

    def objects(self) -> set[str]:
        return set(self.sandbox.aws.objects)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with in_cluster(tmp_path) as (sandbox, url, kubernetes):
        aws = Aws(clients(REGION, f"{url}/aws/", (KEY_ID, SECRET_KEY)))
        yield Place(sandbox, Actor(parts(tmp_path, sandbox.clock, kubernetes=kubernetes, aws=aws)))


async def test_a_dump_goes_from_the_pod_to_the_bucket_whole_and_once(place: Place) -> None:
    dump = place.sandbox.kubernetes.programs.dump = Dump(size=35 * MIB)
    before = place.objects()
    effects, shown = await place.actor.rehearse("kubernetes.exec_dump", backups="database", service="tamv-core")
    assert [effect.key for effect in effects] == ["kubernetes.exec_dump"]
    assert place.objects() == before and shown.size == 0
    done = await place.actor.perform("kubernetes.exec_dump", backups="database", service="tamv-core")
    kept = place.sandbox.aws.objects[done.name]
    assert (done.size, done.sha256) == (dump.size, hashlib.sha256(dump.whole()).hexdigest())
    assert kept.value == dump.whole()
    again = await place.actor.perform("kubernetes.exec_dump", backups="database", service="tamv-core")
    commands = place.sandbox.kubernetes.programs.commands
    assert again == done and len(commands) == 1, "tried again, it knows its own dump"
    assert "://" not in " ".join(commands[0]).replace("#*://", ""), "the address is on no command line"
    await place.actor.undo("kubernetes.exec_dump", done)
    assert place.objects() == before


async def test_of_a_dump_that_breaks_off_nothing_is_kept(place: Place) -> None:
    before = place.objects()
    place.sandbox.kubernetes.programs.dump = Dump(size=40 * MIB, fail_at=30 * MIB)
    with pytest.raises(Refused) as broken:
        await place.actor.perform("kubernetes.exec_dump", backups="database", service="tamv-core")
    assert broken.value.key == "program_failed" and "connection to server was lost" in str(broken.value.facts["why"])
    place.sandbox.kubernetes.programs.dump = Dump(size=0)
    with pytest.raises(WrongState) as empty:
        await place.actor.perform("kubernetes.exec_dump", backups="database", service="tamv-core")
    assert empty.value.key == "backup_empty"
    assert (place.objects(), place.sandbox.aws.unfinished) == (before, [])


async def test_nothing_is_dumped_where_it_does_not_belong_or_cannot_be(place: Place) -> None:
    staging = Actor(place.actor.deps, "staging")
    with pytest.raises(BadInput) as elsewhere:
        await staging.rehearse("kubernetes.exec_dump", backups="database")
    assert elsewhere.value.key == "no_such_environment"
    with pytest.raises(BadInput) as unknown:
        await place.actor.rehearse("kubernetes.exec_dump", backups="databases")
    assert unknown.value.facts["nearest"] == "database"
    with pytest.raises(Refused) as without:
        await place.actor.perform("kubernetes.exec_dump", backups="database", service="xr-engine")
    assert without.value.key == "program_failed", "this service has no database"
    place.sandbox.kubernetes.behaviours.set("*/xr-engine:*", Behaviour(fault="CrashLoopBackOff"))
    await place.actor.deps.kubernetes.workloads.scale("xr-engine", "tamv-prod", 0, 3)  # type: ignore[union-attr]
    place.sandbox.kubernetes.advance()
    async with deadline(10):
        while True:
            try:
                await place.actor.rehearse("kubernetes.exec_dump", backups="database", service="xr-engine")
            except WrongState as none:
                assert none.key == "no_ready_pod"
                break


# --- what the pod runs


def run_script(folder: Path, environment: Mapping[str, str], shell: str = "sh") -> subprocess.CompletedProcess[str]:
    """The script by a real shell, with a pg_dump that tells how it was called."""
    program = folder / "pg_dump"
    program.write_text('#!/bin/sh\nenv | grep ^PG | sort; echo "url=${DATABASE_URL-none}"; echo "$@"\n')
    program.chmod(0o755)
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", **environment}
    return subprocess.run([shell, "-c", SCRIPT], env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://db/tamv", {"PGHOST": "db", "PGDATABASE": "tamv"}),
        (
            "postgres://u%40x:p%3A%2F%25%40%3F@db.tamv.world:6543/ta%20mv?sslmode=require&a=b&sslrootcert=%2Fetc%2Fca",
            {
                "PGHOST": "db.tamv.world",
                "PGPORT": "6543",
                "PGUSER": "u@x",
                "PGPASSWORD": "p:/%@?",
                "PGDATABASE": "ta mv",
                "PGSSLMODE": "require",
                "PGSSLROOTCERT": "/etc/ca",
            },
        ),
        ("postgresql://u@[fd00::1]:5433/x?sslmode=verify-full", {"PGHOST": "fd00::1", "PGPORT": "5433", "PGUSER": "u"}),
        ("postgresql://u:$(id)`id`'\"@db/x", {"PGPASSWORD": "$(id)`id`'\""}),
    ],
)
def test_the_address_is_taken_apart_in_the_pod_and_stands_on_no_command_line(
    tmp_path: Path, url: str, expected: dict[str, str]
) -> None:
    ended = run_script(tmp_path, {"DATABASE_URL": url})
    assert (ended.returncode, ended.stderr) == (0, "")
    *variables, hidden, arguments = ended.stdout.splitlines()
    assert dict(line.split("=", 1) for line in variables).items() >= expected.items()
    assert (hidden, arguments) == ("url=none", "--format=custom --no-password")


def test_without_an_address_nothing_is_dumped(tmp_path: Path) -> None:
    ended = run_script(tmp_path, {})
    assert ended.returncode and "DATABASE_URL" in ended.stderr and not ended.stdout


@pytest.mark.real("postgresql")
def test_a_real_pg_dump_understands_it(postgresql_url: str) -> None:
    postgres = program("postgres")
    assert postgres
    environment = {"PATH": f"{postgres.parent}:{os.environ['PATH']}", "DATABASE_URL": postgresql_url}
    ended = subprocess.run(["sh", "-c", SCRIPT], env=environment, capture_output=True, check=True)
    assert ended.stdout.startswith(b"PGDMP")


# --- how much is in memory


class CountingS3:
    """An S3 that keeps how much was sent, and how far ahead of it the source had been read at most."""

    def __init__(self) -> None:
        self.read = self.sent = self.ahead = 0
        self.content = BytesIO()
        self.damaged = b""
        self.gone = False

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "1"}

    def upload_part(self, Body: bytes, **_: Any) -> dict[str, str]:
        self.ahead = max(self.ahead, self.read - self.sent)
        self.sent += len(Body)
        self.content.write(Body)
        return {"ETag": "e"}

    def complete_multipart_upload(self, **_: Any) -> None:
        pass

    def abort_multipart_upload(self, **_: Any) -> None:
        self.gone = True

    def get_object(self, Range: str, **_: Any) -> dict[str, Any]:
        begin, end = Range.removeprefix("bytes=").split("-")
        stored = self.damaged or self.content.getvalue()
        return {"Body": BytesIO(stored[int(begin) : int(end) + 1]), "ContentRange": f"bytes {begin}-{end}/{self.sent}"}

    def delete_object(self, **_: Any) -> None:
        self.gone = True

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        for _ in range(0, size, 4096):
            self.read += 4096
            yield bytes(4096)


async def at_once(what: str, action: Callable[[], T], *, writes: bool = False) -> T:
    return action()


async def test_the_source_is_never_read_further_than_one_part_ahead() -> None:
    s3, part = CountingS3(), 64 * 1024
    written = await Objects(lambda _: s3, at_once, part).write("b", "n", s3.pieces(40 * part + 4096), "R-1/a")
    assert (written.size, s3.sent) == (40 * part + 4096, 40 * part + 4096)
    assert s3.ahead <= part


async def test_what_is_read_back_otherwise_is_not_kept() -> None:
    s3 = CountingS3()
    objects = Objects(lambda _: s3, at_once, 64 * 1024)
    s3.damaged = bytes(99_999) + b"x"
    with pytest.raises(WrongState) as damaged:
        await objects.write("b", "n", s3.pieces(100_000), "R-1/a")
    assert damaged.value.key == "backup_damaged" and s3.gone


async def test_a_cancelled_dump_gives_the_upload_up() -> None:
    s3, begun = CountingS3(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(70_000)
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(Objects(lambda _: s3, at_once, 64 * 1024).write("b", "n", slow(), "R-1/a"))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert s3.gone
