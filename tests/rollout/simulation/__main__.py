"""``python -m tests.rollout.simulation``: plays one seed again, or very many."""

from __future__ import annotations

import argparse
import logging
import sys

from .memory import remembered
from .runner import ROOT, soak
from .world import simulate


def main() -> int:
    """Print what became of seeds; return 1 where something was not allowed."""
    parser = argparse.ArgumentParser(prog="python -m tests.rollout.simulation")
    parser.add_argument("--seed", type=int, help="play one seed again")
    parser.add_argument("--history", action="store_true", help="print all its events, too")
    parser.add_argument("--rollouts", type=int, help="play seeds until so many rollouts are done")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.rollouts:
        report = soak(given.rollouts, ROOT / "build" / "soak", given.workers)
        print(report.told())
        return int(bool(report.problems))
    return _replayed(given.seed or 0, history=given.history)


def _replayed(seed: int, *, history: bool) -> int:
    logging.disable(logging.CRITICAL)
    with remembered():
        run = simulate(seed)
    if history:
        for event in run.history:
            print(event)
    for name, count in sorted(run.met.items()):
        print(f"{count:6d} {name}")
    print(f"seed {run.seed}: {run.rollouts} rollouts, {len(run.history)} events")
    for problem in run.problems:
        print("PROBLEM", problem)
    return int(bool(run.problems))


if __name__ == "__main__":
    sys.exit(main())
