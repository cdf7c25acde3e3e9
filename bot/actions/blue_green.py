"""`bluegreen.*`: a second colour beside a service, the traffic sent to it at once, and the way back as fast.

By the service's chart where the team's file names one (its values under `secondColor`), else by a second Deployment and
the selector of the Service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import TypeAdapter

from bot.actions.context import Context
from bot.actions.helm import canary_of, history_of, upgrade_release
from bot.actions.pipeline import Gate, hold_gate
from bot.actions.registry import action, undo
from bot.actions.workloads import find_to_change, require_running
from bot.domain.blue_green import Color, Colors, Create, Move, Remove, Switch, Update, moves, way
from bot.domain.errors import BadInput, WrongState
from bot.domain.policy import Risk
from bot.integrations.helm import SECOND_LIVE, SECOND_ON, SECOND_TAG, image_tag, value_at
from bot.integrations.kubernetes.colors import Pair, with_suffix
from bot.integrations.kubernetes.pods import Pod
from bot.integrations.kubernetes.workloads import split_reference
from bot.names import ReleaseName, Tag

TARGET = "release/{environment}/{namespace}/{service}"
ROLLOUT_SECONDS = 300.0
ILL_SHOWN = 3
COLORS = TypeAdapter(Colors)


@dataclass(frozen=True, slots=True)
class Changed:
    """The colours of a service before and after; `gate` is what speaks against a new version in production."""

    service: str
    namespace: str
    before: Colors
    after: Colors
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """What the pods of the second colour answered: a row each, with pod, request and status."""

    service: str
    namespace: str
    rows: list[dict[str, Any]]


class Place(Protocol):
    """Where a service's colours stand: what runs, and how one move is made."""

    @property
    def colors(self) -> Colors: ...

    async def make(self, ctx: Context, move: Move) -> None: ...


@dataclass(frozen=True, slots=True)
class ByChart:
    """The values `secondColor.enabled`, `.tag` and `.live` of the service's chart; Helm waits for the pods."""

    service: str
    namespace: str
    colors: Colors

    async def make(self, ctx: Context, move: Move) -> None:
        await upgrade_release(ctx, self.service, self.namespace, self._values(move), f"{ctx.key} {_mark(move)}")

    def _values(self, move: Move) -> dict[str, Any]:
        match move:
            case Create(tag):
                return {SECOND_ON: True, SECOND_TAG: tag, SECOND_LIVE: False}
            case Update(tag):
                return {"image.tag": tag}
            case Switch(to):
                return {SECOND_LIVE: to is Color.SECOND}
            case Remove():
                return {SECOND_ON: False, SECOND_TAG: "", SECOND_LIVE: False}


@dataclass(frozen=True, slots=True)
class ByService:
    """A second Deployment, and the selector of the Service before both."""

    pair: Pair

    @property
    def colors(self) -> Colors:
        return self.pair.colors

    async def make(self, ctx: Context, move: Move) -> None:
        pair, at = self.pair, ctx.kubernetes.second_colors
        match move:
            case Create(tag):
                await at.create(pair.second, pair.namespace, tag, pair)
                await self._roll_out(ctx, pair.second)
            case Update(tag):
                await at.set_tag(pair.deployment, pair.namespace, tag, pair)
                await self._roll_out(ctx, pair.deployment)
            case Switch(to):
                await at.switch(pair.service, pair.namespace, pair.value_of(to), pair)
            case Remove():
                await at.delete(pair.second, pair.namespace)

    async def _roll_out(self, ctx: Context, deployment: str) -> None:
        if ctx.dry_run:
            return
        try:
            async with asyncio.timeout(ROLLOUT_SECONDS):
                await ctx.kubernetes.workloads.wait_until_rolled_out(deployment, self.pair.namespace)
        except TimeoutError:
            raise WrongState("second_color_late", deployment=deployment, seconds=round(ROLLOUT_SECONDS)) from None


@action("bluegreen.start", risk=Risk.DISRUPTIVE, target=TARGET, example="/ops bluegreen.start xr-engine tag=v4.2.0")
async def start(ctx: Context, service: ReleaseName, tag: Tag, namespace: str | None = None) -> Changed:
    """Start a new version as a second colour beside the service; no traffic goes to it yet."""
    gate = await hold_gate(ctx, service, tag)

    def wanted(now: Colors) -> Colors:
        if now.second is not None:
            raise WrongState("second_color_up", service=service, tag=now.second, live=now.live.value)
        if tag == now.first:
            raise WrongState("color_live", service=service, tag=tag)
        return Colors(now.first, tag)

    return replace(await _change(ctx, service, namespace, wanted), gate=gate)


@action("bluegreen.switch", risk=Risk.DISRUPTIVE, target=TARGET, example="/ops bluegreen.switch xr-engine")
async def switch(ctx: Context, service: ReleaseName, namespace: str | None = None) -> Changed:
    """Send all of the traffic to the second colour at once; the first one stays as the way back.

    Its pods must be ready.
    """

    def wanted(now: Colors) -> Colors:
        if now.second is None:
            raise WrongState("no_second_color", service=service)
        if now.live is Color.SECOND:
            raise WrongState("color_live", service=service, tag=now.second)
        return Colors(now.first, now.second, Color.SECOND)

    ns = ctx.namespace(service, namespace)
    if second := (await _place(ctx, service, ns)).colors.second:
        await _ready_pods(ctx, service, ns, second)
    return await _change(ctx, service, namespace, wanted)


@action("bluegreen.finish", risk=Risk.DISRUPTIVE, target=TARGET, example="/ops bluegreen.finish xr-engine")
async def finish(ctx: Context, service: ReleaseName, namespace: str | None = None) -> Changed:
    """Give the service's own deployment the version that serves, send the traffic there, remove the second colour."""

    def wanted(now: Colors) -> Colors:
        if now.second is None:
            raise WrongState("no_second_color", service=service)
        if now.live is not Color.SECOND:
            raise WrongState("second_color_not_live", service=service, tag=now.second)
        return Colors(now.second)

    return await _change(ctx, service, namespace, wanted)


@undo(start)
@undo(switch)
@undo(finish)
async def restore_colors(ctx: Context, done: Changed) -> Changed:
    """Put the colours back as they were, unless they were changed since; what serves is never changed on the way."""
    place = await _place(ctx, done.service, done.namespace)
    back = [*way(done.before, done.after), *way(done.after, done.before)]
    if place.colors not in back:
        raise WrongState("changed_since", name=done.service)
    await _make(ctx, place, done.before)
    return Changed(done.service, done.namespace, place.colors, done.before)


@action("bluegreen.check", risk=Risk.READ, example="/ops bluegreen.check xr-engine")
async def check(ctx: Context, service: ReleaseName, namespace: str | None = None) -> Checked:
    """Check that every pod of the second colour is ready and answers the requests of the team's file."""
    ns = ctx.namespace(service, namespace)
    colors = (await _place(ctx, service, ns)).colors
    if colors.second is None:
        raise WrongState("no_second_color", service=service)
    pods = await _ready_pods(ctx, service, ns, colors.second)
    rows: list[dict[str, Any]] = [{"pod": pod.name, "request": "ready", "status": pod.ready} for pod in pods]
    ill: list[str] = []
    for pod in pods:
        for name, request in ctx.service(service).requests.items():
            answer = await ctx.kubernetes.pods.get(pod.name, ns, request.port, request.path, request.scheme)
            rows.append({"pod": pod.name, "request": name, "status": answer.status})
            if answer.status is None or answer.status >= 400:
                ill.append(f"{pod.name}: {name} {answer.status or ctx.deps.redaction.text(answer.text)}")
    _require_well(service, colors.second, ill)
    return Checked(service, ns, rows)


async def _ready_pods(ctx: Context, service: str, namespace: str, tag: str) -> list[Pod]:
    """Return the pods of the second colour. Raises WrongState if one is not ready, or there is none."""
    second = with_suffix(await _deployment(ctx, service, namespace))
    pods = await ctx.kubernetes.pods.list(namespace, await ctx.kubernetes.workloads.selector(second, namespace))
    ill = [f"{pod.name}: {pod.why or pod.phase}" for pod in pods if not pod.is_ready]
    _require_well(service, tag, ill if pods else [f"{second}: 0/0"])
    return pods


def _require_well(service: str, tag: str, ill: Sequence[str]) -> None:
    if ill:
        why, more = "; ".join(ill[:ILL_SHOWN]), max(0, len(ill) - ILL_SHOWN)
        raise WrongState("second_color_ill", service=service, tag=tag, why=why, more=more)


class _Wanted(Protocol):
    def __call__(self, now: Colors, /) -> Colors: ...


async def _change(ctx: Context, service: str, namespace: str | None, wanted: _Wanted) -> Changed:
    """Rehearse or make what leads from what runs to what is wanted.

    What was planned is kept: who was cut off goes on from where it stands. Raises WrongState if it stands elsewhere.
    """
    ns = ctx.namespace(service, namespace)
    place = await _place(ctx, service, ns)
    before, after = _planned(ctx.planned) or (place.colors, wanted(place.colors))
    if place.colors not in way(before, after):
        raise WrongState("changed_since", name=service)
    await _make(ctx, place, after)
    return Changed(service, ns, before, after)


def _planned(planned: Mapping[str, Any]) -> tuple[Colors, Colors] | None:
    if not planned:
        return None
    return COLORS.validate_python(planned["before"]), COLORS.validate_python(planned["after"])


async def _make(ctx: Context, place: Place, wanted: Colors) -> None:
    for move in moves(place.colors, wanted):
        await place.make(ctx, move)


async def _place(ctx: Context, service: str, namespace: str) -> Place:
    if ctx.service(service).chart is None:
        target = await find_to_change(ctx, service, namespace)
        await require_running(ctx, target)
        return ByService(await ctx.kubernetes.second_colors.read(_name(service, target.reference), namespace))
    release = ctx.release(service)
    revisions = await history_of(ctx, release, namespace)
    if not revisions:
        raise WrongState("release_not_there", release=release, service=service, namespace=namespace)
    values = await ctx.helm.values(release, namespace, revisions[-1].number)
    if value_at(values, SECOND_ON) is None:
        raise WrongState("chart_without_colors", service=service)
    enabled, weight = canary_of(values)
    if enabled and weight < 100:
        raise WrongState("canary_in_the_way", service=service, weight=weight)
    first, second = image_tag(values) or "", None
    if value_at(values, SECOND_ON):
        second = str(value_at(values, SECOND_TAG))
    live = Color.SECOND if second and value_at(values, SECOND_LIVE) else Color.FIRST
    return ByChart(service, namespace, Colors(first, second, live))


async def _deployment(ctx: Context, service: str, namespace: str) -> str:
    """Return the name of the first colour's Deployment; that of a chart is called like its release."""
    if ctx.service(service).chart is not None:
        return ctx.release(service)
    return _name(service, (await find_to_change(ctx, service, namespace)).reference)


def _name(service: str, reference: str) -> str:
    kind, name = split_reference(reference)
    if kind is not None and kind.name != "deployment":
        raise BadInput("not_a_deployment", service=service, workload=reference)
    return name


def _mark(move: Move) -> str:
    """Return a move as a word in a revision's description, by which it is found to be done after a crash."""
    match move:
        case Create(tag):
            return f"second colour {tag}"
        case Update(tag):
            return f"first colour {tag}"
        case Switch(to):
            return f"traffic to the {to} colour"
        case Remove():
            return "one colour"
