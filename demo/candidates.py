"""Candidates that the demo shows beside the one it searched for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .plan import BackendSpec

#: Least outstanding requests in other words: equal to the null run's incumbent, ties drawn anew.
EQUAL = """\
def score(inflight):
    return 2.0 * inflight + 1.0
"""

#: Reads a file: outside the policy language, refused before anything runs.
HOSTILE = """\
def score(inflight):
    return float(open("/etc/passwd").read(1) == "r")
"""

#: Sends everything to the busiest backend: the objective may like it for a moment, the invariant not.
PILES_UP = """\
def score(inflight, ewma_ms):
    return -inflight
"""

#: Never ends: runs out of fuel at its first decision.
ENDLESS = """\
def score(inflight):
    total = 0.0
    while total >= 0.0:
        total = total + 1.0
    return total
"""

REFUSED = {"hostile": HOSTILE, "piles up": PILES_UP, "endless": ENDLESS}


def learnt_by_heart(backends: Sequence[BackendSpec], service_ms: Sequence[float]) -> str:
    """Return shortest expected delay with the speeds of the captured trace written into the source.

    It recognises a backend by its weight. As good as it gets while the speeds stay what they were;
    wrong as soon as they change.

    Args:
        backends: with pairwise different weights.
        service_ms: mean service time per backend, as the simulator was calibrated.
    """
    known = sorted(
        (spec.weight, f"{mean:.1f}") for spec, mean in zip(backends, service_ms, strict=True)
    )
    lines = ["def score(inflight, weight):"]
    for position, ((weight, mean), (heavier, _)) in enumerate(pairwise(known)):
        word = "elif" if position else "if"
        lines += [f"    {word} weight < {(weight + heavier) / 2:.4g}:", f"        speed = {mean}"]
    lines += ["    else:", f"        speed = {known[-1][1]}", "    return (inflight + 1.0) * speed"]
    return "\n".join(lines) + "\n"
