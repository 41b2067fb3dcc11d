"""Rows of the canary's statistics: false alarms of equal policies, power, and two rules of others.

Sticky arms run through ``policies/rollout/units.py`` itself, run by run and kept under
``build/bench/canary`` by the digest of the code: a benchmark that was stopped goes on where it was.
``GNOMON_BENCH_CANARY`` (200) says how many runs a row of equal policies has, 2,000 for the published ones;
rows of power have a quarter of them. The rules of others are re-implemented: they are no runs of their
programs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from results import OUT, ROOT, Peer, Row

sys.path.insert(0, str(ROOT))

from tests.rollout import sticky
from tests.rollout.test_statistics import REGIMES as BLOCKS
from tests.rollout.test_statistics import play as play_blocks
from tests.rollout.test_statistics import upper_limit

RUNS = OUT / "canary"
WORKERS = 2
CHUNK = 50
#: Largest share of false decisions that is accepted, of the upper end of the exact 95 % interval.
LIMIT = 3.5
#: What decides how a run ends.
CODE = (
    *(
        f"policies/rollout/{name}.py"
        for name in ("units", "looks", "rerandomise", "slices", "tails")
    ),
    *(f"policies/rollout/{name}.py" for name in ("evidence", "wealth")),
    "tests/rollout/sticky.py",
)

End = tuple[str, int]

#: Canaries with an effect: name, regime, course, wanted end, target of the median, target of the share.
POWER: tuple[tuple[str, str, sticky.Course, str, float | None, float | None], ...] = (
    ("+10 %, CV 0.53, 10 % share", "iid", sticky.Course(0.1, horizon=20_000), "abort", 4000, None),
    ("-5 %, CV 0.53, 10 % share", "iid", sticky.Course(-0.05, horizon=60_000), "promote", None, 90),
    ("+10 %, CV 1, 10 % share", "noisy", sticky.Course(0.1, horizon=60_000), "abort", None, None),
    (
        "-10 %, CV 1, 10 % share",
        "noisy",
        sticky.Course(-0.1, horizon=60_000),
        "promote",
        None,
        None,
    ),
    ("+25 %, CV 0.53, 10 % share", "iid", sticky.Course(0.25), "abort", None, None),
    ("+10 %, CV 0.53, half", "iid", sticky.Course(0.1, share=0.5), "abort", None, None),
)


def rows() -> list[Row]:
    """Run what is missing and return all rows."""
    runs = int(os.environ.get("GNOMON_BENCH_CANARY", "200"))
    found: list[Row] = []
    for name in sticky.REGIMES:
        ends = kept(
            f"sticky-{name}", partial(sticky_end, name, sticky.Course(share=_share(name))), runs
        )
        found += _false(f"sticky, {name}", ends)
    for name in BLOCKS:
        found += _false(
            f"30 pairs of blocks, {name}", kept(f"blocks-{name}", partial(block_end, name), runs)
        )
    for name, regime, course, wanted, median, share in POWER:
        ends = kept(f"power-{name}", partial(sticky_end, regime, course), max(20, runs // 4))
        found += _power(name, ends, wanted, course.horizon, median, share)
    return found + others(runs)


def _share(name: str) -> float:
    """Return the candidate's share: units that are few are divided evenly."""
    return 0.5 if name == "clustered" else 0.1


def sticky_end(regime: str, course: sticky.Course, seed: int) -> End:
    """Return how one canary of sticky units ends."""
    return sticky.play(seed, getattr(sticky, regime), course)


def block_end(regime: str, seed: int) -> End:
    """Return how one canary of 30 pairs of blocks ends."""
    end, _, pairs = play_blocks(seed, BLOCKS[regime]).partition(" ")
    return end, int(pairs or 30)


def kept(name: str, one: Callable[[int], End], runs: int) -> list[End]:
    """Return the ends of so many runs; those that were made before are not made again."""
    digest = hashlib.sha256(b"".join((ROOT / path).read_bytes() for path in CODE)).hexdigest()[:12]
    path = RUNS / digest / f"{''.join(c if c.isalnum() else '-' for c in name)}.json"
    ends = [(str(end), int(n)) for end, n in _read(path)]
    with ProcessPoolExecutor(WORKERS) as pool:
        while len(ends) < runs:
            seeds = range(len(ends), min(runs, len(ends) + CHUNK))
            ends += pool.map(one, seeds, chunksize=5)
            path.parent.mkdir(parents=True, exist_ok=True)
            partly = path.with_suffix(".partial")
            partly.write_text(json.dumps(ends))
            partly.rename(path)
            print(f"   {name}: {len(ends)} of {runs}", flush=True)
    return ends[:runs]


def _read(path: Path) -> list[Any]:
    return json.loads(path.read_text()) if path.exists() else []


def _interval(hits: int, runs: int) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) 95 % interval of a share, in percent."""
    high = 100.0 if hits == runs else 100.0 * upper_limit(hits, runs)
    low = 0.0 if not hits else 100.0 * (1.0 - upper_limit(runs - hits, runs))
    return low, high


def _false(name: str, ends: Sequence[End]) -> list[Row]:
    """Return the rows of equal policies: the target is on the upper end of the interval."""
    found = []
    for end in ("abort", "promote"):
        hits = sum(one == end for one, _ in ends)
        spread = _interval(hits, len(ends))
        note = f"upper end of the exact 95 % interval; {hits} of {len(ends)} runs"
        what = f"canary, equal policies, {name}: false {end}"
        found.append(Row(what, spread[1], "%", "lower", LIMIT, spread, None, note))
    return found


def _power(
    name: str,
    ends: Sequence[End],
    wanted: str,
    horizon: int,
    median: float | None,
    share: float | None,
) -> list[Row]:
    """Return share and median decisions of the wanted end, and the share of the opposite one."""
    right = sorted(n for end, n in ends if end == wanted)
    wrong = sum(end == {"abort": "promote", "promote": "abort"}[wanted] for end, _ in ends)
    runs, what = len(ends), f"canary, sticky, {name}"
    note = f"within {horizon:,} decisions; {len(right)} of {runs} runs, {wrong} the other way"
    spread = _interval(len(right), runs)
    found = [
        Row(f"{what}: {wanted}", 100 * len(right) / runs, "%", "higher", share, spread, None, note)
    ]
    if right:
        span = (float(right[0]), float(right[-1]))
        middle = float(statistics.median(n if end == wanted else horizon for end, n in ends))
        found.append(
            Row(f"{what}: decisions", middle, "decisions", "lower", median, span, None, note)
        )
    return found


def others(runs: int) -> list[Row]:
    """Return false alarms of two common rules on equal policies, as peers of what stands above."""
    found = []
    for phi in (0.0, 0.6, 0.9):
        alarms = sum(_kayenta(seed, phi) for seed in range(runs))
        found.append(
            _peer(
                f"Mann-Whitney at 12 cumulative looks, AR(1) {phi:g}", "Kayenta-style", alarms, runs
            )
        )
    alarms = sum(_peeking(seed) for seed in range(runs))
    return [*found, _peer("t-test at every look, iid", "peeking t-test", alarms, runs)]


def _peer(what: str, rule: str, alarms: int, runs: int) -> Row:
    spread = _interval(alarms, runs)
    peer = Peer(rule, "rule re-implemented", 100.0 * alarms / runs)
    name = f"canary, equal policies, rule of others: {what}"
    return Row(
        name, 100.0 * alarms / runs, "%", "lower", None, spread, peer, f"{alarms} of {runs} runs"
    )


def _kayenta(seed: int, phi: float) -> bool:
    """Judge two hours of minutes every ten minutes: 98 % interval of the shift, tolerance 0.25."""
    rng = np.random.default_rng([seed, 1])
    canary, baseline = (1.0 + 0.05 * _autoregressive(rng, 120, phi) for _ in range(2))
    for n in range(10, 121, 10):
        shifts = np.sort(np.subtract.outer(canary[:n], baseline[:n]).ravel())
        at = math.floor(n * n / 2 - 2.326 * math.sqrt(n * n * (2 * n + 1) / 12))
        if shifts[max(0, at)] > 0.25 * abs(float(np.median(shifts))):
            return True
    return False


def _autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray[Any, Any]:
    noise = rng.normal(size=n)
    for at in range(1, n):
        noise[at] = phi * noise[at - 1] + math.sqrt(1 - phi * phi) * noise[at]
    return noise


def _peeking(seed: int) -> bool:
    """Test at 5 % whether a tenth of lognormal outcomes is higher, at 60 looks up to 50,000."""
    rng = np.random.default_rng([seed, 2])
    values, own = np.exp(rng.normal(0.0, 0.5, 50_000)), rng.random(50_000) < 0.1
    for n in np.geomspace(500, 50_000, 60).astype(int):
        one, other = values[:n][own[:n]], values[:n][~own[:n]]
        error = math.sqrt(one.var() / one.size + other.var() / other.size)
        if one.mean() - other.mean() > 1.645 * error:
            return True
    return False
