"""CPU time of the search loop itself, for one proposal: evaluator and model answer at once.

Every strategy searches until there are 10,000 programs, each scored on 20 segments, its log written as ever; a
row is what one more proposal costs then (three times the mean of 100), start-up and evaluations excluded,
drafting, checking, deduplicating, archiving and logging included. ``keyless`` mutates syntax trees and tunes
constants; ``model`` asks the stub model through the seam of writers. A control arm that has no more to propose
has no row.

OpenEvolve (islands, one worker process, rewrites, no embeddings; CPU time of its processes, a shorter run taken
from a longer one) and GEPA (20 instances in its validation set, everything accepted) do theirs with the same
model and the same scores at populations of the same size. GEPA's cost grows with its population, and so does the
time to get there: 10,000 is left out. ``resume`` is a log of the default's with
10,000 programs, read, checked and replayed.
"""

from __future__ import annotations

import math
import statistics
from importlib.metadata import PackageNotFoundError, version

from _scaling import bare_call_ns, scaled
from _search_ours import Timed, searched
from _search_peers import gepa, openevolve
from results import Peer, Row

from gnomon.shadow.search.strategies import STRATEGIES

POPULATIONS = (10, 1_000, 10_000)
TARGET_MS = 2.0
#: Strategies that a model has no part in.
ARMS = frozenset({"independent", "seeds", "random", "published"})


def run() -> list[Row]:
    """Measure ours and the peers."""
    peers = measured_peers()
    rows = []
    for name in STRATEGIES:
        for how in ("keyless",) if name in ARMS else ("keyless", "model"):
            print(f"   {name}, {how}", flush=True)
            rows += rows_of(
                f"{name}, {how}", searched(name, how == "model", POPULATIONS[-1]), peers
            )
    bare = bare_call_ns()
    return [scaled(row, bare) for row in rows]


def rows_of(who: str, timed: Timed, peers: dict[tuple[str, int], Peer]) -> list[Row]:
    """Return a strategy's rows, each beside OpenEvolve at that size, and GEPA's figure in the note."""
    rows = []
    for population in POPULATIONS:
        found = timed.at(population)
        if not found:
            continue
        other = peers.get(("gepa", population))
        note = f"{other.name} {other.version}: {other.value:.3g}" if other else ""
        rows.append(
            Row(
                f"{who}, {population} programs",
                statistics.median(found),
                "ms",
                "lower",
                TARGET_MS,
                (min(found), max(found)),
                peers.get(("openevolve", population)),
                note,
            )
        )
    if not math.isnan(timed.resumed_s):
        took = timed.resumed_s
        rows.append(Row(f"{who}, resume", took, "s", "lower", None, (took, took)))
    return rows


def measured_peers() -> dict[tuple[str, int], Peer]:
    """Return what an iteration of those that are installed takes, by name and population."""
    found: dict[tuple[str, int], Peer] = {}
    if release := _release("gepa"):
        for population, values in gepa(POPULATIONS[:-1]).items():
            found["gepa", population] = Peer("GEPA", release, statistics.median(values))
    if release := _release("openevolve"):
        for population in POPULATIONS:
            values = openevolve(population)
            found["openevolve", population] = Peer("OpenEvolve", release, statistics.median(values))
    return found


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        print(f"   {package} is not installed and is left out", flush=True)
        return ""
