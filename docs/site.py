"""Hooks of MkDocs: pages that are generated from code, and one for each file of the repository that a page links to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from bot.command_line import cli
from bot.team import TeamFile

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = "source"  # below it the site has what stands outside of docs/
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
LANGUAGES = {".yaml": "yaml", ".json": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those of the linked files."""
    made = {"reference/command-line.md": command_line(), "reference/team-file.md": team_file()}
    waiting = [path for file in files.documentation_pages() for path in outside(DOCS / file.src_uri)]
    while waiting:
        path = waiting.pop()
        if page_of(path) not in made:
            made[page_of(path)] = shown(path)
            waiting += [*outside(path)] if path.suffix == ".md" else [*path.iterdir()] if path.is_dir() else []
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ lead to the pages of what they link to."""
    uri = page.file.src_uri
    origin = ROOT / uri.removeprefix(f"{SOURCE}/") if uri.startswith(f"{SOURCE}/") else DOCS / uri

    def renamed(match: re.Match[str]) -> str:
        target = linked(origin, match[1])
        if target is None:
            return match[0]
        return f"]({os.path.relpath(page_of(target), Path(uri).parent)}{match[2] or ''})"

    return LINK.sub(renamed, markdown)


def linked(origin: Path, link: str) -> Path | None:
    """Return the file of this repository that a link leads to; None for other links, and within docs/ from docs/."""
    target = (origin.parent / link).resolve()
    if target.is_dir() and target.is_relative_to(DOCS):
        return target / "README.md"
    if "://" in link or not target.exists() or (target.is_relative_to(DOCS) and origin.is_relative_to(DOCS)):
        return None
    return target


def outside(page: Path) -> Iterator[Path]:
    """Yield what a page links to outside of docs/."""
    if page.is_file():
        for link, _ in LINK.findall(page.read_text(encoding="utf-8")):
            target = linked(page, link)
            if target and not target.is_relative_to(DOCS):
                yield target


def page_of(path: Path) -> str:
    """Return where the site has the page of a file or folder."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = f"{SOURCE}/{path.relative_to(ROOT).as_posix()}"
    return f"{name}/index.md" if path.is_dir() else name if path.suffix == ".md" else f"{name}.md"


def shown(path: Path) -> str:
    """Return the page of a file or folder of the repository."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    title = f"# {path.relative_to(ROOT).as_posix()}\n\n"
    if path.is_dir():
        return title + "".join(f"- [{one.name}]({one.name})\n" for one in sorted(path.iterdir()))
    return f"{title}````{LANGUAGES.get(path.suffix, '')}\n{path.read_text(encoding='utf-8')}\n````\n"


def command_line() -> str:
    """Return the page of all commands of `tamv-bot`."""
    group = typer.main.get_command(cli)
    return "# The command line\n\n`--team DIR` after any command names the team's folder.\n\n" + "\n".join(
        _command(name, command) for name, command in _commands("tamv-bot", group)
    )


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for part, one in (below or {}).items():
        yield from _commands(f"{name} {part}", one)


def _command(name: str, command: Any) -> str:
    rows = []
    for param in command.params:
        is_option = param.param_type_name == "option"
        name_of = " ".join(param.opts) if is_option else (param.name or "").upper()
        rows.append(f"| `{name_of}` | {getattr(param, 'help', None) or ''} |")
    table = ["| | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {name}", "", command.help or "", "", *table])


def team_file() -> str:
    """Return the page of all that may stand in a `team.yaml`."""
    schema = TeamFile.model_json_schema()
    parts = {"team.yaml": schema, **schema["$defs"]}
    lines = ["# The team's file", "", "All that may stand in a `team.yaml`, part by part.", ""]
    for name, part in parts.items():
        if "properties" in part:
            lines += [
                f"## {name}",
                "",
                (part.get("description") or "").partition("\n")[0],
                "",
                "| field | is | |",
                "|---|---|---|",
            ]
            needed = part.get("required", ())
            for field, its in part["properties"].items():
                said = [its.get("description") or "", "needed" if field in needed else ""]
                lines.append(f"| `{field}` | {_kind(its, schema['$defs'])} | {'; '.join(filter(None, said))} |")
            lines.append("")
    return "\n".join(lines)


def _kind(field: dict[str, Any], parts: dict[str, Any]) -> str:
    """Return what a field holds, with a link where that is a part of its own."""
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if "properties" in parts[name] else _kind(parts[name], parts)
    if "anyOf" in field:
        kinds = dict.fromkeys(_kind(one, parts) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}), parts)}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"name → {_kind(field['additionalProperties'], parts)}"
    return "duration" if field.get("format") == "duration" else str(field.get("format") or field.get("type") or "any")
