"""Read what PostgreSQL statements do to a schema, with PostgreSQL's own grammar.

Names of the tree's nodes: https://github.com/pganalyze/libpg_query/blob/18-latest/protobuf/pg_query.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bot.domain.errors import BadInput, WrongState

LONGEST = 16_000  # characters of one statement: libpg_query recurses over the tree and crashes from about 40,000 on

_SILENT = {  # these change nothing themselves; statements inside them may
    "AlterTableStmt", "ExplainStmt", "LockStmt", "MergeStmt", "SelectStmt", "TransactionStmt", "VariableSetStmt",
    "VariableShowStmt",
}  # fmt: skip
_INSIDE = {"AlterTableCmd", "DeleteStmt", "InsertStmt", "MergeWhenClause", "UpdateStmt"}
_DEFINES = {"CreateFunctionStmt", "RuleStmt"}  # statements inside these are not executed now
_DESTROYS = {"AlterObjectSchemaStmt", "DeleteStmt", "RenameStmt", "TruncateStmt"}
_BREAKS_TABLE = {"AT_SetNotNull", "AT_AlterColumnType", "AT_DetachPartition", "AT_DetachPartitionFinalize"}
_BREAKS_DOMAIN = {"O", "X"}  # SET NOT NULL, DROP CONSTRAINT

_TOOLS = re.compile(  # what node-pg-migrate prints between the SQL
    r"^(dry run|no lock|> Migrating files:|> - \S+|#> WARNING: .* <|### MIGRATION \S+ \((UP|DOWN)\) ###"
    r"|No migrations to run!|Migrations complete!)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """How node-pg-migrate records the migrations that have run: this kind of statement on this table."""

    statement: str = "InsertStmt"
    table: str = "pgmigrations"


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement. `destroys`: it breaks code that uses the old schema; `adds`: it creates or fills something."""

    text: str
    destroys: bool
    adds: bool


def statements(sql: str, bookkeeping: Bookkeeping) -> list[Statement]:
    """Return the statements that change something, except the tool's own bookkeeping.

    A function definition counts as a change, its body does not. The body of a DO block counts; dynamic SQL in it
    (EXECUTE) is unknown until it runs and counts as destructive. Raises BadInput for invalid SQL, and for a statement
    that is longer than LONGEST or nested deeper than about forty levels.
    """
    import postgast  # imported here: 15 MB that only a migration needs

    result = []
    try:
        for text in postgast.split(sql):
            effects = list(_effects(text, bookkeeping))
            if effects:
                result.append(Statement(" ".join(text.split()), any(effects), not all(effects)))
    except postgast.PgQueryError as error:
        raise BadInput("migration_unreadable", why=error.message) from error
    return result


def _effects(text: str, bookkeeping: Bookkeeping) -> Iterator[bool]:
    """Yield, for each change of one statement, whether it is destructive."""
    import postgast
    from google.protobuf.message import DecodeError

    if len(text) > LONGEST:
        raise BadInput("migration_too_large", sql=text[:60])
    try:
        (raw,) = postgast.parse(text).stmts
    except DecodeError as error:  # nested deeper than protobuf's limit of 100 levels
        raise BadInput("migration_too_large", sql=text[:60]) from error
    statement = postgast.unwrap_node(raw.stmt)
    if _kind(statement) == "DoStmt":
        yield from _in_block(postgast.parse_plpgsql(text), bookkeeping)
    elif _kind(statement) in _DEFINES:
        yield False
    else:
        for _, node in postgast.walk(statement):
            is_change = _kind(node) in _INSIDE or (node is statement and _kind(node) not in _SILENT)
            books = _kind(node) == bookkeeping.statement and node.relation.relname == bookkeeping.table
            if is_change and not books:
                yield _destroys(node)


def _in_block(tree: Any, bookkeeping: Bookkeeping) -> Iterator[bool]:
    """Yield the same for a DO block, from its tree as JSON."""
    for name, node in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if name in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery"):
            yield True
        elif name == "PLpgSQL_expr" and not node["parseMode"]:  # 0: a full statement; other modes are expressions
            yield from _effects(node["query"], bookkeeping)
        elif isinstance(node, dict | list):
            yield from _in_block(node, bookkeeping)


def _destroys(node: Any) -> bool:
    from postgast import pg_query_pb2 as names

    match _kind(node):
        case "AlterTableCmd":
            subtype = names.AlterTableType.Name(node.subtype)
            dropped = subtype.startswith("AT_Drop") and subtype != "AT_DropNotNull"  # DROP NOT NULL breaks no reader
            return dropped or subtype in _BREAKS_TABLE or (subtype == "AT_ColumnDefault" and not node.HasField("def"))
        case "AlterDomainStmt":
            return node.subtype in _BREAKS_DOMAIN or (node.subtype == "T" and not node.HasField("def"))
        case "MergeWhenClause":
            return bool(node.command_type == names.CMD_DELETE)
        case "GrantStmt" | "GrantRoleStmt":
            return not node.is_grant
        case "AlterEnumStmt":
            return bool(node.old_val)  # renamed
        case "AlterExtensionContentsStmt":
            return bool(node.action < 0)
        case "AlterPublicationStmt":
            return bool(node.action == names.AP_DropObjects)
        case "AlterOpFamilyStmt":
            return bool(node.is_drop)
        case kind:
            return kind in _DESTROYS or kind.startswith("Drop")


def _kind(node: Any) -> str:
    return str(node.DESCRIPTOR.name)


class Phase(StrEnum):
    """The phases of a schema change, in order; `down` takes the first one back, while nothing uses what it added.

    Old columns are dropped in a later release than the last one that read them.
    """

    ADD = "add"
    DUAL_WRITE = "dual-write"
    BACKFILL = "backfill"
    SWITCH_READS = "switch-reads"
    DROP = "drop"
    DOWN = "down"

    @property
    def before(self) -> Phase | None:
        """The phase that must be complete before this one."""
        if self is Phase.DOWN:
            return Phase.ADD
        order = list(Phase)
        position = order.index(self)
        return order[position - 1] if position else None


def plan(lines: Iterable[str], phase: Phase = Phase.ADD) -> list[Statement]:
    """Return the statements of a plan printed by `node-pg-migrate up --dry-run`, or `down --dry-run` in phase `down`.

    The tool's own output and rows are left out. Raises BadInput for invalid SQL.
    """
    books = Bookkeeping("DeleteStmt") if phase is Phase.DOWN else Bookkeeping()
    return statements(_TOOLS.sub("", "\n".join(lines)), books)


def review(statements: Sequence[Statement], phase: Phase) -> None:
    """Raise WrongState for a plan that is empty, mixes destructive and other statements, or does not fit its phase."""
    destroying = next((statement for statement in statements if statement.destroys), None)
    adding = next((statement for statement in statements if statement.adds), None)
    if not statements:
        raise WrongState("migration_empty", step=phase.value)
    if destroying and adding:
        raise WrongState("migration_mixed", destroys=_short(destroying), other=_short(adding))
    if destroying and phase not in (Phase.DROP, Phase.DOWN):
        raise WrongState("migration_too_early", destroys=_short(destroying), step=phase.value)
    if adding and phase in (Phase.DROP, Phase.DOWN):
        raise WrongState("migration_not_a_drop", other=_short(adding), step=phase.value)


def _short(statement: Statement) -> str:
    return statement.text if len(statement.text) <= 120 else f"{statement.text[:119]}…"
