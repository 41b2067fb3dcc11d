"""The ``llm_router`` kind: which replica of a language model serves a request, so that its first token comes soonest.

A replica keeps the prompt blocks that it has seen (its prefix cache), so a request is cheapest where the
longest leading run of its blocks lies, unless too many others went there too.

The simulator that answers for this kind is ``shadow/simulators/llm_router/simulator.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..sdk.invariant import Invariant
from ..sdk.kind import Baseline, Feature, Guardrail, Kind, Metric, WorkloadEvent
from .load_balancer import no_starvation

#: A pick is a pile-up when it has more than this many times the fewest outstanding requests, plus 16.
PILE_UP, PILE_UP_FROM = 4.0, 16.0
#: Relative error, or seconds, within which sums of times agree.
SUMS = 1e-6
#: Thresholds of SGLang's cache-aware policy: share of a prompt that must match, difference and ratio of
#: loads from which replicas count as out of balance.
MATCH, ABSOLUTE, RELATIVE = 0.3, 64.0, 1.5
_MOST = 2.0**53

QUEUED_TOKENS = Feature(
    "queued_tokens", "{token}", "Prompt tokens that the replica has still to prefill, of all its requests.",
    0.0, _MOST,
)  # fmt: skip
OUTSTANDING = Feature(
    "outstanding", "{request}", "Requests that the replica has and has not finished.",
    0.0, 1e6, integer=True,
)  # fmt: skip
ACTIVE_BLOCKS = Feature(
    "active_blocks", "{block}", "Prompt blocks of those requests.", 0.0, _MOST, integer=True
)
CACHED_BLOCKS = Feature(
    "cached_blocks", "{block}", "Blocks in the replica's prefix cache.", 0.0, _MOST, integer=True
)
HIT_BLOCKS = Feature(
    "hit_blocks", "{block}", "Leading blocks of this request that the replica's prefix cache holds.",
    0.0, _MOST, integer=True,
)  # fmt: skip
BLOCKS = Feature(
    "blocks", "{block}", "Prompt blocks of this request; the same for every replica.",
    0.0, _MOST, integer=True,
)  # fmt: skip
NEW_TOKENS = Feature(
    "new_tokens", "{token}", "Prompt tokens of this request that the replica would have to prefill.",
    1.0, _MOST,
)  # fmt: skip


def no_pile_up(items: Sequence[Any], picked: Any) -> bool:
    """Return whether the picked replica is not far behind the least loaded one."""
    fewest = min(item.outstanding for item in items)
    return bool(picked.outstanding <= PILE_UP * (fewest + PILE_UP_FROM))


def conservation(summary: Any) -> bool:
    """Return whether every request got its first token once, from work that was really done.

    No more of a prompt was taken from a cache than had been sent before, requests were prefilled in
    order and as soon as the replica could, and times in the system add up (Little's law).
    """
    completed = (
        summary.completions == summary.decisions
        and sum(summary.picks) == summary.decisions
        and summary.lowest_outcome >= 0.0
    )
    exact = (summary.excess_hits, summary.late_starts, summary.most_over_slots) == (0, 0, 0)
    present, sojourn = summary.present_s, summary.sojourn_s
    return bool(completed and exact and math.isclose(present, sojourn, rel_tol=SUMS, abs_tol=SUMS))


def _baselines(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


RANDOM = Baseline("random", "def score(noise):\n    return noise\n", "uniform choice")
ROUND_ROBIN = Baseline(
    "round_robin",
    "def score(since_picked):\n    return -since_picked\n",
    "the replica that waited longest; the default of NVIDIA Dynamo's frontend",
)
LEAST_OUTSTANDING = Baseline(
    "least_outstanding",
    "def score(outstanding):\n    return outstanding\n",
    "join the shortest queue, blind to prefixes",
)
LEAST_QUEUED_TOKENS = Baseline(
    "least_queued_tokens",
    "def score(queued_tokens):\n    return queued_tokens\n",
    "join the queue with the fewest tokens, blind to prefixes; `token_jsq` of splitwise-sim",
)
LONGEST_PREFIX = Baseline(
    "longest_prefix",
    "def score(hit_blocks, outstanding):\n    return outstanding / 1000.0 - hit_blocks\n",
    "the most leading blocks, ties to the fewest outstanding: affinity alone, which piles up",
)
PREFIX_WITHIN_LOAD = Baseline(
    "prefix_within_load",
    "def score(hit_blocks, blocks, outstanding):\n    if outstanding > 8.0:\n"
    "        return outstanding\n    return outstanding / 1000.0 - hit_blocks / max(blocks, 1.0)\n",
    "longest prefix among replicas with at most 8 outstanding, else the shortest queue; SGLang's "
    "cache-aware rule in score form, without its comparison between replicas",
)
OVERLAP_COST = Baseline(
    "overlap_cost",
    "def score(queued_tokens, new_tokens, active_blocks):\n"
    "    return (queued_tokens + new_tokens) / 512.0 + active_blocks\n",
    "blocks to prefill, weighted by 1, plus blocks in use; NVIDIA Dynamo's KV router at its defaults",
)
LEAST_TTFT = Baseline(
    "least_ttft",
    "def score(queued_tokens, new_tokens):\n    return queued_tokens + new_tokens\n",
    "the lowest estimate of the time to first token, queue and own prefill with the cached prefix taken "
    "off; Mooncake's cache-aware prefill scheduling, FAST 2025, without transfers between replicas",
)
CACHE_AWARE = Baseline(
    "cache_aware",
    None,
    "SGLang's router: the shortest queue when loads are out of balance (by 64 and by half), else the "
    "longest match from 0.3 of the prompt on, else the smallest cache",
)

llm_router = Kind(
    name="llm_router",
    version=1,
    description="Picks the replica of a language model for a request.",
    features=(
        QUEUED_TOKENS,
        OUTSTANDING,
        ACTIVE_BLOCKS,
        CACHED_BLOCKS,
        HIT_BLOCKS,
        BLOCKS,
        NEW_TOKENS,
    ),
    order="lowest",
    objective=Metric("ttft_ms", "ms", 30_000.0, "From the decision until the first token."),
    metrics=(Metric("e2e_ms", "ms", 600_000.0, "From the decision until the last token."),),
    guardrails=(
        Guardrail("failures", "ttft_ms", "failure_rate", 0.005),
        Guardrail("tail", "ttft_ms", "p99", 0.10, relative=True),
    ),
    workload=(
        WorkloadEvent(
            "request",
            "event",
            ("input_length", "output_length", "hash_ids"),
            "Tokens of the prompt and of the answer; the prompt's blocks as a text of hashes, in which "
            "`17+3` stands for 17, 18 and 19 and a comma parts two. Equal hashes mean equal prefixes.",
        ),
        WorkloadEvent(
            "replicas",
            "event",
            (
                "count",
                "block_tokens",
                "cache_blocks",
                "slots",
                "prefill_tokens_per_s",
                "decode_ms",
            ),
            "How many replicas there are, tokens of a block, blocks of a replica's prefix cache, requests "
            "that it runs at once, its speed of prefill, and its time per token of an answer.",
        ),
    ),
    invariants=(
        Invariant(
            "no_pile_up",
            no_pile_up,
            severity="warn",
            description="The pick has at most 4 (fewest outstanding + 16) outstanding requests.",
        ),
        Invariant(
            "conservation",
            conservation,
            scope="replay",
            description="Every request gets its first token once, hits no block that was not sent before, is "
            "prefilled in order as soon as its replica can, and times in the system add up.",
        ),
        Invariant(
            "no_starvation",
            no_starvation,
            scope="replay",
            severity="warn",  # prefixes that lie together may leave a replica without work for good reason
            description="No replica goes unpicked for more than 500 decisions per replica, or nine tenths "
            "of a shorter replay.",
        ),
    ),
    baselines=_baselines(
        RANDOM,
        ROUND_ROBIN,
        LEAST_OUTSTANDING,
        LEAST_QUEUED_TOKENS,
        LONGEST_PREFIX,
        PREFIX_WITHIN_LOAD,
        OVERLAP_COST,
        LEAST_TTFT,
        CACHE_AWARE,
    ),
    arms="switchback",
    outcome_deadline_s=60.0,
    has_bound=True,
)
