"""Placements in torch: the same maps and numbers as the compiled ones, on whatever device there is."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.expert_placement import expert_placement, questions
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.expert_placement import batch, kernel
from gnomon.shadow.simulators.expert_placement.simulator import PLACED, effective, published

from . import placements

torch = pytest.importorskip("torch", reason="torch is not installed; make test TORCH=1")
SIMULATOR = simulator_for(expert_placement)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
asked = st.integers(0, 2**32).map(lambda seed: questions(random.Random(seed)))


def shape(name: str, question: tuple[Any, ...]) -> tuple[Any, ...]:
    by_node, packing = PLACED[name]
    slots, groups, nodes, ranks = question[1:5]
    return (slots, *(effective(groups, nodes) if by_node else (1, 1)), ranks, packing)


@pytest.mark.parametrize("device", DEVICES)
@given(question=asked, name=st.sampled_from(sorted(PLACED)))
def test_maps_and_judgements_are_equal(device: str, question: tuple[Any, ...], name: str) -> None:
    from gnomon.shadow.simulators.expert_placement import eplb_torch

    load = np.array(question[0])
    expected = published(name, *question[:6])
    weight = torch.tensor(load, device=device)
    placed = eplb_torch.place(weight, *shape(name, question))
    assert placed.cpu().numpy().tolist() == expected.tolist()
    found = eplb_torch.judge(weight[None], placed[None], question[4])
    assert tuple(found[0].tolist()) == kernel.judge(load, expected, question[4])


def test_load_that_is_not_served_is_told() -> None:
    from gnomon.shadow.simulators.expert_placement import eplb_torch

    load = torch.tensor([[[5.0, 7, 11], [1, 1, 1]]], dtype=torch.float64)
    rows = torch.tensor([[[0, 0, 1, 1], [0, 1, 2, 2]]])
    assert eplb_torch.judge(load, rows, 2).tolist() == [[9.0, 13.0, 11.0]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(PLACED))
@pytest.mark.parametrize("draw", [0, 5])
def test_a_replay_in_batches_is_the_replay(
    device: str, name: str, draw: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "_BATCH", 16)
    trace = placements.trace(40, delay=1)
    calibration: Any = SIMULATOR.restore({"draw": np.array([draw])})
    one: Any = SIMULATOR.replay_built_in(name, trace, calibration, 0)
    monkeypatch.setattr(batch, "device", lambda _windows: device)
    other: Any = SIMULATOR.replay_built_in(name, trace, calibration, 0)
    for column in ("time", "outcome", "ok", "action"):
        assert getattr(one, column).tolist() == getattr(other, column).tolist(), column
    assert one.extra["moved"].tolist() == other.extra["moved"].tolist()
    assert one.summary() == other.summary()


def test_the_module_can_be_had_without_the_package() -> None:
    """``benchmarks/_moe_gpu.py`` takes it to machines that have torch alone."""
    from gnomon.shadow.simulators.expert_placement import eplb_torch

    spec = importlib.util.spec_from_file_location("alone", str(eplb_torch.__file__))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weight = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    assert module.place(weight, 4, 1, 1, 2, module.PACKED).shape == (1, 4)


def test_a_gpu_is_looked_for_where_it_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(batch, "_DRIVER", driver)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert batch.device(10**6) == ""
    driver.touch()
    assert (batch.device(10**6), batch.device(63)) == ("cuda", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert batch.device(10**6) == ""
