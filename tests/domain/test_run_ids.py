"""The ids of runs: short to read and to type, and never two the same."""

from __future__ import annotations

from bot.domain.run import normalize_run_id, run_id


def test_a_million_runs_have_a_million_ids() -> None:
    assert len({run_id(f"slack:{number}") for number in range(1_000_000)}) == 1_000_000


def test_an_id_is_short_and_has_no_letters_that_look_alike() -> None:
    made = [run_id(f"key {number}") for number in range(2000)]
    assert all(len(id) == 12 and id.startswith("R-") for id in made)
    assert not set("".join(id[2:] for id in made)) & set("ilou")


def test_the_same_key_gives_the_same_id_and_each_attempt_another() -> None:
    assert run_id("a") == run_id("a") != run_id("b")
    assert len({run_id("a", attempt) for attempt in range(20)}) == 20


def test_an_id_is_found_however_it_is_typed() -> None:
    id = run_id("slack:6484")
    for typed in (id, id.upper(), id[2:], f" {id[2:].upper()} ", id[2:].replace("0", "O").replace("1", "l")):
        assert normalize_run_id(typed) == id


def test_older_ids_are_kept_as_they_are() -> None:
    assert {normalize_run_id(typed) for typed in ("R-3fa91c", "r-3FA91C", "3fa91c")} == {"R-3fa91c"}
