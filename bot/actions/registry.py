"""Actions: one typed function each. Help, validation, rehearsal, approval and documentation come from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from bot.domain.errors import BadInput, NotFound
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.run import WaitsFor
from bot.signature import Signature

ActionFunction = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=ActionFunction)


@dataclass(frozen=True, slots=True)
class Action:
    """`service.verb`: what it does, how bad that may be, and how it is undone (None: it cannot be).

    `perform(ctx, **parameters)` gives a frozen dataclass of facts; `undo(ctx, facts)` gives another. `target` names,
    with the parameters in braces, what is changed: one change at a time for each. `waits_for` is what a person gives
    before it is performed, whatever the policy says.
    """

    name: str
    risk: Risk
    execute: ActionFunction
    signature: Signature
    parameters: type[BaseModel]
    result: TypeAdapter[Any]
    target: str | None = None
    waits_for: WaitsFor | None = None
    undo: ActionFunction | None = None

    def lock_key(self, parameters: dict[str, Any], **more: Any) -> str | None:
        """What nobody else may change meanwhile (`deployment/tamv-prod/xr-engine`); None when it changes nothing."""
        return (
            self.target.format(**more | {name: value or "-" for name, value in parameters.items()})
            if self.target
            else None
        )

    @property
    def summary(self) -> str:
        """What it does, in a sentence of English: the first paragraph of its docstring."""
        return " ".join((self.execute.__doc__ or "").split("\n\n")[0].split())

    def read(self, given: dict[str, Any]) -> dict[str, Any]:
        """The parameters as plain JSON, checked. Raises BadInput that names the first one that is wrong."""
        fields = self.parameters.model_fields
        for name in given:
            if name not in fields:
                facts = {"action": self.name, "parameter": name, "known": sorted(fields)}
                raise BadInput("unknown_parameter", nearest=nearest(name, fields), **facts)
        try:
            return self.parameters.model_validate(given).model_dump(mode="json")
        except ValidationError as mistakes:
            first = mistakes.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            key = "parameter_missing" if first["type"] == "missing" else "wrong_parameter"
            raise BadInput(key, action=self.name, parameter=name, why=first["msg"]) from None


class Registry:
    """All actions by name. Modules of `bot.actions` fill `ACTIONS` when they are imported: definitions, no clients."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}

    def action(
        self,
        name: str,
        *,
        risk: Risk,
        target: str | None = None,
        example: str = "",
        waits_for: WaitsFor | None = None,
    ) -> Callable[[F], F]:
        """Make a function an action. Its first parameter is the context, the others are its parameters."""

        def register(function: F) -> F:
            signature = Signature.of(function, example=example or f"/ops {name}")
            model, result = _model(name, function), TypeAdapter(_returned(function))
            self._actions[name] = Action(name, risk, function, signature, model, result, target, waits_for)
            return function

        return register

    def undo(self, of: ActionFunction) -> Callable[[F], F]:
        """Make a function the undo of the action `of`; it gets the facts that the action gave."""

        def register(function: F) -> F:
            name = next(name for name, action in self._actions.items() if action.execute is of)
            self._actions[name] = replace(self._actions[name], undo=function)
            return function

        return register

    def get(self, name: str) -> Action:
        """Raises NotFound with the nearest name."""
        try:
            return self._actions[name]
        except KeyError:
            raise NotFound("unknown_action", action=name, nearest=nearest(name, self._actions)) from None

    def all(self) -> list[Action]:
        return [self._actions[name] for name in sorted(self._actions)]

    def __contains__(self, name: str) -> bool:
        return name in self._actions


ACTIONS = Registry()
action, undo = ACTIONS.action, ACTIONS.undo


def _model(name: str, function: ActionFunction) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for parameter in list(inspect.signature(function).parameters.values())[1:]
    }
    return create_model(f"Parameters of {name}", __config__=ConfigDict(extra="forbid"), **fields)


def _returned(function: ActionFunction) -> Any:
    return get_type_hints(function, include_extras=True)["return"]
