"""A kind from outside: light to import, found by its module's name, held to its own invariants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.language import check, chooser
from gnomon.testing import fake_trace

from .outside.lane_plugin.kind import lanes, no_empty_lane
from .stage import environment

HEAVY = ("grpc", "numpy", "pyarrow", "torch", "sqlalchemy", "typer")
ROWS = st.lists(
    st.tuples(
        st.integers(0, 4).map(float),
        st.floats(0.0, 1000.0),
        st.floats(0.001, 100.0),
        st.floats(0.0, 100.0),
        st.integers(1, 50).map(float),
        st.floats(0.0, 1.0),
    ),
    min_size=1,
    max_size=6,
)
SCORES = [name for name, baseline in lanes.baselines.items() if baseline.source]


def python(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_service_that_uses_it_stays_light(tmp_path: Path) -> None:
    code = f"import lane_service, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = python(tmp_path, "-c", code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_trace_of_it_is_refused_where_it_is_unknown(tmp_path: Path) -> None:
    stored(tmp_path / "traces")
    command = ("-m", "gnomon", "replay", "traces")
    unknown = python(tmp_path, *command, GNOMON_MODULES="")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("gnomon: unknown kind 'lanes'; known kinds: ")
    assert unknown.stderr.count("\n") == 1
    missing = python(tmp_path, *command, GNOMON_MODULES="lane_plugin.absent")
    assert missing.returncode == 2
    assert "cannot import 'lane_plugin.absent' of GNOMON_MODULES" in missing.stderr
    half = python(tmp_path, *command, GNOMON_MODULES="lane_plugin.kind")
    assert half.returncode == 2
    assert half.stderr.startswith("gnomon: no simulator for kind 'lanes'")


@pytest.mark.parametrize("name", SCORES)
@given(rows=ROWS)
def test_no_baseline_picks_an_empty_lane(name: str, rows: list[tuple[float, ...]]) -> None:
    source = lanes.baselines[name].source
    assert source is not None
    choose = chooser(check(source, lanes.input_names), lanes)
    items = [lanes.item_type(*row) for row in rows]
    assert no_empty_lane(items, items[choose(rows)])


def test_an_empty_lane_is_a_violation_only_while_a_job_waits() -> None:
    empty, full = (lanes.item_type(n, 0.0, 1.0, 1.0, 1.0, 0.5) for n in (0.0, 1.0))
    assert no_empty_lane([empty, full], full)
    assert not no_empty_lane([empty, full], empty)
    assert no_empty_lane([empty, empty], empty)


def stored(folder: Path) -> None:
    """Write a store with a few made-up decisions of the kind."""
    from types import SimpleNamespace

    from gnomon.recorder.sink import StoreSink
    from gnomon.recorder.store import TraceStore

    hook: Any = SimpleNamespace(process_id="0" * 16, name="workers.next", kind=lanes)
    sink = StoreSink(TraceStore(folder), "workers")
    sink.write(hook, fake_trace(lanes, 300))
    sink.close()
