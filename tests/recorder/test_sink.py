"""The local sink: the same records straight into the store, with the same exact accounting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.recorder.join import Joiner, join
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TraceError
from gnomon.sdk.records import Record, Workload
from gnomon.sdk.runtime import RUNTIME

from .fakes import FakeHook, decision, outcome


class Clock:
    """Monotonic seconds, moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_everything_is_in_the_store_after_closing(tmp_path: Path) -> None:
    sink = StoreSink(TraceStore(tmp_path), "router")
    made = [decision(i) for i in range(10)]
    sink.write(FakeHook(), [*made, Workload(0, 5, "members", (("names", "a"),))])
    sink.write(FakeHook(), [outcome(each) for each in made[:9]])
    sink.close()
    sink.write(FakeHook(), [decision(11)])
    account = sink.account()
    assert (account.recorded, account.acknowledged, account.pending) == (21, 20, 0)
    assert account.reasons == {"closed": 1}
    table = TraceStore(tmp_path).decisions("router.pick")
    assert table["outcome_status"].null_count == 1
    assert set(table["service"].to_pylist()) == {"router"}


def test_files_are_written_now_and_then(tmp_path: Path) -> None:
    clock = Clock()
    store = TraceStore(tmp_path)
    sink = StoreSink(store, roll_s=2.0, clock=clock)
    sink.write(FakeHook(), [decision(0), outcome(decision(0)), decision(1)])
    assert not store.files.parquet("decisions")
    clock.now = 2.0
    sink.write(FakeHook(), [decision(2)])
    assert store.decisions().num_rows == 1  # the other two still wait for their outcomes
    sink.close()
    assert store.decisions().num_rows == 3


def test_a_store_that_fails_is_counted_and_never_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "decisions").write_text("in the way")
    sink = StoreSink(TraceStore(tmp_path))
    sink.write(FakeHook(), [decision(0)])
    sink.close()
    assert sink.account().reasons == {"not written": 1}
    assert "cannot write" in caplog.text


def test_a_forked_child_leaves_the_parents_records_alone(tmp_path: Path) -> None:
    sink = StoreSink(TraceStore(tmp_path))
    sink.write(FakeHook(), [decision(0)])
    sink._process = os.getpid() + 1  # as if the object had come through a fork
    sink.write(FakeHook(process_id="1" * 16), [decision(1)])
    sink.close()
    assert TraceStore(tmp_path).decisions()["process"].to_pylist() == ["1" * 16]
    assert sink.account().recorded == 1


@given(st.permutations(range(16)), st.integers(0, 20), st.integers(1, 10), st.integers(1, 16))
def test_the_window_loses_and_invents_nothing(
    order: list[int], window: int, capacity: int, cut: int
) -> None:
    """Whatever the window, each decision and each outcome leaves exactly once, matched or alone."""
    made = [decision(i, time_ns=i) for i in range(8)]
    records: list[Record] = [*made, *(outcome(each, 1) for each in made)]
    shuffled = [records[i] for i in order]
    joiner = Joiner(window, capacity)
    joiner.add(shuffled[:cut])
    assert joiner.waiting <= 2 * capacity
    parts = [joiner.take()]
    joiner.add(shuffled[cut:])
    parts += [joiner.drain()]
    assert joiner.waiting == 0
    pairs = [pair for part in parts for pair in part.decisions]
    alone = [each for part in parts for each in part.outcomes]
    assert sorted(each.seq for each, _ in pairs) == list(range(8))
    matched = [each.seq for _, each in pairs if each is not None]
    assert sorted(matched + [each.seq for each in alone]) == list(range(8))
    assert all(each is None or each.seq == of.seq for of, each in pairs)


@given(st.permutations(range(16)))
def test_without_limits_all_match(order: list[int]) -> None:
    made = [decision(i, time_ns=i) for i in range(8)]
    records: list[Record] = [*made, *(outcome(each, 1) for each in made)]
    joined = join([records[i] for i in order])
    assert not joined.outcomes
    assert all(each is not None for _, each in joined.decisions)


def test_a_missing_library_is_said_with_its_remedy(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['pyarrow'] = None; import gnomon\n"
        "try: gnomon.configure(store=sys.argv[1])\n"
        "except gnomon.ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "this needs pyarrow, which is not installed; run: pip install 'gnomon[shadow,server]'\n"
    )


def test_a_folder_that_cannot_be_used_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RUNTIME, "hooks", {})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TraceError, match=r"cannot write trace store .*: .*; name a folder") as said:
        gnomon.configure(store=tmp_path / "file" / "traces")
    assert "\n" not in str(said.value)
    assert RUNTIME.settings is None
    gnomon.configure(store=tmp_path / "new" / "traces")
    try:
        assert list((tmp_path / "new" / "traces").iterdir()) == []
    finally:
        gnomon.shutdown()
