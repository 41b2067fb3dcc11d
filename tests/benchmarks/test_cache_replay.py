"""The cache replays that benchmarks time: the same decisions by all of ours, and notes on who is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ..shadow.accesses import lookups

KEYS = (np.random.default_rng(0).zipf(1.3, 3000) % 400).tolist()


def test_plain_python_decides_as_the_compiled_replay(
    benchmark: Callable[[str], ModuleType],
) -> None:
    module = benchmark("_cache_replay")
    trace = lookups(KEYS, 40.0)
    compiled, plain = module.ours(trace, 2), module.plain_python(trace, len(KEYS))
    assert [len(each.rates) for each in compiled] == [2] * len(module.SCORES) == [2] * 3
    assert [each.miss_ratio for each in compiled] == [each.miss_ratio for each in plain]
    python = module.all_python(trace, len(KEYS))
    for one, other in zip(plain, python, strict=True):
        assert other.miss_ratio == pytest.approx(one.miss_ratio, rel=0.03)
    assert all(each.median > 0.0 for each in (*compiled, *plain, *python))


def test_peers_run_the_same_cache_or_are_left_out_with_a_note(
    benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("_cache_replay")
    trace = lookups(KEYS, 40.0)
    rates, notes = module.peers(trace, 1)
    there = [name for name in ("libcachesim", "cachetools") if importlib.util.find_spec(name)]
    assert {each.name.partition(",")[0] for each in rates} == {*there}
    assert len(notes) == 2 - len(there)
    exact = {round(each.miss_ratio, 9) for each in rates if "LRU" in each.name}
    assert len(exact) <= 1

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    rates, notes = module.peers(trace, 1)
    assert rates == [] and [note.split()[0] for note in notes] == ["libcachesim", "cachetools"]


def test_the_trace_is_the_pinned_one(benchmark: Callable[[str], ModuleType], data: Path) -> None:
    trace = benchmark("_cache_replay").load(data)
    assert (len(trace), trace.keys, trace.capacity.tolist()) == (113_872, 48_974, [4897.0])
