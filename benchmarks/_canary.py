"""Rows of the canary's statistics: false alarms of equal policies, power, and two rules of others.

Sticky arms run through ``policies/rollout/units.py`` itself, run by run and kept under
``build/bench/canary`` by the digest of the code: a benchmark that was stopped goes on where it was.
``GNOMON_BENCH_CANARY`` (2,000) says how many runs a row of equal policies has; rows of power have a tenth
of them. Sums over assignments are taken by numpy, which a test holds to the control plane's own. The rules
of others are re-implemented: they are no runs of their programs.
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
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from results import OUT, ROOT, Peer, Row

sys.path.insert(0, str(ROOT))

from tests.rollout import sticky
from tests.rollout.test_statistics import REGIMES as BLOCKS
from tests.rollout.test_statistics import Change, upper_limit
from tests.rollout.test_statistics import play as play_blocks

RUNS = OUT / "canary"
WORKERS = 2
CHUNK = 100
#: Largest share of false decisions that is accepted, of the upper end of the exact 95 % interval.
LIMIT = 3.5
#: What decides how a run ends.
CODE = (
    *(
        f"policies/rollout/{name}.py"
        for name in ("units", "looks", "rerandomise", "slices", "tails")
    ),
    *(f"policies/rollout/{name}.py" for name in ("betting", "evidence", "outcomes", "wealth")),
    "tests/rollout/sticky.py",
    "tests/rollout/test_statistics.py",
)

End = tuple[str, int]

#: Canaries with an effect: name, regime, course, wanted end, target of the median, target of the share.
#: Runs are kept by name: a course that changes gets another one.
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


#: The same over blocks of 10 % noise: name, regime, effect, wanted end. At most 30 pairs.
BLOCK_POWER: tuple[tuple[str, str, float, str], ...] = (
    ("+10 %", "iid", 0.1, "abort"),
    ("+20 %", "iid", 0.2, "abort"),
    ("-15 %", "iid", -0.15, "promote"),
    ("-25 %", "iid", -0.25, "promote"),
    ("-25 %, AR(1) 0.6", "ar06", -0.25, "promote"),
)
#: What a block's canary lasts at most, in pairs.
PAIRS = 30


def rows() -> list[Row]:
    """Run what is missing and return all rows."""
    runs = int(os.environ.get("GNOMON_BENCH_CANARY", "2000"))
    few = max(20, runs // 10)
    found: list[Row] = []
    for name in sticky.REGIMES:
        found += _false(f"sticky, {name}", equal_units(name, runs))
    for name in BLOCKS:
        found += _false(f"30 pairs of blocks, {name}", equal_blocks(name, runs))
    for name, regime, course, wanted, median, share in POWER:
        ends = kept(f"power-{name}", partial(sticky_end, regime, course), few)
        targets = median, share
        found += _power(f"sticky, {name}", ends, wanted, (course.horizon, "decisions"), targets)
    for name, regime, effect, wanted in BLOCK_POWER:
        ends = kept(f"block-power-{name}", partial(block_end, regime, effect), few)
        what = f"30 pairs of blocks, 10 % noise, {name}"
        found += _power(what, ends, wanted, (PAIRS, "pairs"), (None, None))
    return found + others(runs)


def equal_units(regime: str, runs: int) -> list[End]:
    """Return the ends of canaries of equal policies over sticky units."""
    course = sticky.Course(share=_share(regime))
    return kept(f"sticky-{regime}", partial(sticky_end, regime, course), runs)


def equal_blocks(regime: str, runs: int) -> list[End]:
    """Return the ends of canaries of equal policies over blocks."""
    return kept(f"blocks-{regime}", partial(block_end, regime, 0.0), runs)


def _share(name: str) -> float:
    """Return the candidate's share: units that are few are divided evenly."""
    return 0.5 if name == "clustered" else 0.1


def sticky_end(regime: str, course: sticky.Course, seed: int) -> End:
    """Return how one canary of sticky units ends."""
    with sticky.by_numpy():
        return sticky.play(seed, getattr(sticky, regime), course)


def block_end(regime: str, effect: float, seed: int) -> End:
    """Return how one canary of 30 pairs of blocks ends."""
    end, _, pairs = play_blocks(seed, BLOCKS[regime], Change(effect)).partition(" ")
    return end, int(pairs or PAIRS)


def kept(name: str, one: Callable[[int], End], runs: int) -> list[End]:
    """Return the ends of so many runs; those that were made before are not made again."""
    path = _path(name)
    ends = [(str(end), int(n)) for end, n in _read(path)]
    if len(ends) < runs:
        with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
            while len(ends) < runs:
                seeds = range(len(ends), min(runs, len(ends) + CHUNK))
                ends += pool.map(one, seeds, chunksize=5)
                _keep(path, ends)
                print(f"   {name}: {len(ends)} of {runs}", file=sys.stderr, flush=True)
    return ends[:runs]


def _path(name: str) -> Path:
    digest = hashlib.sha256(b"".join((ROOT / path).read_bytes() for path in CODE)).hexdigest()[:12]
    return RUNS / digest / f"{quote(name, safe=' ')}.json"


def _keep(path: Path, ends: Sequence[End]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partly = path.with_suffix(".partial")
    partly.write_text(json.dumps(ends))
    partly.rename(path)


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
    what: str,
    ends: Sequence[End],
    wanted: str,
    most: tuple[int, str],
    targets: tuple[float | None, float | None],
) -> list[Row]:
    """Return share and median length of the wanted end, and in the note the share of the opposite one.

    Args:
        what: the canary.
        ends: of its runs.
        wanted: end.
        most: what a run lasts at most, and of what; undecided runs count as that long.
        targets: of the median and of the share in percent.
    """
    right = [n for end, n in ends if end == wanted]
    wrong = sum(end == {"abort": "promote", "promote": "abort"}[wanted] for end, _ in ends)
    runs, (horizon, unit), name = len(ends), most, f"canary, {what}"
    note = f"within {horizon:,} {unit}; {len(right)} of {runs} runs, {wrong} the other way"
    spread, share = _interval(len(right), runs), 100.0 * len(right) / runs
    middle = float(statistics.median(n if end == wanted else horizon for end, n in ends))
    span = (float(min(right, default=horizon)), float(max(right, default=horizon)))
    return [
        Row(f"{name}: {wanted}", share, "%", "higher", targets[1], spread, None, note),
        Row(f"{name}: {unit}", middle, unit, "lower", targets[0], span, None, note),
    ]


def others(runs: int) -> list[Row]:
    """Return false alarms on equal policies beside those of two common rules."""
    found = []
    for phi, regime in ((0.0, "iid"), (0.6, "ar06"), (0.9, "ar09")):
        alarms = kept(f"kayenta-{phi:g}", partial(_kayenta, phi), runs)
        what = f"30 pairs of blocks, AR(1) {phi:g}"
        rule = "Mann-Whitney at 12 cumulative looks, Kayenta-style"
        found.append(_beside(what, equal_blocks(regime, runs), rule, alarms))
    alarms = kept("peeking", _peeking, runs)
    ours = equal_units("iid", runs)
    return [*found, _beside("sticky, iid", ours, "one-sided t-test at 5 %, 60 looks", alarms)]


def _beside(what: str, ours: Sequence[End], rule: str, theirs: Sequence[End]) -> Row:
    (hits, runs), (alarms, n) = (
        (sum(end == "abort" for end, _ in ends), len(ends)) for ends in (ours, theirs)
    )
    peer = Peer(rule, "rule re-implemented", 100.0 * alarms / n)
    name = f"canary, equal policies, {what}: false abort beside a common rule's"
    note = f"{hits} of {runs} runs, the rule {alarms} of {n}"
    share = 100.0 * hits / runs
    return Row(name, share, "%", "lower", None, _interval(hits, runs), peer, note)


def _kayenta(phi: float, seed: int) -> End:
    """Judge two hours of minutes every ten minutes: 98 % interval of the shift, tolerance 0.25."""
    rng = np.random.default_rng([seed, 1])
    canary, baseline = (1.0 + 0.05 * _autoregressive(rng, 120, phi) for _ in range(2))
    for n in range(10, 121, 10):
        shifts = np.sort(np.subtract.outer(canary[:n], baseline[:n]).ravel())
        at = math.floor(n * n / 2 - 2.326 * math.sqrt(n * n * (2 * n + 1) / 12))
        if shifts[max(0, at)] > 0.25 * abs(float(np.median(shifts))):
            return "abort", n
    return "hold", 120


def _autoregressive(rng: np.random.Generator, n: int, phi: float) -> np.ndarray[Any, Any]:
    noise = rng.normal(size=n)
    for at in range(1, n):
        noise[at] = phi * noise[at - 1] + math.sqrt(1 - phi * phi) * noise[at]
    return noise


def _peeking(seed: int) -> End:
    """Test at 5 % whether a tenth of lognormal outcomes is higher, at 60 looks up to 50,000."""
    rng = np.random.default_rng([seed, 2])
    values, own = np.exp(rng.normal(0.0, 0.5, 50_000)), rng.random(50_000) < 0.1
    for n in np.geomspace(500, 50_000, 60).astype(int):
        one, other = values[:n][own[:n]], values[:n][~own[:n]]
        error = math.sqrt(one.var() / one.size + other.var() / other.size)
        if one.mean() - other.mean() > 1.645 * error:
            return "abort", int(n)
    return "hold", 50_000
