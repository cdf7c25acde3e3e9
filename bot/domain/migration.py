"""Changes of a database's schema: five steps, and what a migration's SQL may say in each.

Expand, then contract: https://martinfowler.com/bliki/ParallelChange.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from bot.domain.errors import WrongState
from bot.domain.sql import Statement, statements


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


_TOOLS = re.compile(  # what node-pg-migrate says between the SQL
    r"^(dry run|no lock|> Migrating files:|> - \S+|#> WARNING: .* <|### MIGRATION \S+ \(UP\) ###"
    r"|No migrations to run!|Migrations complete!)$",
    re.MULTILINE,
)
_TABLE = "pgmigrations"  # where node-pg-migrate notes what has run


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
