"""The registry of actions: one typed function each. Help, validation, dry run, approval and docs derive from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from bot.domain.errors import BadInput, NotFound
from bot.domain.nearest import nearest
from bot.domain.policy import Risk
from bot.domain.run import Effect, WaitsFor
from bot.expected import expectation
from bot.signature import Signature

ActionFunction = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=ActionFunction)


@dataclass(frozen=True, slots=True)
class Action:
    """An action, named `service.verb`: its function, its risk, and its undo (None: it cannot be undone).

    `execute(ctx, **parameters)` returns a frozen dataclass of facts; `undo(ctx, facts)` returns another. `target` is a
    template over the parameters that names what the action changes: one run at a time may change it. `waits_for` is
    what a person must give before the execution, whatever the policy says. `undo_risk` is what the undo may do.
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
    undo_risk: Risk = Risk.READ

    def lock_key(self, parameters: dict[str, Any], **more: Any) -> str | None:
        """Return the lock for what it changes (`deployment/tamv-prod/xr-engine`); None if it changes nothing."""
        return (
            self.target.format(**more | {name: value or "-" for name, value in parameters.items()})
            if self.target
            else None
        )

    def risk_of(self, effects: Iterable[Effect], *, undoing: bool = False) -> Risk:
        """Return what these planned effects, of the action or of its undo, may do: at least what its own risk says.

        Whatever leaves a workload without pods, or breaks all of them, is as destructive as `kubernetes.shut_down`, by
        whatever action.
        """
        own = self.undo_risk if undoing else self.risk
        risks = [own, *(Risk.DESTRUCTIVE for effect in effects if _shuts_down(effect))]
        return max(risks, key=list(Risk).index)

    @property
    def summary(self) -> str:
        """One English sentence about it: the first paragraph of its function's docstring."""
        return " ".join((self.execute.__doc__ or "").split("\n\n")[0].split())

    def read(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the validated parameters as plain JSON. Raises BadInput with the first invalid one."""
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
            raise BadInput(key, action=self.name, parameter=name, **expectation(first)) from None


class Registry:
    """All actions by name. Importing the modules of `bot.actions` fills `ACTIONS`."""

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
        """Register a function as an action.

        Its first parameter is the context, the others are the action's parameters.
        """

        def register(function: F) -> F:
            signature = Signature.of(function, example=example or f"/ops {name}")
            model, result = _model(name, function), TypeAdapter(_returned(function))
            self._actions[name] = Action(name, risk, function, signature, model, result, target, waits_for)
            return function

        return register

    def undo(self, of: ActionFunction, *, risk: Risk | None = None) -> Callable[[F], F]:
        """Register a function as the undo of the action `of`; it receives the facts that the action returned.

        Its risk is that of the action unless another one is given.
        """

        def register(function: F) -> F:
            name = next(name for name, action in self._actions.items() if action.execute is of)
            self._actions[name] = replace(
                self._actions[name], undo=function, undo_risk=risk or self._actions[name].risk
            )
            return function

        return register

    def get(self, name: str) -> Action:
        """Return an action. Raises NotFound with the nearest name."""
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


def _shuts_down(effect: Effect) -> bool:
    if effect.key == "litmus.start":
        return len(effect.facts["aim"]["pods"]) <= int(effect.facts["aim"]["affected"])
    return effect.key == "kubernetes.scale" and effect.facts.get("replicas") == 0


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
