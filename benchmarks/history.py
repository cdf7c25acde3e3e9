"""Five years of incidents in PostgreSQL: how soon a person has the answer to a command."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import psycopg

from benchmarks.figures import Figure, median, percentile
from benchmarks.place import Place, place, until
from benchmarks.requests import trigger_of
from bot.store.migrate import upgrade
from tests.real.parts import missing
from tests.real.postgresql import postgresql

INCIDENTS, EVENTS_EACH, OPEN = 100_000, 20, 40
BAR = "100,000 incidents, 2 million timeline events in PostgreSQL: command to private answer"
LIMIT = 20.0
TIMES = 100
FEWER = 20

# One every 26 minutes until now; the newest are open. The hashes are no chain: nobody reads them here.
LOAD = """
CREATE TEMPORARY TABLE made AS
    SELECT n, now() - (%(incidents)s - n) * interval '26 minutes' AS at FROM generate_series(1, %(incidents)s) AS n;
ALTER TABLE made ADD id text;
UPDATE made SET id = format('INC-%%s-%%s', year, lpad(number, greatest(4, length(number)), '0')) FROM (
    SELECT n, extract(year FROM at) AS year, (row_number() OVER (PARTITION BY extract(year FROM at) ORDER BY n))::text
        AS number FROM made
) AS numbered WHERE numbered.n = made.n;
INSERT INTO incidents (id, title, severity, status, service, drill, source, channel, declared_by, roles, impact, cause,
        detected_at, declared_at, acknowledged_at, mitigated_at, resolved_at, updated_at, last_seq, last_hash)
    SELECT id, 'Latencia alta en el render ' || n, 'SEV' || 1 + n %% 4,
        CASE WHEN n > %(incidents)s - %(open)s THEN 'acknowledged' ELSE 'closed' END,
        'xr-engine', n %% 50 = 0, 'alertmanager', 'C' || lpad(n::text, 9, '0'),
        '{"id": "alertmanager", "name": "Alertmanager", "locale": "es"}', '{"incident_commander": "U0ANA00001"}',
        '{"users": 1200, "services": ["xr-engine"], "revenue": null, "summary": null}',
        '{"primary": null, "contributing": [], "detection": null, "lessons": []}',
        at - interval '3 minutes', at, at + interval '2 minutes',
        CASE WHEN n <= %(incidents)s - %(open)s THEN at + interval '15 minutes' END,
        CASE WHEN n <= %(incidents)s - %(open)s THEN at + interval '25 minutes' END,
        at + interval '30 minutes', %(events)s, md5(id) || md5(n::text) FROM made;
INSERT INTO timeline (incident_id, seq, kind, at, by_id, by_name, facts, hash, cause)
    SELECT id, seq, CASE WHEN seq = 1 THEN 'declared' WHEN seq %% 5 = 0 THEN 'update' ELSE 'note' END,
        at + seq * interval '1 minute', 'U0ANA00001', 'Ana Torres',
        json_build_object('text', 'Observación ' || seq || ' del incidente ' || id),
        md5(id || seq) || md5(seq || id), id || '/' || seq
    FROM made CROSS JOIN generate_series(1, %(events)s) AS seq;
INSERT INTO counters (year, last) SELECT extract(year FROM at), count(*) FROM made GROUP BY 1;
ANALYZE;
"""


async def history() -> list[Figure]:
    if why := missing("postgresql"):
        return [Figure(BAR, "-", None, "ms", LIMIT, why)]
    with postgresql() as server:
        url = server.new_database()
        upgrade(url)
        began = time.perf_counter()
        _load(url)
        loaded = time.perf_counter() - began
        async with place(database=url) as here:
            chance = random.Random(1)  # noqa: S311 - which channel is asked in, no secret

            def anywhere() -> str:
                return f"C{chance.randrange(1, INCIDENTS + 1):09d}"

            def nowhere() -> str:
                return "C0INCIDENT"

            figures = [
                await _answered(here, "list", "/incident list", nowhere),
                await _answered(here, "status", "/incident status", anywhere),
                await _answered(here, "timeline", "/incident timeline", anywhere),
                await _answered(here, "statistics (90 days)", "/incident stats", nowhere),
            ]
            all_of_them = await _taken(here, "/incident stats 3650d", nowhere, FEWER)
    return [
        *figures,
        Figure(BAR, "statistics of ten years, p95", percentile(all_of_them, 95), "ms", 100.0),
        Figure(BAR, "loading them", loaded, "s", note="by INSERT … SELECT, without fsync"),
    ]


def _load(url: str) -> None:
    given = {"incidents": INCIDENTS, "events": EVENTS_EACH, "open": OPEN}
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(LOAD, given)


async def _answered(here: Place, what: str, line: str, where: Callable[[], str]) -> Figure:
    taken = await _taken(here, line, where, TIMES)
    return Figure(BAR, f"{what}, p95", percentile(taken, 95), "ms", LIMIT, f"median {median(taken):.0f} ms")


async def _taken(here: Place, line: str, where: Callable[[], str], times: int) -> list[float]:
    """Milliseconds from the signed command until the answer is at the response URL."""
    return [await _once(here, line, where()) for _ in range(times + 5)][5:]


async def _once(here: Place, line: str, channel: str) -> float:
    request = here.workspace.command(line, channel)
    began = time.time()
    status, _ = await here.send(request)
    assert status == 200, status
    trigger = trigger_of(request)
    (heard,) = await until(lambda: here.calls(trigger), every=0.01)
    return float((heard["at"] - began) * 1000)
