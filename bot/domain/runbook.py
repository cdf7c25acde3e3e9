"""A runbook: steps as in GitHub Actions, plus approvals and metrics to verify."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.domain.errors import BadInput
from bot.domain.nearest import known_service
from bot.domain.times import Duration
from bot.domain.translated import Translated

# `+2` is no number: who types it of replicas wants two more.
WHOLE_NUMBER = re.compile(r"-?\d{1,400}", re.ASCII)
NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?", re.ASCII)
STANDARD = ("undo", "stop")  # values of `on-failure` other than a runbook's name
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
InputType = Literal["string", "integer", "number", "boolean", "choice", "service", "environment"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Trigger(_Part):
    """When the runbook is proposed: for an alert by name and labels, or for a metric that is out of bounds for
    a time.
    """

    alert: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    query: str | None = None
    for_: Duration = Field(timedelta(0), alias="for")

    @model_validator(mode="after")
    def _alert_or_query(self) -> Trigger:
        if (self.alert is None) == (self.query is None):
            raise ValueError("a trigger is either an `alert` or a `query`")
        return self


class Input(_Part):
    """An input of a run. `options` belong to the type `choice`; `example` is what `tamv-bot runbook test` gives."""

    type: InputType = "string"
    description: Translated = Field(default_factory=dict)
    default: Any = None
    required: bool = False
    options: list[str] = Field(default_factory=list)
    example: Any = Field(None, description="a value with which `tamv-bot runbook test` plays the runbook")

    @model_validator(mode="after")
    def _choice_has_options(self) -> Input:
        if (self.type == "choice") != bool(self.options):
            raise ValueError("`options` go with the type `choice`, and only with it")
        return self

    def read(self, name: str, value: str, services: Collection[str] = ()) -> Any:
        """Parse the text `value` of the input `name` into its type. Raises BadInput with what is valid."""
        expected: str | None = None
        match self.type:
            case "integer":
                if WHOLE_NUMBER.fullmatch(value):
                    return int(value)
                expected = "1, 2, 3…"
            case "number":
                if NUMBER.fullmatch(value):
                    return float(value)
                expected = "1.5"
            case "boolean":
                expected = None if value.lower() in ("true", "false") else "true | false"
            case "choice":
                expected = None if value in self.options else " | ".join(self.options)
            case "service":
                return known_service(value, services)
        if expected is not None:
            raise BadInput("wrong_input", input=name, value=value, expected=expected)
        return value.lower() == "true" if self.type == "boolean" else value


Consequence = Literal["stop", "skip", "ask-again"]


class Approval(_Part):
    """Stricter than the policy: a role, a number of people, an expiry. And what follows if it is not given."""

    role: str | None = None
    count: int | None = Field(None, ge=1, le=5)
    expires: Duration | None = None
    on_expiry: Consequence = Field(
        "stop",
        alias="on-expiry",
        description="if nobody decides in time: `stop` ends the run (a person may continue it), `skip` goes on without "
        "the step, `ask-again` asks once more and then stops",
    )
    on_reject: Consequence = Field("stop", alias="on-reject", description="the same if somebody rejects it")


class Verify(_Part):
    """Metrics that must be in bounds after the step: a board, within a time, and for how long."""

    board: str
    within: Duration = timedelta(minutes=5)
    for_: Duration = Field(timedelta(0), alias="for")


class Step(_Part):
    """One action with its parameters."""

    id: Name
    title: Translated = Field(default_factory=dict)
    uses: str = Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    if_: str | None = Field(None, alias="if")
    environment: Name | None = None
    timeout: Duration | None = Field(
        None,
        description="time after which the action is stopped and the step fails; default: ten minutes, plus the time "
        "that the action's own parameters make it wait (duration, within, wait, or until it ends)",
    )
    continue_on_error: bool = Field(False, alias="continue-on-error")
    keep: bool = Field(False, description="undoing the run does not undo this step: a safety copy, evidence")
    approval: Approval | None = None
    verify: Verify | None = None
    any_order: bool = Field(
        False,
        alias="any-order",
        description="interchangeable with the steps beside it that say so, too: they are done one after the other "
        "until the metrics of one's `verify` hold, and the rest are skipped; in an incident whose cause is known the "
        "one that treats it goes first",
    )


class Runbook(_Part):
    """A runbook file.

    `environment` is the only one in which it may run; without it the requester chooses. A step may name another one.
    `on_failure` is `undo`, `stop` or the name of another runbook; a run's copy contains that runbook in full.
    """

    name: Name
    title: Translated
    description: Translated = Field(default_factory=dict)
    triggers: list[Trigger] = Field(default_factory=list)
    environment: Name | None = None
    inputs: dict[str, Input] = Field(default_factory=dict)
    steps: list[Step] = Field(min_length=1)
    on_failure: Name | Runbook = Field("undo", alias="on-failure")

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Runbook:
        ids: set[str] = set()
        for step in self.steps:
            if step.id in ids:
                raise ValueError(f"two steps are called `{step.id}`")
            ids.add(step.id)
        return self

    def interchangeable(self, step_id: str) -> list[Step]:
        """Return the steps that may be done instead of this one, itself included; none if its place is fixed."""
        for any_order, steps in groupby(self.steps, key=lambda step: step.any_order):
            group = list(steps)
            if any_order and any(step.id == step_id for step in group):
                return group
        return []

    def with_first(self, step_id: str) -> Runbook:
        """Return the runbook with this step before those that may be done instead of it."""
        group = self.interchangeable(step_id)
        start = self.steps.index(group[0])
        ordered = sorted(group, key=lambda step: step.id != step_id)
        return self.model_copy(update={"steps": [*self.steps[:start], *ordered, *self.steps[start + len(group) :]]})

    def to_json(self) -> dict[str, Any]:
        """Return the copy that a run keeps; `Runbook.model_validate` parses it."""
        return self.model_dump(mode="json", by_alias=True)
