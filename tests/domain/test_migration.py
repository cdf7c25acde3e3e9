"""What a migration's SQL may say in each of the five steps."""

from __future__ import annotations

import pytest

from bot.domain.errors import BadInput, WrongState
from bot.domain.migration import Phase, plan, review

ADDS = [
    "ALTER TABLE users ADD COLUMN email_verified_v2 boolean DEFAULT NULL;",
    "ALTER TABLE users ADD COLUMN note text DEFAULT 'DROP TABLE users; --'; -- DROP TABLE users;",
    "/* RENAME; TRUNCATE */ CREATE INDEX CONCURRENTLY drop_zone ON users (id);",
    "CREATE TYPE mood AS ENUM ('sad', 'ok');",
    "CREATE FUNCTION f() RETURNS void AS $$ BEGIN UPDATE a SET b = 1; END; $$ LANGUAGE plpgsql;",
    "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $b$ BEGIN DELETE FROM a; RETURN OLD; END $b$;",
    "CREATE FUNCTION h() RETURNS int LANGUAGE sql BEGIN ATOMIC DELETE FROM a; SELECT 2; END;",
    'CREATE TABLE "drop" ("truncate" int, rename text, PRIMARY KEY ("truncate")) PARTITION BY RANGE (rename);',
    "ALTER TABLE users ALTER COLUMN email DROP NOT NULL;",
    "ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES b (id) ON DELETE CASCADE NOT VALID;",
    "GRANT SELECT, DELETE ON users TO app;",
    "DO $$ BEGIN CREATE TYPE m AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$;",
    "/* a /* nested; DROP TABLE x */ b */ ALTER TABLE users ADD COLUMN a int;",
    "INSERT INTO users (a) VALUES (E'it\\'s; DROP TABLE users') ON CONFLICT DO NOTHING;",
    "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN UPDATE SET c = b.c;",
]
DESTROYS = [
    "ALTER TABLE users DROP COLUMN email_verified;",
    "drop table users;",
    "ALTER TABLE users RENAME COLUMN email_verified_v2 TO email_verified;",
    'ALTER TABLE users ALTER COLUMN "a b" TYPE text;',
    "ALTER TABLE users ALTER a SET DATA TYPE bigint;",
    "ALTER TABLE users ALTER COLUMN a SET NOT NULL;",
    "TRUNCATE users;",
    "DELETE\nFROM users;",
    "DO $x$ BEGIN EXECUTE 1; ALTER TABLE a DROP COLUMN b; END $x$;",
    "DO $$ BEGIN IF true THEN EXECUTE 'DROP TABLE ' || 'users'; END IF; END $$;",
    "DO $$ DECLARE r record; BEGIN FOR r IN DELETE FROM a RETURNING * LOOP PERFORM 1; END LOOP; END $$;",
    "ALTER TABLE users ALTER COLUMN a DROP DEFAULT;",
    "ALTER TABLE users DETACH PARTITION users_2025 CONCURRENTLY;",
    "ALTER TABLE users SET SCHEMA archive;",
    "ALTER TABLE users NO INHERIT people;",
    "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';",
    "ALTER DOMAIN d SET NOT NULL;",
    "ALTER DOMAIN d DROP DEFAULT;",
    "ALTER PUBLICATION p DROP TABLE users;",
    "ALTER EXTENSION e DROP TABLE users;",
    "ALTER OPERATOR FAMILY f USING btree DROP FUNCTION 1 (int, int);",
    "REVOKE SELECT ON users FROM app;",
    "REVOKE admin FROM app;",
    "DROP INDEX CONCURRENTLY IF EXISTS i;",
    "DROP OWNED BY app;",
    "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone;",
    "WITH gone AS (DELETE FROM users RETURNING *) INSERT INTO pgmigrations (name) SELECT 'x' FROM gone;",
    "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE;",
    "EXPLAIN ANALYZE DELETE FROM users;",
]
# As node-pg-migrate 9 wrote it for a real PostgreSQL, each `{}` the SQL of one migration.
DRY_RUN = """dry run
> Migrating files:
> - 1700000000001_add
> - 1700000000002_more
### MIGRATION 1700000000001_add (UP) ###
{}
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000001_add', NOW());


#> WARNING: Need to break single transaction! <
### MIGRATION 1700000000002_more (UP) ###
COMMIT;
{}
INSERT INTO "public"."pgmigrations" (name, run_on) VALUES ('1700000000002_more', NOW());
BEGIN;


Migrations complete!
"""


def refused(lines: list[str], phase: Phase) -> str | None:
    try:
        review(plan(lines), phase)
    except WrongState as why:
        return why.key
    return None


def dry_run(*migrations: str) -> list[str]:
    return DRY_RUN.format(*migrations).splitlines()


@pytest.mark.parametrize("sql", ADDS)
def test_what_adds_may_come_first_and_is_no_drop(sql: str) -> None:
    assert refused(dry_run(sql, ADDS[0]), Phase.ADD) is None
    assert refused([sql], Phase.DROP) == "migration_not_a_drop"


@pytest.mark.parametrize("sql", DESTROYS)
def test_what_destroys_comes_last_and_alone(sql: str) -> None:
    assert refused(dry_run(sql, DESTROYS[0]), Phase.DROP) is None
    assert refused([sql], Phase.ADD) == "migration_too_early"
    for phase in Phase:
        assert refused([ADDS[0], sql], phase) == "migration_mixed"


def test_one_statement_can_be_mixed_by_itself() -> None:
    assert refused(["ALTER TABLE users ADD COLUMN a int, DROP COLUMN b"], Phase.DROP) == "migration_mixed"


@pytest.mark.parametrize("sql", ["CREATE TABLE a AS WITH d AS (DELETE FROM b RETURNING *) SELECT * FROM d;",
    "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone;"])  # fmt: skip
def test_what_one_statement_moves_is_mixed(sql: str) -> None:
    assert refused([sql], Phase.ADD) == "migration_mixed"


def test_people_read_the_statements_and_nothing_of_the_tool() -> None:
    sql = "-- Up Migration\nALTER TABLE users\n  ADD a int; -- DROP it; later"
    assert [one.text for one in plan(dry_run(sql, "DROP INDEX CONCURRENTLY i;"))] == [
        "ALTER TABLE users ADD a int",
        "DROP INDEX CONCURRENTLY i",
    ]


@pytest.mark.parametrize("said", [dry_run("", ""), ["dry run", "No migrations to run!", "Migrations complete!"], []])
def test_a_plan_of_the_tools_words_alone_is_empty(said: list[str]) -> None:
    assert plan(said) == []
    assert refused(said, Phase.ADD) == "migration_empty"


def test_what_is_no_sql_is_not_let_through() -> None:
    with pytest.raises(BadInput) as why:
        plan(["ALTER TABLE users ADD a int;", "Error: connect ECONNREFUSED 10.0.0.1:5432"])
    assert why.value.key == "migration_unreadable" and "syntax error" in str(why.value.facts["why"])


@pytest.mark.parametrize("levels", [100, 7_900, 1_000_000])
def test_a_statement_that_would_crash_the_grammar_is_not_judged(levels: int) -> None:
    with pytest.raises(BadInput) as why:
        plan([f"INSERT INTO a SELECT {'1+' * levels}1"])
    assert why.value.key == "migration_too_large"


def test_the_bookkeeping_is_not_a_way_around() -> None:
    assert refused(["DROP TABLE pgmigrations;"], Phase.ADD) == "migration_too_early"
    assert refused(["DELETE FROM pgmigrations;"], Phase.ADD) == "migration_too_early"
    assert plan(["DELETE FROM pgmigrations WHERE name='17';"], Phase.DOWN) == []
    assert refused(["SET search_path = x; SELECT 1; DROP TABLE users"], Phase.ADD) == "migration_too_early"


def test_the_steps_have_an_order() -> None:
    *steps, down = Phase
    assert [phase.before for phase in steps] == [None, *steps[:-1]]
    assert (down, down.before) == (Phase.DOWN, Phase.ADD)
