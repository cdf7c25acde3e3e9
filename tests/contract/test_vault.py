"""The bot's Vault client (hvac) and `vault.rotate` against the sandbox over HTTP, also when it fails."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import hvac
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from bot.actions.vault import Rotated
from bot.domain.errors import BadInput, BotError, NotConfigured, NotFound, Refused, Unavailable, WrongState
from bot.integrations.vault import Vault
from bot.messages.translations import load_translations
from sandbox.clock import Clock
from sandbox.faults import Faults, FaultsMiddleware
from sandbox.kubernetes.objects import deep_copy
from sandbox.kubernetes.resources.basic import SECRET
from sandbox.kubernetes.resources.external_secrets import EXTERNAL_SECRET
from sandbox.server import Sandbox, serving
from sandbox.vault import BOT_ROLE, BOT_TOKEN, GUEST_TOKEN, LEASE, ROOT_TOKEN, SERVICE_ACCOUNT_TOKEN, Token, routes
from sandbox.vault import Vault as Store
from tests.harness.actor import Actor, parts

PATH = "tamv-prod/auth"


@dataclass
class World:
    store: Store
    faults: Faults
    url: str
    folder: Path

    def client(self, token: str | None = BOT_TOKEN, timeout: float = 5.0, **more: Any) -> Vault:
        return Vault(self.url, token, timeout=timeout, **more)

    def actor(self, **more: Any) -> Actor:
        return Actor(parts(self.folder, self.store.clock, vault=self.client()), **more)

    def values(self, path: str = PATH, version: int = 0) -> dict[str, Any]:
        return dict(self.store.version(path, version).values or {})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store, faults = Store(Clock()), Faults()
    app = Starlette(
        routes=[Mount("/vault", routes=routes(store))],
        middleware=[Middleware(FaultsMiddleware, faults=faults)],
    )
    async with serving(app) as url:
        yield World(store, faults, f"{url}/vault", tmp_path)


async def rotated(actor: Actor, key: str = "R-1/a", name: str = "jwt-secret") -> Rotated:
    await actor.rehearse("vault.rotate", key, name=name)
    done = await actor.perform("vault.rotate", key, name=name)
    assert isinstance(done, Rotated)
    return done


async def test_when_a_secret_was_written_is_read_without_its_values(world: World) -> None:
    guest = world.client(GUEST_TOKEN)  # may read the metadata alone
    first = world.store.version(PATH).created
    assert await guest.updated_at("secret", PATH) == first
    before = world.store.clock.now()
    await rotated(world.actor())
    assert before <= await guest.updated_at("secret", PATH) <= world.store.clock.now()
    with pytest.raises(NotFound, match="no_such_secret"):
        await guest.updated_at("secret", "tamv-prod/nothing")


async def test_one_entry_is_made_anew_and_the_others_stay(world: World) -> None:
    actor, before = world.actor(), world.values()
    effects, foreseen = await actor.rehearse("vault.rotate", name="jwt-secret")
    assert effects[0].facts == {
        "mount": "secret", "path": PATH, "entry": "jwt-secret", "form": "base64", "version": 1
    }  # fmt: skip
    assert world.values() == before and world.store.secret(PATH).custom == {}
    done = await actor.perform("vault.rotate", name="jwt-secret")
    now = world.values()
    assert done == foreseen and (done.before, done.after) == (1, 2)
    assert len(base64.b64decode(now["jwt-secret"])) == 32 and now["jwt-secret"] != before["jwt-secret"]
    assert now["jwt-issuer"] == before["jwt-issuer"] and world.values(version=1) == before
    api = await rotated(actor, "R-1/b", "api-key")
    assert re.fullmatch("[0-9a-f]{64}", world.values("tamv-prod/api")["api-key"]) and api.after == 2


async def test_no_value_of_a_secret_gets_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    actor = world.actor()
    effects, foreseen = await actor.rehearse("vault.rotate", name="jwt-secret")
    done = await actor.perform("vault.rotate", name="jwt-secret")
    undone = await actor.undo("vault.rotate", done)
    told = f"{effects} {foreseen} {done} {undone} {caplog.text} {world.store.secret(PATH).custom}"
    for version in (1, 2, 3):
        assert not [value for value in world.values(version=version).values() if value in told]
    assert BOT_TOKEN not in told


async def test_a_lost_answer_makes_it_anew_once(world: World) -> None:
    actor = world.actor()
    await actor.rehearse("vault.rotate", name="jwt-secret")
    world.faults.add("vault", "drop_after", "PATCH /v1/secret/data/*")
    with pytest.raises(Unavailable) as lost:
        await actor.perform("vault.rotate", name="jwt-secret")
    assert lost.value.uncertain
    done = await actor.perform("vault.rotate", name="jwt-secret")
    assert (done.after, world.store.secret(PATH).current) == (2, 2)


async def test_a_step_cut_off_before_the_write_goes_on(world: World) -> None:
    actor = world.actor()
    await actor.rehearse("vault.rotate", name="jwt-secret")
    world.faults.add("vault", "drop_before", "PATCH /v1/secret/data/*")
    with pytest.raises(Unavailable):
        await actor.perform("vault.rotate", name="jwt-secret")
    await actor.perform("vault.rotate", name="jwt-secret")
    assert world.store.secret(PATH).current == 2


async def test_what_somebody_has_changed_meanwhile_is_not_touched(world: World) -> None:
    actor = world.actor()
    await actor.rehearse("vault.rotate", name="jwt-secret")
    world.faults.add("vault", "drop_before", "PATCH /v1/secret/data/*")
    with pytest.raises(Unavailable):  # our mark is there, our value is not
        await actor.perform("vault.rotate", name="jwt-secret")
    world.store.write(PATH, {"jwt-secret": "somebody's", "jwt-issuer": "x"})
    with pytest.raises(WrongState) as changed:
        await actor.perform("vault.rotate", name="jwt-secret")
    assert changed.value.key == "changed_since"
    with pytest.raises(WrongState):  # the undo of the half-done step knows that it is not ours
        await actor.undo("vault.rotate", Rotated("jwt-secret", f"secret/{PATH}", 1, 2, "R-1/a"))
    assert world.values()["jwt-secret"] == "somebody's"


async def test_vault_itself_holds_the_version(world: World) -> None:
    client = world.client()
    world.store.write(PATH, {"jwt-secret": "newer"})
    with pytest.raises(WrongState) as changed:
        await client.rotate("secret", PATH, "jwt-secret", "hex", 1, "R-1/a")
    assert changed.value.key == "changed_since" and world.values() == {"jwt-secret": "newer"}


async def test_the_version_before_is_put_back_once(world: World) -> None:
    actor, before = world.actor(), world.values()
    done = await rotated(actor)
    await actor.undo("vault.rotate", done)
    assert world.values() == before and world.store.secret(PATH).current == 3
    await actor.undo("vault.rotate", done)
    assert world.store.secret(PATH).current == 3
    again = await rotated(actor, "R-2/a")
    assert (again.before, again.after) == (3, 4)
    await actor.undo("vault.rotate", Rotated("jwt-secret", f"secret/{PATH}", 4, 5, "R-3/a"))  # it never came to it
    assert world.store.secret(PATH).current == 4


async def test_a_later_step_puts_an_earlier_version_back_once(world: World) -> None:
    actor, before = world.actor(), world.values()
    done = await rotated(actor)
    given = {"name": "jwt-secret", "version": str(done.before), "over": str(done.after)}
    effects, _ = await actor.rehearse("vault.restore", "R-1/b", **given)
    assert [effect.key for effect in effects] == ["vault.restore"] and world.values() != before
    put = await actor.perform("vault.restore", "R-1/b", **given)
    assert world.values() == before
    assert await actor.perform("vault.restore", "R-1/b", **given) == put, "tried again, it is done already"
    assert world.values() == before
    await rotated(actor, "R-2/a")
    with pytest.raises(WrongState) as changed:
        await actor.perform("vault.restore", "R-1/b", **given)
    assert changed.value.key == "changed_since"


async def test_it_is_not_put_back_over_somebodys_change(world: World) -> None:
    actor = world.actor()
    done = await rotated(actor)
    world.store.patch(PATH, {"jwt-issuer": "other"}, None)
    with pytest.raises(WrongState):
        await actor.undo("vault.rotate", done)
    assert world.store.secret(PATH).current == 3


async def test_bad_input_is_refused_before_anything_is_done(world: World) -> None:
    actor = world.actor()
    with pytest.raises(BadInput) as unknown:
        await actor.rehearse("vault.rotate", name="jwt-secrets")
    assert unknown.value.facts["nearest"] == "jwt-secret"
    with pytest.raises(BadInput):
        await world.actor(environment="moon").rehearse("vault.rotate", name="jwt-secret")
    world.store.secret(PATH).max_versions = 1
    with pytest.raises(WrongState) as forgetful:
        await actor.rehearse("vault.rotate", name="jwt-secret")
    assert forgetful.value.key == "version_not_kept"
    world.store.write("tamv-prod/api", {"other": "x"})
    with pytest.raises(NotFound):
        await actor.rehearse("vault.rotate", name="api-key")
    del world.store.secrets[PATH]
    with pytest.raises(NotFound):
        await actor.rehearse("vault.rotate", name="jwt-secret")
    with pytest.raises(NotConfigured):
        await Actor(parts(world.folder, world.store.clock)).rehearse("vault.rotate", name="jwt-secret")


async def test_by_the_service_account_and_again_when_the_token_has_run_out(world: World) -> None:
    account = world.folder / "token"
    account.write_text(f"{SERVICE_ACCOUNT_TOKEN}\n")
    client = world.client(token=None, role=BOT_ROLE, service_account=account)
    assert (await client.state("secret", PATH, "jwt-secret")).version == 1
    assert (await client.check()).name == "kubernetes-tamv-bot"
    assert sum(one.name == "kubernetes-tamv-bot" for one in world.store.tokens.values()) == 1
    world.store.clock.speed = LEASE.total_seconds() * 100
    await world.store.clock.sleep(LEASE.total_seconds())
    world.store.clock.speed = 1
    assert (await client.state("secret", PATH, "jwt-secret")).version == 1
    assert sum(one.name == "kubernetes-tamv-bot" for one in world.store.tokens.values()) == 2
    account.write_text("somebody else's")
    with pytest.raises(Refused):
        await world.client(token=None, role=BOT_ROLE, service_account=account).check()
    with pytest.raises(Refused) as nowhere:
        await world.client(token=None, role=BOT_ROLE, service_account=world.folder / "none").check()
    assert nowhere.value.key == "vault_no_account"


async def test_a_namespace_is_asked_for_by_token_and_by_role(world: World) -> None:
    world.store.namespace = "tamv/sre"
    assert isinstance(await failure(world.client()), Refused)
    account = world.folder / "token"
    account.write_text(SERVICE_ACCOUNT_TOKEN)
    by_role = world.client(token=None, role=BOT_ROLE, service_account=account, namespace="tamv/sre")
    for client in (world.client(namespace="tamv/sre/"), by_role):
        assert (await client.state("secret", PATH, "jwt-secret")).version == 1
    await rotated(Actor(parts(world.folder, world.store.clock, vault=by_role)))
    assert world.store.secret(PATH).current == 2


async def test_a_mount_without_versions_is_named_so_and_left_alone(world: World) -> None:
    actor = world.actor()
    done = await rotated(actor)
    world.store.kv_version = 1
    for act in (
        actor.rehearse("vault.rotate", "R-2/a", name="jwt-secret"),
        actor.rehearse("vault.restore", "R-2/b", name="jwt-secret", version="1", over="2"),
        actor.undo("vault.rotate", done),
        world.client().updated_at("secret", PATH),
        world.client(GUEST_TOKEN).updated_at("secret", PATH),
    ):
        with pytest.raises(WrongState) as without:
            await act
        assert (without.value.key, without.value.facts["mount"]) == ("vault_kv1", "secret")
    assert world.store.secret(PATH).current == 2
    for language, told in (("es", "no guarda versiones"), ("en", "keeps no versions")):
        assert told in load_translations()[language].error(without.value)


async def test_a_renewable_token_is_renewed_in_use_and_another_says_when_it_ends(world: World) -> None:
    clock, token = world.store.clock, "hvs.ofAnHour"
    near = clock.now() + LEASE * 0.4
    world.store.tokens[token] = Token("short", ("tamv-bot",), near, renewable=True)
    await world.client(token).state("secret", PATH, "jwt-secret")
    assert world.store.tokens[token].ends == pytest.approx(clock.now() + LEASE, abs=timedelta(minutes=1))
    renewed = await world.client(token).check()
    assert renewed.renewable and not renewed.runs_out
    world.store.tokens[token] = Token("short", ("tamv-bot",), near, renewable=True, most=near)
    assert (await world.client(token).check()).runs_out, "it was renewed as often as it may be"
    world.store.tokens[token] = Token("short", ("tamv-bot",), near)
    client = world.client(token)
    assert (await client.state("secret", PATH, "jwt-secret")).version == 1
    fixed = await client.check()
    assert fixed.runs_out and fixed.ends_in and fixed.ends_in <= LEASE * 0.4
    assert world.store.tokens[token].ends == near
    assert not (await world.client().check()).runs_out


async def failure(client: Vault) -> BotError:
    with pytest.raises(BotError) as found:
        await client.state("secret", PATH, "jwt-secret")
    assert BOT_TOKEN not in f"{found.value} {found.value.facts}" and found.value.__cause__ is None
    return found.value


async def test_when_vault_refuses_or_fails(world: World) -> None:
    for token in ("hvs.wrong", GUEST_TOKEN):
        problem = await failure(world.client(token))
        assert isinstance(problem, Refused) and problem.facts["status"] == 403
    world.store.sealed = True
    problem = await failure(world.client())
    assert isinstance(problem, Unavailable) and problem.key == "vault_sealed"
    world.store.sealed = False
    for kind, how in (("status", {"status": 500}), ("ratelimit", {}), ("drop_before", {}), ("nonsense", {})):
        world.faults.add("vault", kind, times=None, **how)  # type: ignore[arg-type]
        assert isinstance(await failure(world.client()), Unavailable)
        world.faults.clear()
    world.faults.add("vault", "hang", times=None)
    assert (await failure(world.client(timeout=0.4))).key == "timed_out"
    assert isinstance(await failure(Vault("http://127.0.0.1:9", "t", timeout=2)), Unavailable)


async def test_the_sandbox_keeps_to_the_kv_engine(world: World) -> None:
    """By hvac as others use it, and where the bot does not."""
    client = hvac.Client(world.url, token=ROOT_TOKEN, timeout=5)
    kv = client.secrets.kv.v2

    def use() -> None:
        assert client.sys.read_health_status().status_code == 200
        assert kv.list_secrets("tamv-prod")["data"]["keys"] == ["api", "auth", "database"]
        kv.create_or_update_secret("tamv-prod/new", {"a": "1"}, cas=0)
        with pytest.raises(hvac.exceptions.InvalidRequest, match="check-and-set"):
            kv.create_or_update_secret("tamv-prod/new", {"a": "2"}, cas=0)
        kv.patch("tamv-prod/new", {"b": "2"})
        assert kv.read_secret_version("tamv-prod/new", raise_on_deleted_version=True)["data"]["data"] == {
            "a": "1",
            "b": "2",
        }
        kv.update_metadata("tamv-prod/new", max_versions=2, custom_metadata={"owner": "sre"})
        for number in range(4):
            kv.create_or_update_secret("tamv-prod/new", {"a": str(number)})
        metadata = kv.read_secret_metadata("tamv-prod/new")["data"]
        assert (metadata["current_version"], metadata["oldest_version"], list(metadata["versions"])) == (
            6,
            5,
            ["5", "6"],
        )
        for version in (1, 99):
            with pytest.raises(hvac.exceptions.InvalidPath):
                kv.read_secret_version("tamv-prod/new", version=version, raise_on_deleted_version=True)
        with pytest.raises(hvac.exceptions.InvalidPath):
            client.adapter.get("/v1/other/data/x")

    await asyncio.to_thread(use)
    async with (
        aiohttp.ClientSession(headers={"X-Vault-Token": ROOT_TOKEN}) as http,
        http.patch(f"{world.url}/v1/secret/data/{PATH}", json={"data": {"a": None}}) as plain,
    ):
        assert plain.status == 415


async def test_what_is_made_anew_comes_into_the_cluster_when_it_is_synced(tmp_path: Path) -> None:
    sandbox = Sandbox(clock=Clock())
    cluster = sandbox.kubernetes
    async with sandbox.serving() as url:
        client = Vault(f"{url}/vault", BOT_TOKEN, timeout=5)
        await rotated(Actor(parts(tmp_path, sandbox.clock, vault=client)))
        external = cluster.store.get(EXTERNAL_SECRET, "tamv-prod", "tamv-core-secrets")
        assert external is not None
        asked = deep_copy(external)
        asked["metadata"].setdefault("annotations", {})["force-sync"] = "1"
        cluster.writer.replace(EXTERNAL_SECRET, external, asked)
        cluster.advance()
        sandbox.clock.speed = 1000
        await sandbox.clock.sleep(20)
        cluster.advance()
    secret = cluster.store.get(SECRET, "tamv-prod", "tamv-core-secrets")
    assert secret is not None
    made = sandbox.vault.version(PATH).values or {}
    assert base64.b64decode(secret["data"]["JWT_SECRET"]).decode() == made["jwt-secret"]
