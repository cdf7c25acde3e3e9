"""What PostgreSQL's statements do to a schema, read with PostgreSQL's own grammar.

The tree's names: https://github.com/pganalyze/libpg_query/blob/18-latest/protobuf/pg_query.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bot.domain.errors import BadInput, WrongState

LONGEST = 16_000  # characters of one statement: its tree is written by recursion in C, which crashes from 40,000 on

_SILENT = {  # they change nothing themselves; what stands in them may
    "AlterTableStmt", "ExplainStmt", "LockStmt", "MergeStmt", "SelectStmt", "TransactionStmt", "VariableSetStmt",
    "VariableShowStmt",
}  # fmt: skip
_INSIDE = {"AlterTableCmd", "DeleteStmt", "InsertStmt", "MergeWhenClause", "UpdateStmt"}
_DEFINES = {"CreateFunctionStmt", "RuleStmt"}  # the statements in them are not executed now
_DESTROYS = {"AlterObjectSchemaStmt", "DeleteStmt", "RenameStmt", "TruncateStmt"}
_BREAKS_TABLE = {"AT_SetNotNull", "AT_AlterColumnType", "AT_DetachPartition", "AT_DetachPartitionFinalize"}
_BREAKS_DOMAIN = {"O", "X"}  # SET NOT NULL, DROP CONSTRAINT

_TOOLS = re.compile(  # what node-pg-migrate says between the SQL
    r"^(dry run|no lock|> Migrating files:|> - \S+|#> WARNING: .* <|### MIGRATION \S+ \(UP\) ###"
    r"|No migrations to run!|Migrations complete!)$",
    re.MULTILINE,
)
_TABLE = "pgmigrations"  # where node-pg-migrate notes what has run


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: whether it breaks what still uses the old, and whether it adds or fills something."""

    text: str
    destroys: bool
    adds: bool


def statements(sql: str, bookkeeping: str) -> list[Statement]:
    """The statements that change something, but for the rows that go into the table `bookkeeping`.

    A function is judged by being defined, not by its body. The body of a DO block is judged; what it gives to EXECUTE
    is known only when it runs, and counts as what destroys. Raises BadInput for what PostgreSQL could not read, and for
    a statement that is longer than LONGEST or nested deeper than about forty levels.
    """
    import postgast  # here, not above: 15 MB that only a migration needs

    result = []
    try:
        for text in postgast.split(sql):
            deeds = list(_effects(text, bookkeeping))
            if deeds:
                result.append(Statement(" ".join(text.split()), any(deeds), not all(deeds)))
    except postgast.PgQueryError as error:
        raise BadInput("migration_unreadable", why=error.message) from error
    return result


def _effects(text: str, bookkeeping: str) -> Iterator[bool]:
    """For each thing that one statement does: whether it destroys."""
    import postgast
    from google.protobuf.message import DecodeError

    if len(text) > LONGEST:
        raise BadInput("migration_too_large", sql=text[:60])
    try:
        (raw,) = postgast.parse(text).stmts
    except DecodeError as error:  # deeper than protobuf reads, a hundred levels
        raise BadInput("migration_too_large", sql=text[:60]) from error
    statement = postgast.unwrap_node(raw.stmt)
    if _kind(statement) == "DoStmt":
        yield from _in_block(postgast.parse_plpgsql(text), bookkeeping)
    elif _kind(statement) in _DEFINES:
        yield False
    else:
        for _, node in postgast.walk(statement):
            judged = _kind(node) in _INSIDE or (node is statement and _kind(node) not in _SILENT)
            if judged and not (_kind(node) == "InsertStmt" and node.relation.relname == bookkeeping):
                yield _destroys(node)


def _in_block(tree: Any, bookkeeping: str) -> Iterator[bool]:
    """The same for a DO block, from its tree as JSON."""
    for name, node in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if name in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors", "dynquery"):
            yield True
        elif name == "PLpgSQL_expr" and not node["parseMode"]:  # a whole statement; the others are expressions
            yield from _effects(node["query"], bookkeeping)
        elif isinstance(node, dict | list):
            yield from _in_block(node, bookkeeping)


def _destroys(node: Any) -> bool:
    from postgast import pg_query_pb2 as names

    match _kind(node):
        case "AlterTableCmd":
            what = names.AlterTableType.Name(node.subtype)
            dropped = what.startswith("AT_Drop") and what != "AT_DropNotNull"  # which lets the new code leave it out
            return dropped or what in _BREAKS_TABLE or (what == "AT_ColumnDefault" and not node.HasField("def"))
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
    """The steps in their order. What is old goes in a later release than the one that stopped to read it."""

    ADD = "add"
    DUAL_WRITE = "dual-write"
    BACKFILL = "backfill"
    SWITCH_READS = "switch-reads"
    DROP = "drop"

    @property
    def before(self) -> Phase | None:
        """The step that must be done before this one."""
        order = list(Phase)
        position = order.index(self)
        return order[position - 1] if position else None


def plan(lines: Iterable[str]) -> list[Statement]:
    """The statements of a plan as `node-pg-migrate up --dry-run` writes it, without the tool's own words and rows.

    Raises BadInput for what is no SQL of PostgreSQL.
    """
    return statements(_TOOLS.sub("", "\n".join(lines)), bookkeeping=_TABLE)


def review(statements: Sequence[Statement], phase: Phase) -> None:
    """Raises WrongState for a plan with nothing in it, one that mixes what destroys with anything else, and one that
    destroys before its step."""
    destroying = next((statement for statement in statements if statement.destroys), None)
    adding = next((statement for statement in statements if statement.adds), None)
    if not statements:
        raise WrongState("migration_empty", step=phase.value)
    if destroying and adding:
        raise WrongState("migration_mixed", destroys=_short(destroying), other=_short(adding))
    if destroying and phase is not Phase.DROP:
        raise WrongState("migration_too_early", destroys=_short(destroying), step=phase.value)
    if adding and phase is Phase.DROP:
        raise WrongState("migration_not_a_drop", other=_short(adding))


def _short(statement: Statement) -> str:
    return statement.text if len(statement.text) <= 120 else f"{statement.text[:119]}…"
