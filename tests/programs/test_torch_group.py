"""Ranks over torch.distributed, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed; make test TORCH=1")

SCRIPT = """
import sys, time
from datetime import timedelta
from torch import distributed
from gnomon.sdk.programs.torch_group import TorchGroup

rank, size, place = int(sys.argv[1]), 3, sys.argv[2]
store = distributed.FileStore(place, size)
distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
group = TorchGroup(distributed.new_group([0, 1, 2]))
assert (group.rank, group.size) == (rank, size)
for sent in (b"map" * 100_000, b"x"):
    assert group.broadcast(sent if rank == 0 else None, 20.0) == sent
    assert group.agree(True, 20.0)
    assert not group.agree(rank != 1, 20.0)
if rank == 2:
    time.sleep(4.0)  # misses the next call
    sys.exit()
begin = time.monotonic()
try:
    group.agree(True, 0.5)
except RuntimeError:
    assert time.monotonic() - begin < 3.0
else:
    sys.exit("nobody noticed")
"""


def test_ranks_hear_and_agree_and_notice_who_is_gone(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(SCRIPT)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "store")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    said = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0, 0], "\n".join(said)
