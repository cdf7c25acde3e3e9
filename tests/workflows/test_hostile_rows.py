"""Whoever can write to the engine's tables cannot run code as the bot."""

from __future__ import annotations

import base64
import contextlib
import pickle
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS, DBOSClient
from dbos._schemas.system_database import SystemSchema

from bot.deps import Deps
from bot.workflows.engine.durable import durable_step
from bot.workflows.engine.engine import WORKFLOW_VERSION
from bot.workflows.engine.serialization import json_serializer
from tests.workflows.test_engine import Record, does, engine

LABELLED = (
    "workflow_status",
    "operation_outputs",
    "notifications",
    "workflow_events",
    "workflow_events_history",
    "streams",
)


class Hostile:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "code of a row ran"))


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.fixture
def hostile(ran: Path) -> str:
    text = base64.b64encode(pickle.dumps(Hostile(ran))).decode()
    pickle.loads(base64.b64decode(text))  # noqa: S301 - our own
    assert ran.exists(), "it does run code where nothing refuses it"
    ran.unlink()
    return text


def test_every_table_with_a_label_is_known() -> None:
    labelled = {table.name for table in SystemSchema.metadata_obj.tables.values() if "serialization" in table.columns}
    assert labelled == set(LABELLED)


async def test_a_hostile_row_in_any_table_runs_nothing_and_stops_nothing(
    tmp_path: Path, ran: Path, hostile: str
) -> None:
    url, record = f"sqlite:///{tmp_path / 'bot.db'}", Record()

    async def works(deps: Deps) -> None:
        await durable_step("step", does(record, "done", gives={"a": 1}))

    async with engine(url, {"works": works}) as deps:
        await deps.store.outbox.enqueue_once("first", "works", [])
        await record.until(len)
    tables = f"{tmp_path / 'bot.db'}.workflows"
    with contextlib.closing(sqlite3.connect(tables)) as connection, connection:
        _plant(connection, hostile)
    async with engine(url, {"works": works}) as deps:
        await deps.store.outbox.enqueue_once("second", "works", [])
        await record.until(lambda done: len(done) == 2)
        await _read_everything(f"sqlite:///{tables}")
    assert not ran.exists()


def _plant(connection: sqlite3.Connection, hostile: str) -> None:
    """Write a hostile row into each table: a workflow to recover, a workflow that ended, and all that it left."""
    for id, status in (("hostile-pending", "PENDING"), ("hostile-done", "SUCCESS"), ("hostile-failed", "ERROR")):
        connection.execute(
            "INSERT INTO workflow_status (workflow_uuid, status, name, inputs, output, error, serialization, priority,"
            " executor_id, application_version, created_at, updated_at)"
            " VALUES (?, ?, 'works', ?, ?, ?, 'py_pickle', 0, 'gone', ?, 1, 1)",
            (id, status, hostile, hostile if status == "SUCCESS" else None, hostile if status == "ERROR" else None,
             WORKFLOW_VERSION),
        )  # fmt: skip
    values = {"workflow_uuid": "hostile-done", "destination_uuid": "hostile-done", "serialization": "py_pickle"}
    for name in LABELLED[1:]:
        table = next(table for table in SystemSchema.metadata_obj.tables.values() if table.name == name)
        given = values | {"output": hostile, "message": hostile, "value": hostile, "key": "k", "topic": "t"}
        row = {column.name: given.get(column.name, _plain(column)) for column in table.columns}
        row = {column: value for column, value in row.items() if value is not None}
        marks = ", ".join(f":{column}" for column in row)
        columns = ", ".join(f'"{column}"' for column in row)
        connection.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks})", row)  # noqa: S608 - names of the schema


def _plain(column: Any) -> Any:
    if column.nullable and column.name != "function_name":
        return None
    return {"INTEGER": 1, "BIGINT": 1, "BOOLEAN": 0}.get(str(column.type).upper(), column.name)


async def _read_everything(url: str) -> None:
    client = DBOSClient(system_database_url=url, serializer=json_serializer())
    reads = (
        lambda: client.list_workflows_async(load_input=True, load_output=True),
        lambda: client.list_workflow_steps_async("hostile-done"),
        lambda: _result(client, "hostile-done"),
        lambda: _result(client, "hostile-failed"),
        lambda: client.get_event_async("hostile-done", "k", 0.1),
        lambda: DBOS.get_all_events_async("hostile-done"),
        lambda: _stream(client),
    )
    for read in reads:
        with contextlib.suppress(Exception):
            await read()
    client.destroy()


async def _result(client: DBOSClient, id: str) -> Any:
    return await (await client.retrieve_workflow_async(id)).get_result()


async def _stream(client: DBOSClient) -> list[Any]:
    return [value async for value in client.read_stream_async("hostile-done", "k")]
