"""Input that is wrong or extreme: a clear error, or a result that is documented."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnomon.policies.cache import cache
from gnomon.recorder.importers import Columns, Request, import_trace
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Record
from gnomon.shadow.simulators.cache.simulator import CacheReplay, CacheSimulator
from gnomon.shadow.traces import access_columns as _access_columns
from gnomon.shadow.traces.access_trace import LOOKUP, AccessTrace, access_trace

from .accesses import accessed, lookups
from .scores import score
from .test_access_trace import _START, HIT, REST, begin, records, stored

SIMULATOR = CacheSimulator()
SAMPLED_LRU = cache.baselines["sampled_lru"].source or ""
BUILT_IN = [name for name, baseline in cache.baselines.items() if baseline.source is None]


def replays(trace: AccessTrace) -> dict[str, CacheReplay]:
    """Return what every built-in policy and a sampled one do to a trace."""
    fitted = SIMULATOR.calibrate(trace)
    found = {name: SIMULATOR.replay_built_in(name, trace, fitted, 0) for name in BUILT_IN}
    found["sampled_lru"] = SIMULATOR.compiled(
        trace, fitted, 0, score(SAMPLED_LRU, cache), cache.order
    )
    assert all(isinstance(each, CacheReplay) for each in found.values())
    return found  # type: ignore[return-value]


def test_one_object_misses_once() -> None:
    trace = lookups([5] * 40, 1.0)
    for name, replay in replays(trace).items():
        assert replay.outcome.tolist() == [1.0] + [0.0] * 39, name
    assert SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0) == pytest.approx(1 / 40)
    assert SIMULATOR.sized(trace, 0.01).capacity.tolist() == [1.0]


def test_no_access_at_all_has_no_mean_and_no_bound() -> None:
    trace = lookups([], 1.0)
    for replay in replays(trace).values():
        assert math.isnan(replay.mean) and math.isnan(replay.byte_mean)
    assert SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0) == -math.inf
    with pytest.raises(TraceError, match="never full"):
        SIMULATOR.observed(trace)


def test_an_object_larger_than_the_cache_always_misses_and_harms_nobody() -> None:
    rows = [(0, LOOKUP, key, size) for _ in range(5) for key, size in ((0, 1.0), (1, 99.0))]
    trace = accessed(rows, [2.0])
    for name, replay in replays(trace).items():
        assert replay.outcome.tolist() == [1.0, 1.0] + [0.0, 1.0] * 4, name
        assert replay.summary().most_held == 1.0


def test_ghosts_without_a_size_do_not_stop_a_replay() -> None:
    keys = np.random.default_rng(0).integers(0, 9, 400).tolist()
    rows = [(0, LOOKUP, key, float(key % 3)) for key in keys]
    trace = accessed(rows, [2.0])
    for name, replay in replays(trace).items():
        assert len(replay.outcome) == len(rows), name
        assert cache.invariants[0].holds(replay.summary()), name


@pytest.mark.parametrize(("size", "fits"), [(0.1, 7), (0.7, 3), (0.1, 3), (1.1, 11)])
def test_sizes_that_are_no_whole_numbers_neither_beat_the_bound_nor_break_the_capacity(
    size: float, fits: int
) -> None:
    held = sum([size] * fits)
    keys = [*range(fits)] * 2 + np.random.default_rng(0).integers(0, 2 * fits, 400).tolist()
    trace = accessed([(0, LOOKUP, key, size) for key in keys], [min(held, size * fits)])
    limit = SIMULATOR.bound(trace, SIMULATOR.calibrate(trace), 0)
    least = SIMULATOR.byte_bound(trace, SIMULATOR.calibrate(trace))
    for name, replay in replays(trace).items():
        assert replay.mean >= limit - 1e-12, name
        assert replay.byte_mean >= least - 1e-9, name
        assert cache.invariants[0].holds(replay.summary()), name
    whole = SIMULATOR.bound(lookups(keys, fits), SIMULATOR.calibrate(lookups(keys, fits)), 0)
    assert limit == pytest.approx(whole)


@pytest.mark.parametrize("capacity", [1e-9, 1e15, 1e300])
def test_tiny_and_huge_capacities(capacity: float) -> None:
    trace = lookups([1, 2, 1, 2], capacity)
    expected = [1.0, 1.0, 0.0, 0.0] if capacity > 1.0 else [1.0] * 4
    for name, replay in replays(trace).items():
        assert replay.outcome.tolist() == expected, name


@pytest.mark.parametrize("capacity", [0.0, -1.0, math.nan, math.inf])
def test_capacities_that_are_none_are_refused(tmp_path: Path, capacity: float) -> None:
    with pytest.raises(TraceError, match="without a capacity"):
        lookups([1], capacity)
    store = stored(tmp_path, [[begin(0, _START, capacity=capacity), *records(REST)]])
    with pytest.raises(TraceError, match=f"a cache of capacity {capacity:g}"):
        access_trace(store, "things")


@pytest.mark.parametrize(
    ("access", "flaw"),
    [
        ((math.nan, 1.0, 0), "op 127"),
        ((math.inf, 1.0, 0), "op 127"),
        ((1, math.nan, 2), "op 127"),
        ((1, math.inf, 2), "op 127"),
        ((1, -3.0, 2), "size -3"),
        ((1, 1.0, -1), "op 127"),
        ((1, 1.0, math.nan), "op 127"),
        ((1, 1.0, 9), "op 9"),
        ((1, 1.0, 1e9), "op 127"),
    ],
)
def test_values_that_are_none_are_refused(
    tmp_path: Path, access: tuple[float, float, int], flaw: str
) -> None:
    made: list[Record] = [begin(0, _START), *records([*REST, access])]  # type: ignore[list-item]
    (folder := tmp_path).mkdir(exist_ok=True)
    if not isinstance(access[0], int):
        made[-1] = made[-1]._replace(  # type: ignore[union-attr]
            values=(("key", access[0]), ("size", 1.0), ("op", 0.0))
        )
    with pytest.raises(TraceError, match=rf"accesses that are none \({flaw}\)"):
        access_trace(stored(folder, [made]), "things")


def test_times_that_are_none_are_refused() -> None:
    trace = lookups([1, 2, 3], 1.0)
    for at in ([0.0, math.nan, 1.0], [0.0, 1.0, math.inf], [1.0, 0.0, 2.0]):
        with pytest.raises(TraceError, match="not in order of time"):
            AccessTrace(
                **{name: getattr(trace, name) for name in (*AccessTrace.HEAD, *AccessTrace.COLUMNS)}
                | {"at": np.array(at)}
            )


def test_duplicate_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("key,t\n" + "".join(f"{k % 9},5\n" for k in range(300)))
    store = TraceStore(tmp_path / "traces")
    request = Request("csv", tmp_path / "t.csv", "same", "4", columns=Columns(time="t"))
    assert import_trace(store, request).turned_back == 0
    trace = access_trace(store, "same")
    assert trace.key.tolist() == [k % 9 for k in range(300)]
    assert (np.diff(trace.at) > 0).all()


def test_ids_beyond_64_bits_are_told_apart(tmp_path: Path) -> None:
    ids = [2**53 - 1, 2**53, 2**64 - 1, 2**64, 2**64 + 1, 2**200, "x" * 500, "007", "7", "é"]
    text = "key\n" + "".join(f"{each}\n" for each in ids * 30)
    (tmp_path / "t.csv").write_text(text, "utf-8")
    store = TraceStore(tmp_path / "traces")
    import_trace(store, Request("csv", tmp_path / "t.csv", "wide", "4"))
    trace = access_trace(store, "wide")
    assert trace.keys == len(ids)
    assert trace.key.tolist() == list(range(len(ids))) * 30


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
def test_a_sample_of_single_accesses_is_refused(tmp_path: Path, kept: float) -> None:
    rng = np.random.default_rng(0)
    whole = records([(int(key), 1.0, HIT) for key in rng.integers(0, 9, 3000)])
    made: list[Record] = [begin(0, _START)]
    made += [each for each in whole if rng.random() < kept]
    with pytest.raises(TraceError, match="lost .* record a smaller share of the keys"):
        access_trace(stored(tmp_path, [made]), "things")


def test_more_keys_than_there_are_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_access_columns, "MOST_KEYS", 5)
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])
    with pytest.raises(TraceError, match="more than 5 keys cannot be replayed"):
        access_trace(store, "things")


def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stored(tmp_path, [[begin(0, _START), *records(REST)]])

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(TraceError, match="cannot write the columns of hook 'things'.*No space"):
            access_trace(store, "things")
    assert list(Path(store.files.root, ".columns").glob("*/*")) == []
    assert len(access_trace(store, "things")) == len(REST)
