"""Expert placements on a GPU: equal to the CPU's bit for bit, and how long they take.

``python benchmarks/_moe_gpu.py [--json FILE]`` needs Python, torch and numpy alone; where numba and the
package are there as well, the compiled kernels are compared with and timed beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
#: Name, layers, experts, slots, groups, nodes, ranks.
DEPLOYMENTS = (
    ("58x256 to 288, groups kept", 58, 256, 288, 8, 4, 32),
    ("58x256 to 288, global", 58, 256, 288, 1, 1, 32),
    ("26x64 to 72, global", 26, 64, 72, 1, 1, 8),
)
WINDOWS = (1, 16, 128)
PACKINGS = {"eplb": 0, "snake": 1}
_REPEATS = 5


def by_path(name: str) -> Any:
    """Import one module of the simulators without the package around it."""
    path = ROOT / "shadow" / "simulators" / "expert_placement" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled() -> Any:
    """Return the compiled kernels, or None where the package or numba is missing."""
    try:
        from gnomon.shadow.simulators.expert_placement import eplb_kernel, kernel
    except ImportError:
        return None
    return eplb_kernel.place, kernel.judge


def loads(windows: int, layers: int, experts: int, seed: int) -> Any:
    """Return skewed loads with ties and idle experts, whole numbers as f8[windows, layers, experts]."""
    rng = np.random.default_rng(seed)
    drawn = rng.gamma(0.7, 100.0, (windows, layers, experts)).round()
    drawn[rng.random(drawn.shape) < 0.05] = 0.0
    return torch.from_numpy(drawn)


def timed(work: Any, device: str) -> float:
    """Return the median seconds of a call, the device's work included."""

    def once() -> float:
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(_REPEATS))


def case(eplb: Any, kernels: Any, deployment: Any, windows: int, device: str) -> dict[str, Any]:
    """Compare and time one deployment; ``equal`` says whether maps and judgement are the CPU's."""
    name, layers, experts, slots, groups, nodes, ranks = deployment
    seen, judged = (loads(windows, layers, experts, seed) for seed in (1, 2))
    row: dict[str, Any] = {"case": name, "windows": windows, "device": device, "equal": True}
    here = (seen.to(device), judged.to(device))
    for policy, packing in PACKINGS.items():
        shape = (slots, groups, nodes, ranks, packing)
        placed = eplb.place(here[0], *shape)
        found = eplb.judge(here[1], placed, ranks)
        if kernels:
            for window in range(min(windows, 16)):
                own = kernels[0](seen[window].numpy(), *shape)
                same = np.array_equal(own, placed[window].cpu().numpy())
                same &= kernels[1](judged[window].numpy(), own, ranks) == tuple(
                    found[window].tolist()
                )
                row["equal"] &= bool(same)
        few = slice(0, min(windows, 16))  # a step at a time on the CPU is slow
        base = eplb.place(seen[few], *shape)
        row["equal"] &= torch.equal(base, placed[few].cpu())
        row["equal"] &= torch.equal(eplb.judge(judged[few], base, ranks), found[few].cpu())
        seconds = timed(lambda shape=shape: eplb.place(here[0], *shape), device)
        row[f"{policy} ms a window"] = round(1e3 * seconds / windows, 4)
    row["judge ms a window"] = round(
        1e3 * timed(lambda: eplb.judge(here[1], placed, ranks), device) / windows, 4
    )
    return row


def main() -> int:
    """Print one JSON line per case; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write all rows to this file too")
    options = parser.parse_args()
    eplb, kernels = by_path("eplb_torch"), compiled()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    about = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu, no GPU found",
        "compiled kernels": "compared with" if kernels else "not there",
    }
    print(json.dumps(about), flush=True)
    rows = []
    for deployment in DEPLOYMENTS:
        for windows in WINDOWS if device == "cuda" else WINDOWS[:2]:
            rows.append(case(eplb, kernels, deployment, windows, device))
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    return 0 if all(row["equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
