"""The cached lookup under uvicorn, recorded by ``gnomon record`` and replayed from that."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from cachetools import LRUCache

from .services import Service, recorder, service, shown, upstream, wait_for

UVICORN = ["uvicorn", "--fd", "FD", "cached_lookup:app"]
CAPACITY = 8


def keys(count: int) -> list[str]:
    """Return keys of which a few are popular."""
    rng = random.Random(11)
    return [f"item {int(rng.paretovariate(0.8))}" for _ in range(count)]


def path(key: str) -> str:
    return "/" + key.replace(" ", "%20")


def looked_up(at: Service, key: str) -> tuple[str | None, bytes]:
    """Return whether a key was a hit or a miss, and its value."""
    with at.asked(path(key)) as connection:
        answer = connection.getresponse()
        return answer.headers["x-cache"], answer.read()


def expected(asked: list[str]) -> list[tuple[str | None, bytes]]:
    """Return the same of a cache that is not ours."""
    held: LRUCache[str, bytes] = LRUCache(CAPACITY)
    found: list[tuple[str | None, bytes]] = []
    for key in asked:
        value = held.get(key)
        found.append(("miss" if value is None else "hit", f"GET {path(key)} ".encode()))
        if value is None:
            held[key] = found[-1][1]
    return found


def test_lookups_are_recorded_as_they_went_and_replayed_as_lru(tmp_path: Path) -> None:
    asked = keys(500)
    with (
        upstream() as store,
        recorder(tmp_path) as env,
        service(UVICORN, tmp_path, **env, STORE=store.url, CAPACITY=str(CAPACITY)) as lookups,
    ):
        answers = [looked_up(lookups, key) for key in asked]
        lookups.stop()
    assert answers == expected(asked)
    outcomes = Counter(outcome for outcome, _ in answers)
    assert store.answered.total() == outcomes["miss"]
    (found,) = shown("traces", tmp_path)["hooks"]
    assert (found["hook"], found["kinds"]) == ("lookup.cache", ["cache/1"])
    accesses = found["accesses"]
    assert (accesses["lookups"], accesses["hits"]) == (500, outcomes["hit"])
    assert accesses["insertions"] == outcomes["miss"]
    fidelity = shown("replay", tmp_path)["fidelity"]
    assert (fidelity["policy"], fidelity["answer"]) == ("lru", "ok")
    (whole,) = (row for row in fidelity["rows"] if row["stretch"] == "whole")
    missed = pytest.approx(outcomes["miss"] / 500)
    assert (whole["recorded"], whole["simulated"]) == (missed, missed)


def test_a_key_is_fetched_once_for_all_who_wait_and_a_failure_is_not_kept(tmp_path: Path) -> None:
    with upstream() as store, service(UVICORN, tmp_path, STORE=store.url) as lookups:
        with lookups.asked("/hold") as one, lookups.asked("/hold") as two:
            wait_for("the store was asked", store.held.is_set)
            assert lookups.ask("/other") == (200, b"GET /other ")  # meanwhile
            store.release.set()
            assert [each.getresponse().read() for each in (one, two)] == [b"GET /hold "] * 2
        assert [lookups.ask("/broken")[0] for _ in range(2)] == [502, 502]
        assert lookups.ask("/a%2Fb%3Fc") == (200, b"GET /a/b%3Fc ")
        lookups.stop()
    assert store.answered == {"/hold": 1, "/other": 1, "/broken": 2, "/a/b%3Fc": 1}
    assert "Traceback" not in (tmp_path / "log").read_text()
