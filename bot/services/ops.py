"""Parse `/ops` and `tamv-bot ops`: one action with its parameters, by name or alias."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union, get_args, get_origin

from pydantic_core import to_jsonable_python

from bot.actions.catalogue import ACTIONS
from bot.actions.registry import Action
from bot.domain.errors import BadInput
from bot.domain.nearest import nearest
from bot.domain.run import Run, RunRequest
from bot.messages.message import Message
from bot.messages.runbook import ActionLine, actions, common_actions
from bot.messages.runbook import action as action_help
from bot.messages.translations import Translations
from bot.runbooks import Library
from bot.services.runs import Runs
from bot.signature import Tokens, read_reference, tokenize, unescape_slack
from bot.team import TeamFile

OPTIONS = {"dry-run": False, "environment": True}  # options of the run, not of the action, and whether with a value
_DRY_RUN = re.compile(r"dry[-_]?run", re.IGNORECASE)
# As YAML, people and kubectl (`server`, `client`, `none`) say it.
DRY_RUN = dict.fromkeys(("true", "yes", "sí", "si", "1", "on", "server", "client"), True)
DRY_RUN |= dict.fromkeys(("false", "no", "0", "off", "none"), False)
# Aliases in addition to the actions' verbs. A verb that only one service has is an alias by itself (`scale`).
ALIASES = {
    "deploy": "helm.upgrade",
    "env": "kubernetes.set_env",
    "health": "http.check",
    "rollout": "kubernetes.rollout_status",
}
RUNBOOK_ALIASES = {"smoke": "smoke-test"}
# What people ask for most in an incident, looking first.
COMMON = ("pods", "logs", "events", "top pods", "rollout", "health", "scale", "restart", "rollback", "deploy", "env")


@dataclass(frozen=True, slots=True)
class OpsRequest:
    """An action with its parameters, or a runbook with its inputs as typed."""

    name: str
    given: Mapping[str, Any]
    is_runbook: bool = False
    environment: str | None = None
    dry_run: bool = False


def aliases(service: str = "") -> list[str]:
    """Return every alias of a service's actions, sorted; without one, of all, and of runbooks."""
    own = ALIASES | {verb: actions[0] for verb, actions in _verbs().items() if len(actions) == 1}
    return sorted(
        alias for alias, name in (own if service else own | RUNBOOK_ALIASES).items() if name.startswith(service)
    )


def services() -> dict[str, list[Action]]:
    """Return all actions by the service that their name begins with."""
    by_service: dict[str, list[Action]] = {}
    for action in ACTIONS.all():
        by_service.setdefault(action.name.partition(".")[0], []).append(action)
    return by_service


def help_on(words: Sequence[str], translations: Translations) -> Message:
    """Return what is used most; all actions of the service that `words` name, or one action with its parameters.

    Raises BadInput with the nearest valid word.
    """

    def line(one: Action) -> ActionLine:
        return ActionLine(one.name, one.signature.example, one.risk.value, translations.action(one.name, one.summary))

    by_service = services()
    if not words:
        common = [find(alias.split())[0] for alias in COMMON]
        counts = {service: len(own) for service, own in by_service.items()}
        return common_actions([line(one) for one in common], counts, list(RUNBOOK_ALIASES), translations)
    if len(words) == 1 and (chosen := by_service.get(words[0].lower())):
        return actions([line(one) for one in chosen], aliases(words[0].lower()), translations)
    action, _ = find(words)
    summary = translations.action(action.name, action.summary)
    return action_help(summary, action.signature, action.risk.value, translations)


def find(words: Sequence[str]) -> tuple[Action, tuple[str, ...]]:
    """Return the action that the first words name, and the remaining words; `top pods` is `top_pods`.

    Raises BadInput with the nearest valid word.
    """
    first = words[0].lower() if words else ""
    if "." in first:
        return ACTIONS.get(first), tuple(words[1:])
    verbs = _verbs()
    pair = "_".join(words[:2]).lower()
    if len(words) > 1 and len(verbs.get(pair, ())) == 1:
        return ACTIONS.get(verbs[pair][0]), tuple(words[2:])
    if first in ALIASES:
        return ACTIONS.get(ALIASES[first]), tuple(words[1:])
    candidates = verbs.get(first, [])
    if len(candidates) == 1:
        return ACTIONS.get(candidates[0]), tuple(words[1:])
    near = candidates[0] if candidates else nearest(pair, verbs) or nearest(first, [*ALIASES, *RUNBOOK_ALIASES, *verbs])
    raise BadInput("unknown_verb", command="/ops", verb=first, nearest=near)


async def start(runs: Runs, ops_request: OpsRequest, request: RunRequest) -> Run:
    """Start the run. Raises as `Runs.start`."""
    start_run = runs.start if ops_request.is_runbook else runs.start_action
    return await start_run(ops_request.name, ops_request.given, request)


def read(line: str, team: TeamFile, library: Library) -> OpsRequest:
    """Parse a line. Raises BadInput and NotFound, with what is valid."""
    tokens = tokenize(line)
    first = tokens.words[0].lower() if tokens.words else ""
    if first in RUNBOOK_ALIASES:
        return read_runbook(line, library, RUNBOOK_ALIASES[first])
    action, rest = find(tokens.words)
    verb = len(tokens.words) - len(rest)
    tokens, dry_run = _without_dry_run(action.signature.split(line, OPTIONS))
    words, options = _resolve_shorthand(action, tokens.words[verb:], tokens.without("environment"), team)
    given = _parameters(action, Tokens(words, options, line))
    return OpsRequest(action.name, given, environment=tokens.option("environment"), dry_run=dry_run)


def read_runbook(line: str, library: Library, alias_of: str | None = None) -> OpsRequest:
    """Parse `name key=value …`; after an alias the first inputs may be typed without their names.

    Raises BadInput and NotFound, with what is valid.
    """
    words = tokenize(line).words
    usage, example = "/runbook run name key=value …", "/runbook run render-latency service=xr-engine"
    if not words:
        raise BadInput("argument_missing", argument="name", usage=usage, example=example)
    runbook = library.get(alias_of or words[0])
    names = {name.replace("_", "-"): kind.type != "boolean" for name, kind in runbook.inputs.items()}
    tokens, dry_run = _without_dry_run(tokenize(line, names | OPTIONS, has_text=False))
    by_position = dict(zip(runbook.inputs, tokens.words[1:], strict=False)) if alias_of else {}
    if more := tokens.words[1 + len(by_position) :]:
        usage = " ".join([f"/runbook run {runbook.name}", *(f"[{name}=…]" for name in runbook.inputs)])
        raise BadInput("too_many_words", word=unescape_slack(more[0]), usage=usage, example=example)
    named = {key.replace("-", "_"): read_reference(value) for key, value in tokens.without("environment").items()}
    return OpsRequest(runbook.name, by_position | named, True, tokens.option("environment"), dry_run)


def _without_dry_run(tokens: Tokens) -> tuple[Tokens, bool]:
    """Return the tokens without `--dry-run`, `dry-run=…` or the bare word, and what it says.

    Raises BadInput rather than take what it does not know for a no.
    """
    given = ["true" for word in tokens.words if _DRY_RUN.fullmatch(word)]
    given += [value.lower() for key, value in tokens.options.items() if _DRY_RUN.fullmatch(key)]
    if unknown := [value for value in given if value not in DRY_RUN]:
        facts = {"argument": "dry-run", "value": unknown[0], "expected": "true | false", "nearest": None}
        raise BadInput("bad_value", usage="/ops", example="/ops scale xr-engine 10 --dry-run", **facts)
    words = tuple(word for word in tokens.words if not _DRY_RUN.fullmatch(word))
    options = {key: value for key, value in tokens.options.items() if not _DRY_RUN.fullmatch(key)}
    return Tokens(words, options, tokens.raw), any(DRY_RUN[value] for value in given)


def _verbs() -> dict[str, list[str]]:
    verbs: dict[str, list[str]] = {}
    for action in ACTIONS.all():
        verbs.setdefault(action.name.partition(".")[2], []).append(action.name)
    return verbs


def _resolve_shorthand(
    action: Action, words: tuple[str, ...], options: dict[str, str], team: TeamFile
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Expand `describe xr-engine` to the workload, and `describe statefulset/ledger` to its kind and name."""
    if action.name != "kubernetes.describe" or not words:
        return words, options
    if len(words) == 1 and "name" not in options:
        kind, slash, name = words[0].partition("/")
        words = (kind, name) if slash else ("workload", words[0])
    return words, {"service": words[-1], **options} if words[-1] in team.services else options


def _parameters(action: Action, tokens: Tokens) -> dict[str, Any]:
    """Return the parameters as JSON.

    A list is typed `a,b`; pairs are typed `a=1,b=2` or, if the action requires them, as separate options: `env
    xr-engine FEATURE=false`.
    """
    readers = {name: reader for name in action.parameters.model_fields if (reader := _reader(action, name))}
    own_names = {name.lower(): name for name in action.parameters.model_fields}
    options = {own_names.get(key.lower(), key): value for key, value in tokens.options.items()}
    parameters = {name: readers[name](unescape_slack(options.pop(name))) for name in readers if name in options}
    pairs = next((name for name in readers if action.parameters.model_fields[name].is_required()), None)
    if pairs and pairs not in parameters and readers[pairs] is _pairs:
        own = set(action.parameters.model_fields)
        parameters[pairs] = {name: unescape_slack(options.pop(name)) for name in list(options) if name not in own}
        if not parameters[pairs]:
            del parameters[pairs]
    plain = [parameter for parameter in action.signature.parameters if parameter.name not in parameters]
    signature = replace(action.signature, parameters=tuple(plain))
    read = signature.read(Tokens(tokens.words, options, tokens.raw), "/ops", tuple(OPTIONS))
    return parameters | {name: to_jsonable_python(value) for name, value in read.items() if value is not None}


def _reader(action: Action, name: str) -> Callable[[str], Any] | None:
    """Return the function that parses a list or pairs for this parameter; None for single values."""
    hint = action.parameters.model_fields[name].annotation
    parts = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = {get_origin(part) for part in parts}
    return _pairs if dict in kinds else _items if list in kinds else None


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _pairs(text: str) -> dict[str, str]:
    return {name.strip(): value.strip() for item in _items(text) for name, _, value in [item.partition("=")]}
