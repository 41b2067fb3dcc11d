"""Do the gates tell the truth? Their answers beside the true effects, in worlds that no simulator wrote.

Each world (``worlds/``) is a service of its own, simulated apart from Gnomon's simulators: servers, queues,
caches and experts with spells, bursts, heavy tails, drift, and with things that no model of ours has. It
records a trace under an incumbent; candidates are asked of the gates from fidelity to holdout; and the true
effect of each is what it does to a long future of the same world. Equal policies (they differ by their luck
alone) have no effect by symmetry. ``best of`` is the winner of 60 equal policies on train and validation.

A false acceptance is one of a policy that is truly no better. Of one holdout, candidates are asked in turn
until it is spent; ``per holdout`` counts the holdouts on which any false acceptance happened. Limits are exact
binomial ones at 95 %, one-sided; candidates of one recording share its luck, so only those per holdout are of
independent things. ``true effect worse than predicted`` is beyond the interval, nominally in 2.5 %, by more than
twice the true effect's own error.

``GNOMON_BENCH_SEEDS`` (1) recordings of each world, kept under ``build/bench/truth`` by the digest of the code that
was asked (gates, simulators, worlds) and not repeated while that is the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from results import OUT, Row
from worlds.judge import Jury
from worlds.settings import RANDOM, SETTINGS, Setting, Truth, equal

from gnomon.sdk.errors import TraceError

ROOT = Path(__file__).parents[1]


def asked(root: Path) -> str:
    """Return a digest of the code whose answers are counted; what other code answered says nothing of it."""
    digest = hashlib.sha256()
    for folder in ("shadow", "policies", "benchmarks/worlds"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


RUNS = OUT / "truth" / asked(ROOT)
#: Equal policies of which the best on train and validation is asked.
BEST_OF = 60
#: Questions that one holdout answers.
OPENINGS = 5
#: True effects that are as good as none: of a truth's own standard errors.
UNSURE = 2.0

Record = dict[str, Any]


def run() -> list[Row]:
    """Judge what is missing and count how often the gates were wrong."""
    seeds = range(int(os.environ.get("GNOMON_BENCH_SEEDS", "1")))
    records = []
    for name, setting in SETTINGS.items():
        truths = _Truths(setting)
        for seed in seeds:
            records += kept(name, setting, truths, seed)
            print(f"   {name}, recording {seed}: {tally(records)}", flush=True)
    return rows(records)


class _Truths:
    """True effects, run once."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._known: dict[str, Truth] = {}

    def __getitem__(self, source: str) -> Truth:
        if source not in self._known:
            self._known[source] = self._setting.truth(source)
        return self._known[source]


def kept(name: str, setting: Setting, truths: Any, seed: int) -> list[Record]:
    """Return the records of one recording of a world, judged unless it was before."""
    path = RUNS / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    if path.exists():
        found: list[Record] = json.loads(path.read_text())
        return found
    records = [
        {"world": name, "seed": seed, "modelled": setting.modelled} | record
        for incumbent in setting.incumbents
        for record in judge(setting, truths, incumbent, (zlib.crc32(name.encode()), seed))
    ]
    RUNS.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(records))
    partial.rename(path)
    return records


def judge(setting: Setting, truths: Any, incumbent: str, seed: tuple[int, ...]) -> Iterable[Record]:
    """Record a world under an incumbent and yield the gates' answer on every candidate."""
    rng = np.random.default_rng(seed)
    traffic = setting.world.traffic(setting.seconds, rng)
    jury = Jury(setting.run(traffic, incumbent).trace(), setting.kind, incumbent)
    order = [setting.candidates[at] for at in rng.permutation(len(setting.candidates))]
    try:
        jury.case(incumbent)
    except TraceError:  # too little of some member to calibrate on
        return
    if incumbent == RANDOM:
        order.insert(0, best(jury))
    opened = 0
    for source in order:
        if source == incumbent:
            continue
        same = equal(incumbent, source) or "% 1.0" in source
        effect, error = (0.0, 0.0) if same else truths[source].change(truths[incumbent])
        worse99 = 0.0 if same else truths[source].p99 / truths[incumbent].p99 - 1.0
        failing = 0.0 if same else truths[source].failures - truths[incumbent].failures
        no_better = same or effect > -UNSURE * error
        opened += no_better
        answer = jury.ask(source)
        asked = bool(no_better and opened <= OPENINGS and not answer.gate)
        yield {
            "incumbent": incumbent,
            "candidate": source,
            "sort": "best of" if "% 1.0" in source else "equal" if same else "other",
            "effect": effect,
            "error": error,
            "p99": worse99,
            "failing": failing,
            "fidelity": jury.fidelity,
            "gate": answer.gate,
            "no_better": bool(no_better),
            "in_turn": asked and not jury.ask(source, opened).gate,
            "predicted": dict(answer.effect),
            "rails": {name: dict(rail) for name, rail in answer.rails.items()},
        }


def best(jury: Jury) -> str:
    """Return the best on train and validation of many policies that are all equally good."""
    rng = np.random.default_rng(5)
    pool = [
        f"def score(noise):\n    return abs(noise * {times}.0 % 1.0 - {at:.3f})\n"
        for times, at in zip(rng.integers(1, 200, BEST_OF), rng.random(BEST_OF), strict=True)
    ]

    def mean(source: str) -> float:
        case = jury.case(source)
        windows = (case.splits[name] for name in ("train", "validation"))
        return sum(max(r.mean for r in case.replays(window, most=2)[0]) for window in windows)

    return min(pool, key=mean)


def tally(records: Sequence[Record]) -> str:
    """Return how often the gates were wrong so far."""
    false = [record for record in records if record["no_better"]]
    wrong = sum(not record["gate"] for record in false)
    right = sum(not record["gate"] for record in records) - wrong
    return f"{wrong} false acceptances of {len(false)}, {right} true ones of {len(records) - len(false)}"


def rows(records: Sequence[Record]) -> list[Row]:
    """Return the figures."""
    found = list(_false(records))
    for modelled, said in ((True, "all modelled"), (False, "with what no simulator has")):
        some = [record for record in records if record["modelled"] is modelled]
        found.append(_blocked(f"recordings that fidelity does not pass, worlds {said}", some))
    for low, high in ((-0.075, -0.025), (-0.15, -0.075), (-1.0, -0.15)):
        some = [record for record in records if low <= record["effect"] < high]
        name = f"accepted at a true effect of {high:+.1%} to {low:+.1%}"
        found.append(_share(name, [not record["gate"] for record in some], "higher", None))
    return [*found, *_coverage(records), *_rails(records)]


def _false(records: Sequence[Record]) -> Iterable[Row]:
    """Yield shares of false acceptances by sort of candidate and world, and per holdout."""
    false = [record for record in records if record["no_better"]]
    sorts: dict[str, Callable[[Record], bool]] = {
        "equal policies": lambda record: record["sort"] == "equal",
        f"the best of {BEST_OF} equal policies": lambda record: record["sort"] == "best of",
        "policies that are no better": lambda record: bool(record["modelled"]),
        "policies that are no better, worlds with what no simulator has": (
            lambda record: not record["modelled"]
        ),
    }
    for name, among in sorts.items():
        wrong = [not record["gate"] for record in false if among(record)]
        yield _share(f"falsely accepted: {name}", wrong, "lower", 0.05)
    key = lambda record: (record["world"], record["seed"], record["incumbent"])
    holdouts = [
        any(record["in_turn"] for record in group) for _, group in groupby(records, key=key)
    ]
    yield _share(f"falsely accepted per holdout, {OPENINGS} asked in turn", holdouts, "lower", 0.05)


def _blocked(name: str, records: Sequence[Record]) -> Row:
    key = lambda record: (record["world"], record["seed"], record["incumbent"])
    answers = [next(group)["fidelity"] for _, group in groupby(records, key=key)]
    return _share(name, [answer != "passed" for answer in answers], "lower", None)


def _coverage(records: Sequence[Record]) -> Iterable[Row]:
    """Yield how often the true effect lies beyond the predicted interval, by more than its own error."""
    for name, sign, limit in (("worse than", 1.0, "high"), ("better than", -1.0, "low")):
        beyond = [
            sign * (record["effect"] - record["predicted"][limit]) > UNSURE * record["error"]
            for record in records
            if record["fidelity"] == "passed"
        ]
        yield _share(f"true effect {name} predicted", beyond, "lower", 0.025)


def _rails(records: Sequence[Record]) -> Iterable[Row]:
    """Yield the share of acceptances whose true tail or failures are beyond the guardrail's margin."""
    taken = [record for record in records if not record["gate"] and record["rails"]]
    for name, rail, figure in (
        ("99th percentile", "tail", "p99"),
        ("failures", "failures", "failing"),
    ):
        beyond = [record[figure] > record["rails"][rail]["margin"] for record in taken]
        yield _share(f"accepted, truly beyond the margin: {name}", beyond, "lower", 0.05)


def _share(name: str, found: Sequence[bool], better: Any, target: float | None) -> Row:
    count, n = sum(found), len(found)
    share = count / max(n, 1)
    limit = upper(count, n)
    note = f"{count} of {n}; at most {limit:.1%}"
    target = target if n else None  # nothing was asked
    return Row(
        name,
        100.0 * share,
        "%",
        better,
        target and 100.0 * target,
        (100.0 * share, 100.0 * limit),
        note=note,
    )


def upper(count: int, n: int, error: float = 0.05) -> float:
    """Return the exact upper limit of a binomial share (Clopper and Pearson, 1934); 1 without any run."""
    low, high = count / max(n, 1), 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _at_most(count, n, middle) > error else (low, middle)
    return high


def _at_most(count: int, n: int, share: float) -> float:
    """Return the probability of at most so many of n."""
    return sum(math.comb(n, k) * share**k * (1.0 - share) ** (n - k) for k in range(count + 1))
