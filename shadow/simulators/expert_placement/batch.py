"""Replays of published placements in one batch on a GPU: they look at the load alone, so no window waits."""

# torch is optional, and not there when types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...traces.load_trace import LoadTrace
from .model import Judge, PlacementCalibration, PlacementReplay, load_of

#: What a driver for CUDA makes; torch takes seconds to import, and is not worth it on a CPU.
_DRIVER = Path("/dev/nvidiactl")
#: Windows below which the compiled kernels are done before torch is imported.
_LEAST = 1024
#: Windows of a batch: what 58 layers of 256 experts and their maps take stays below 2 GiB.
_BATCH = 256


def device(windows: int) -> str:
    """Return ``cuda`` where torch has a GPU and so many windows are worth it, else an empty string."""
    if windows < _LEAST or not _DRIVER.exists():
        return ""
    try:
        import torch
    except ImportError:
        return ""
    return "cuda" if torch.cuda.is_available() else ""


def batched(
    trace: LoadTrace,
    calibration: PlacementCalibration,
    hierarchy: tuple[int, int],
    packing: int,
    device: str,
) -> PlacementReplay:
    """Replay a trace under a placement of ``eplb_torch``; equal to the stream's, bit for bit.

    Args:
        trace: what to replay.
        calibration: of the load.
        hierarchy: groups and nodes that the placement is to keep; (1, 1) for a global one.
        packing: how replicas are put onto ranks.
        device: of torch.
    """
    judge = Judge(trace, trace.placement)
    for low in range(trace.first, len(trace.at), _BATCH):
        judged = range(low, min(low + _BATCH, len(trace.at)))
        _batch(judge, calibration, hierarchy, packing, device, judged)
    return judge.replay()


def _batch(
    judge: Judge,
    calibration: PlacementCalibration,
    hierarchy: tuple[int, int],
    packing: int,
    device: str,
    judged: range,
) -> None:
    import torch

    from . import eplb_torch as eplb

    trace, before = judge.trace, 1 + judge.trace.delay

    def loads(windows: Any) -> Any:
        stacked = np.stack([load_of(trace, window, calibration) for window in windows])
        return torch.from_numpy(stacked).to(device)

    seen = loads(window - before for window in judged)
    placed = eplb.place(seen, trace.replicas, *hierarchy, trace.ranks, packing)
    found = eplb.judge(loads(judged), placed, trace.ranks).cpu().numpy()
    for placement, (fullest, mean, unserved) in zip(placed.cpu().numpy(), found, strict=True):
        judge.note(placement, float(fullest), float(mean), float(unserved))
