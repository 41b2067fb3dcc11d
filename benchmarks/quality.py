"""What search finds for a budget: validation, holdout and truth after 25, 100 and 400 evaluations.

Every strategy and control arm searches the same five traces of each kind (``_arenas.py``) with the same five
seeds, keyless, from the library of published policies. What is counted is what a user would get: the winner by
the product's own rule, against the published policy that is best on validation, as a gain in percent. A winner
that is a published policy gains what that policy does, and one that breaks on a window gains nothing there.
Ranges are 95 % intervals of the mean over the five (Student's t); what one strategy has over another is paired
by trace. ``truth`` is the mean outcome of a long future of the world, which no simulator of ours wrote. Nothing
is raced: every evaluation goes all the way, in this process. The holdout is opened here to measure the search;
no ledger counts it.

Runs are kept under ``build/bench/quality`` by the digest of the code and not repeated while that is the same;
evaluations by that of simulators, kinds and language alone. ``GNOMON_BENCH_STRATEGIES`` names some.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _arenas
from _arenas import KINDS, SEEDS, Field
from _remembered import Remembered
from results import OUT, Row

from gnomon.shadow.evaluation import Split
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.records import Budget
from gnomon.shadow.search.results.result import gain
from gnomon.shadow.search.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
RUNS = OUT / "quality"
BUDGETS = (25, 100, 400)
#: The default, and who it has to beat.
DEFAULT = "evolve"
CONTROLS = ("independent", "seeds", "random", "published")
_SCORED_BY = ("shadow/simulators", "shadow/traces", "policies", "sdk/language", "benchmarks/worlds")
_SHIPPING = ROOT / "policies" / "rollout"
#: Student's t at 97.5 % by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}

Found = dict[str, Any]


def code(*folders: str) -> str:
    """Return a digest of the modules under some folders of the repository."""
    digest = hashlib.sha256()
    for folder in folders:
        # how policies are shipped has no part in what they score
        for path in sorted(set((ROOT / folder).rglob("*.py")) - set(_SHIPPING.rglob("*.py"))):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def run() -> list[Row]:
    """Search what is missing and return the figures."""
    names = [name for name in os.environ.get("GNOMON_BENCH_STRATEGIES", "").split(",") if name]
    return rows([found for kind in KINDS for found in of_kind(kind, names or list(STRATEGIES))])


def of_kind(
    kind: str,
    names: Sequence[str],
    seeds: Iterable[int] = SEEDS,
    budgets: Sequence[int] = BUDGETS,
) -> list[Found]:
    """Return what every strategy found on every trace of a kind, for every budget."""
    found = []
    for seed in seeds:
        bench = Bench(kind, seed)
        try:
            found += [bench.kept(name, budget) for name in names for budget in budgets]
        finally:
            bench.close()
    return found


class Bench:
    """One trace of one kind, and all searches on it.

    Args:
        kind: name of one of :data:`KINDS`.
        seed: of the trace and of the searches.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.seed = kind, seed
        self.field: Field = _arenas.field(kind, seed)
        scored = RUNS / "scores" / f"{kind}-{seed}-{code(*_SCORED_BY)}.jsonl"
        self.engine = Remembered(self.field.open, scored)
        self._runs = RUNS / code("shadow/search", *_SCORED_BY)

    def kept(self, name: str, budget: int) -> Found:
        """Return what a strategy finds, searched unless it was before."""
        path = self._runs / f"{self.kind}-{name}-{self.seed}-{budget}.json"
        if path.exists():
            known: Found = json.loads(path.read_text())
            return known
        found = self.found(name, budget)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(found))
        partial.rename(path)
        return found

    def found(self, name: str, budget: int) -> Found:
        """Search once and measure the winner."""
        began, before = time.process_time(), self.engine.asked
        with tempfile.TemporaryDirectory() as folder:
            result = evolve(
                self.field.arena.kind, self.engine, self._options(name, budget), Path(folder)
            )
        winner, baseline = result.winner, result.baseline
        assert winner is not None and baseline is not None  # the published policies are sound here
        record = {
            "kind": self.kind,
            "trace": self.field.name,
            "seed": self.seed,
            "strategy": name,
            "budget": budget,
            "origin": result.origin,
            "winner": winner.source,
            "baseline": baseline.name,
            "counts": dict(result.counts),
            "diagnosis": list(result.diagnosis),
            "cpu_s": time.process_time() - began,
            "evaluated": self.engine.asked - before,
            **{
                window: self._gained(baseline.source, winner.source, window)
                for window in ("train", "validation", "holdout", "truth")
                if window != "truth" or self.field.truth
            },
        }
        _say(record)
        return record

    def _options(self, name: str, budget: int) -> Options:
        arena = self.field.arena
        return Options(
            budget=Budget(budget), seed=self.seed, strategy=name, parallel=1, racing=False,
            scales=arena.scales(), subject=arena.subject(),
        )  # fmt: skip

    def _gained(self, baseline: str, winner: str, window: str) -> float:
        """Return percent; what breaks here is refused by the gates, and the published policy stays."""
        gained = gain(self._score(baseline, window), self._score(winner, window))
        return 100.0 * gained if math.isfinite(gained) else 0.0

    def _score(self, source: str, window: str) -> float:
        if window == "truth":
            assert self.field.truth is not None
            return self.field.truth(source)
        split: Split = window  # type: ignore[assignment]
        return self.engine.submit(source, split).result().score

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


def _say(record: Found) -> None:
    figures = ", ".join(
        f"{window} {record[window]:+.2f} %"
        for window in ("train", "validation", "holdout", "truth")
        if window in record
    )
    what = f"{record['kind']} {record['trace']}, {record['strategy']} at {record['budget']}"
    print(f"   {what}: {figures} ({record['evaluated']} evaluated)", file=sys.stderr, flush=True)


# --- figures ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over traces with its 95 % interval; one alone has no interval and is its own limits."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Mean:
    """Return the mean and its interval by Student's t."""
    middle = statistics.fmean(values)
    if len(values) < 2:
        return Mean(middle, middle, middle)
    half = _T.get(len(values) - 1, 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return Mean(middle, middle - half, middle + half)


def rows(found: Sequence[Found]) -> list[Row]:
    """Return the default against the best control arm (with a target once nothing is missing), then all gains."""
    table: dict[tuple[str, str, int], dict[int, Found]] = {}
    for record in found:
        key = record["kind"], record["strategy"], record["budget"]
        table.setdefault(key, {})[record["seed"]] = record
    made = [row for kind in KINDS for row in _against(kind, table)]
    return made + [_row(key, by_seed) for key, by_seed in sorted(table.items())]


def _against(kind: str, table: Mapping[tuple[str, str, int], dict[int, Found]]) -> list[Row]:
    made = []
    for budget in BUDGETS:
        ours = table.get((kind, DEFAULT, budget), {})
        arms = {arm: table[kind, arm, budget] for arm in CONTROLS if (kind, arm, budget) in table}
        if not ours or not arms:
            continue
        best = max(arms, key=lambda arm: statistics.fmean(_column(arms[arm], "holdout")))
        over = {arm: mean(_paired(ours, theirs, "holdout")) for arm, theirs in arms.items()}
        note = "; ".join(f"over {arm} {_shown(one)}" for arm, one in over.items())
        note += f"; {len(ours.keys() & arms[best].keys())} traces"
        # some traces, or some arms, say nothing of who is best
        whole = all(
            runs.keys() >= set(SEEDS) for runs in (ours, *(arms.get(a, {}) for a in CONTROLS))
        )
        target = 0.0 if whole else None
        spread = over[best].low, over[best].high
        name = f"{kind}, {budget}: {DEFAULT} over {best}, the best control arm, holdout"
        made.append(Row(name, over[best].value, "points", "higher", target, spread, note=note))
    return made


def _column(by_seed: Mapping[int, Found], window: str) -> list[float]:
    return [by_seed[seed][window] for seed in sorted(by_seed)]


def _paired(ours: Mapping[int, Found], theirs: Mapping[int, Found], window: str) -> list[float]:
    return [
        ours[seed][window] - theirs[seed][window] for seed in sorted(ours.keys() & theirs.keys())
    ]


def _shown(one: Mean) -> str:
    return f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})"


def _row(key: tuple[str, str, int], by_seed: Mapping[int, Found]) -> Row:
    kind, name, budget = key
    holdout = mean(_column(by_seed, "holdout"))
    others = [f"validation {_shown(mean(_column(by_seed, 'validation')))}"]
    if all("truth" in record for record in by_seed.values()):
        others.append(f"truth {_shown(mean(_column(by_seed, 'truth')))}")
    evolved = sum(record["origin"] == "evolved" for record in by_seed.values())
    others.append(f"evolved in {evolved} of {len(by_seed)} traces")
    return Row(
        f"{kind}, {budget}: {name}, holdout", holdout.value, "%", "higher", None,
        (holdout.low, holdout.high), note="; ".join(others),
    )  # fmt: skip
