"""An installed package brings a kind by its entry points, into the isolated processes too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .lane_world import World, bursts, longest_wait, trace_of
from .stage import OUTSIDE, environment

METADATA = "Metadata-Version: 2.1\nName: lane-plugin\nVersion: 1.0\n"
POINTS = """
[gnomon.kinds]
lanes = lane_plugin.kind:lanes

[gnomon.simulators]
lanes = lane_plugin.simulator:LaneSimulator
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment after an editable install: what says so lies apart from the modules."""
    site = tmp_path / "site"
    told = site / "lane_plugin-1.0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text(METADATA)
    (told / "entry_points.txt").write_text(POINTS)
    return environment(GNOMON_MODULES="", PYTHONPATH=os.pathsep.join((str(site), str(OUTSIDE))))


def test_a_search_runs_on_a_kind_that_was_installed(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    jobs = bursts(8.0, seed=3)
    starts = World(jobs, 2, [0.0002] * len(jobs)).run(longest_wait)
    trace_of([jobs], [starts]).save(tmp_path / "trace.npz")
    words = ("evolve", "--traces", "trace.npz", "--incumbent", "baseline:longest_wait_first")
    done = subprocess.run(
        [sys.executable, "-m", "gnomon", *words, "--budget", "4", "--parallel", "1", "--json"],
        cwd=tmp_path,
        env=installed,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["counts"]["ok"] >= 2
    assert found["winner"]["validation"] < found["incumbent"]["validation"]
