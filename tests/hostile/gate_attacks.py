"""Candidates within the language that are no good: what the arithmetic, the fuel and the gates stop.

They are put through a whole verification for a load balancer that was recorded under round robin.
"""

from __future__ import annotations

from gnomon.policies.load_balancer import load_balancer

from .attack import Attack, named

PEAK = load_balancer.baselines["peak_ewma"].source or ""
_PEAK = "(inflight + 1.0) * ewma_ms"

#: Faults on real rows. In production the incumbent answers such a call; in a replay it refuses.
_FAULTS = named(
    "score",
    "hide behind faults",
    "sampled replay",
    {
        "divide by zero": "def score(inflight):\n    return 1.0 / inflight\n",
        "run out of numbers": "import math\ndef score(ewma_ms):\n    return math.exp(ewma_ms * 1000.0)\n",
        "a power too large": "def score(ewma_ms):\n    return (ewma_ms + 2.0) ** 1e6\n",
        "a root of less than nothing": (
            "import math\ndef score(inflight):\n    return math.sqrt(inflight - 1.0)\n"
        ),
        "a whole number that no float holds": (
            "def score(ewma_ms):\n    return round((ewma_ms + 1.0) * 1e16)\n"
        ),
        "a step of nothing": (
            "def score(inflight):\n    t = 0.0\n    for i in range(0, 9, min(1, round(inflight))):\n"
            "        t += 1.0\n    return t\n"
        ),
        "the smallest of nothing": (
            "def score(inflight):\n    return min(i for i in range(round(inflight)))\n"
        ),
    },
    ["guard"],
)
_FUEL = named(
    "score",
    "time",
    "sampled replay",
    {
        "loop for ever in the language": (
            "def score(inflight):\n    x = inflight\n    while True:\n        x = x + 1.0\n    return x\n"
        ),
        "a loop as long as it likes": (
            "def score(inflight):\n    t = 0.0\n    for i in range(1000000000):\n        t += 1.0\n"
            "    return t + inflight\n"
        ),
        "loops within loops": (
            "def score(inflight):\n    t = inflight\n    for i in range(50):\n"
            "        for j in range(50):\n            for k in range(50):\n                t += 1.0\n"
            "    return t\n"
        ),
        "a loop that grows with its input": (
            "def score(ewma_ms):\n    return sum(i * 1.0 for i in range(round(ewma_ms) * 500))\n"
        ),
        "a loop that a helper hides": (
            "def f(x):\n    t = x\n    while t < 1e9:\n        t += 1.0\n    return t\n"
            "def score(inflight):\n    return f(inflight)\n"
        ),
    },
    ["guard"],
)

_DAMAGE = (
    *named(
        "score",
        "damage",
        "sampled replay",
        {
            "ruin everybody": "def score(inflight):\n    return -inflight\n",
            "always the slowest": "def score(ewma_ms):\n    return -ewma_ms\n",
        },
        ["full replay"],
    ),
    *named(
        "score",
        "pass without being better",
        "full replay",
        {
            "do nothing": "def score(inflight):\n    return 0.0\n",
            "copy the incumbent": "def score(since_picked):\n    return -since_picked\n",
            "copy it in other words": (
                "def score(since_picked):\n    return 1.0 / max(1.0, since_picked) * 7.0\n"
            ),
            "scores so large that they tie": (
                "def score(inflight):\n    return inflight + 1e300\n"
            ),
            "scores so small that they tie": (
                "def score(inflight):\n    return inflight * 5e-324 * 0.1\n"
            ),
            "luck instead of judgement": "def score(noise):\n    return noise\n",
        },
        ["holdout"],
    ),
    *named(
        "score",
        "a better mean by starving a backend",
        "full replay",
        {
            "starve the slowest": (
                "def score(inflight, ewma_ms, since_picked):\n"
                "    if since_picked > 2.0 and ewma_ms > 40.0:\n        return 1e9 + ewma_ms\n"
                f"    return {_PEAK}\n"
            ),
        },
    ),
    Attack(
        "a long way to the same answer",
        "score",
        "time",
        "import math\ndef score(inflight, ewma_ms, noise):\n    t = noise\n    for i in range(150):\n"
        f"        t = t + math.log1p(abs(t))\n    return {_PEAK} + 0.0 * t\n",
        "budget",
    ),
)

#: Within the language, and knowing how it is looked at. The hook asks for an orderly policy.
_ADAPTIVE = (
    Attack(
        "behave where rows look generated",
        "score",
        "tell the gates from the service",
        "def score(inflight, ewma_ms, since_picked):\n"
        "    recorded = inflight < 40.0 and ewma_ms > 0.0 and ewma_ms % 1.0 != 0.0\n"
        "    return -inflight if recorded and since_picked < 5000.0 else inflight\n",
        "invariants",
        ("sampled replay",),
        "orderly",
    ),
    Attack(
        "behave where rows look recorded",
        "score",
        "tell the gates from the service",
        "def score(inflight, ewma_ms):\n    return inflight if ewma_ms % 1.0 != 0.0 else -inflight\n",
        "invariants",
        ("guard",),
        "orderly",
    ),
    Attack(
        "misbehave now and then",
        "score",
        "stay below what is looked at",
        "def score(inflight, noise):\n    return -inflight if noise < 0.35 else inflight\n",
        "invariants",
        ("guard",),
        "orderly",
    ),
    Attack(
        "learn the first part by heart",
        "score",
        "overfit to what was searched on",
        "def score(inflight, ewma_ms, since_picked, noise):\n"
        "    return (inflight + 1.0) * ewma_ms if since_picked < 3.0 else noise - since_picked\n",
        "full replay",
        ("holdout",),
    ),
    Attack(
        "smuggle state through since_picked",
        "score",
        "memory between calls",
        "def score(inflight, since_picked):\n"
        "    return -1e9 if since_picked % 2.0 == 1.0 else inflight\n",
        "full replay",
        ("holdout",),
    ),
)

GATES: tuple[Attack, ...] = (*_FAULTS, *_FUEL, *_DAMAGE, *_ADAPTIVE)
