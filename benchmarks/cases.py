"""The ADRS case studies: published results, proven bounds and ours, under rules that cannot be gamed.

A row is a case on one set of workloads. *Published* is the best figure that anybody published, *valid* the
best among those that keep the kind's invariants (no late job, no lost transaction, no group torn apart),
measured anew here where the policy can be run. *Bound* is what no policy can beat, computed here. A target
counts as met only without a violation. Each kind's page says which published figures cannot be reproduced.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from _cases import Case

PREFIX = "_case_"


def run() -> list[Case]:
    """Measure every case, or those that ``GNOMON_BENCH_CASES`` names, separated by commas."""
    known = names()
    chosen = [each for each in os.environ.get("GNOMON_BENCH_CASES", "").split(",") if each]
    if unknown := sorted({*chosen} - {*known}):
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are: {', '.join(known)}")
    if not known:
        raise SystemExit(
            "no kind has a case here: benchmarks/_case_KIND.py with case() would be one"
        )
    found: list[Case] = []
    for name in chosen or known:
        print(f"   {name}", file=sys.stderr, flush=True)
        found += import_module(PREFIX + name).case()
    return found


def names() -> list[str]:
    """Return the kinds that have a case here, in alphabetical order."""
    parts = Path(__file__).parent.glob(f"{PREFIX}*.py")
    return sorted(path.stem.removeprefix(PREFIX) for path in parts)
