"""Plays one seed again: ``python -m tests.rollout.simulation --seed N [--history]``."""

from __future__ import annotations

import argparse
import logging
import sys

from .publisher import remembered
from .world import simulate


def main() -> int:
    """Print what became of a seed; return 1 where it was not allowed."""
    parser = argparse.ArgumentParser(prog="python -m tests.rollout.simulation")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--history", action="store_true", help="print all events, too")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with remembered():
        run = simulate(given.seed)
    if given.history:
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
