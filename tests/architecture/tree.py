"""The project as files: what stands in the repository, and its Python read as syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files() -> tuple[str, ...]:
    """Every file of the project by its path from the root: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return tuple(sorted({name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}))


def python(*folders: str) -> list[str]:
    """The Python files below these folders (all of them when none is named)."""
    return [name for name in files() if name.endswith(".py") and (not folders or name.split("/")[0] in folders)]


@cache
def syntax(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def calls(*folders: str) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call below these folders: where it stands, the called name's last part, the call."""
    for name in python(*folders):
        for node in ast.walk(syntax(name)):
            if isinstance(node, ast.Call):
                called = node.func
                last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                yield f"{name}:{node.lineno}", last, node


def pattern(node: ast.expr | None) -> str | None:
    """A text of the code as a regular expression: what is put in at run time is `.+`. None when it is all run time."""
    match node:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(pattern(part) or ".+" for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            one, other = pattern(left), pattern(right)
            return (one or ".+") + (other or ".+") if one or other else None
        case ast.IfExp(body=one, orelse=other):
            found = [p for p in (pattern(one), pattern(other)) if p]
            return f"(?:{'|'.join(found)})" if found else None
    return None
