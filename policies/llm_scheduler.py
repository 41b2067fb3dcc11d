"""The ``llm_scheduler`` kind: which waiting request a continuous-batching LLM server admits next.

The simulator that answers for this kind is ``shadow/simulators/llm_scheduler/simulator.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..sdk.invariant import Invariant
from ..sdk.kind import Baseline, Feature, Guardrail, Kind, Metric, WorkloadEvent
from .scheduler import LONGEST_MS, PRIORITY, QUEUED, ROUNDING, SLACK, STARVED, littles_law

MOST_TOKENS = 10_000_000.0

WAIT = Feature("wait_ms", "ms", "Since the request arrived.", 0.0, LONGEST_MS)
PROMPT = Feature(
    "prompt_tokens", "{token}", "Tokens of its prompt.", 1.0, MOST_TOKENS, integer=True
)
OUTPUT = Feature(
    "output_tokens",
    "{token}",
    "Tokens of its answer as predicted; the same for all where nobody predicts.",
    1.0,
    MOST_TOKENS,
)
KV_FREE = Feature("kv_free", "1", "Free part of the KV memory.", 0.0, 1.0)


def conservation(summary: Any) -> bool:
    """Return whether every request was answered, in the order of arrival, admission, first and last token."""
    return bool(summary.completions == summary.requests and summary.in_order)


def within_limits(summary: Any) -> bool:
    """Return whether no step had more tokens or requests than the engine takes, or more KV than there is."""
    return bool(
        summary.most_tokens <= summary.token_limit
        and summary.most_running <= summary.seat_limit
        and summary.fewest_free_blocks >= 0
    )


def no_token_lost(summary: Any) -> bool:
    """Return whether exactly the tokens that were asked for were made, and all memory was given back."""
    return bool(
        summary.tokens_made == summary.tokens_asked and summary.blocks_left == summary.block_limit
    )


def work_conservation(summary: Any) -> bool:
    """Return whether the engine worked whenever there was a request, but for rounding."""
    return bool(abs(summary.busy_s - summary.occupied_s) <= ROUNDING * max(summary.occupied_s, 1.0))


def no_starvation(summary: Any) -> bool:
    """Return whether no request was overtaken by more than ``STARVED`` times as many as ever waited at once.

    In order of arrival it waits for those who wait before it, and is overtaken by nobody.
    """
    return bool(summary.most_overtaken <= STARVED * max(summary.most_waiting, 1))


def _baselines(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


FCFS = Baseline(
    "fcfs",
    "def score(wait_ms):\n    return -wait_ms\n",
    "first come, first served; the default of vLLM and SGLang",
)
SHORTEST_OUTPUT = Baseline(
    "shortest_output",
    "def score(output_tokens):\n    return output_tokens\n",
    "shortest predicted answer first; Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024",
)
SHORTEST_PROMPT = Baseline(
    "shortest_prompt",
    "def score(prompt_tokens):\n    return prompt_tokens\n",
    "shortest prompt first: the work until the first token",
)
SHORTEST_JOB = Baseline(
    "shortest_job",
    "def score(prompt_tokens, output_tokens):\n    return prompt_tokens + 8.0 * output_tokens\n",
    "shortest job first, a token of the answer as dear as eight of the prompt",
)
EDF = Baseline(
    "edf",
    "def score(slack_ms):\n    return slack_ms\n",
    "earliest deadline first; Liu and Layland, JACM 20 (1), 1973",
)
PRIORITY_FIRST = Baseline(
    "priority",
    "def score(priority, wait_ms):\n    return -priority * 1e9 - wait_ms\n",
    "highest priority first, in order of arrival within one; vLLM's `--scheduling-policy priority`",
)
AGING = Baseline(
    "aging",
    "def score(output_tokens, wait_ms):\n    return output_tokens - 0.01 * wait_ms\n",
    "shortest predicted answer first, where every 100 ms of wait take a token off",
)

llm_scheduler = Kind(
    name="llm_scheduler",
    version=1,
    description="Picks the waiting request that a continuous-batching LLM server admits next.",
    features=(WAIT, PROMPT, OUTPUT, PRIORITY, SLACK, QUEUED, KV_FREE),
    order="lowest",
    objective=Metric(
        "latency_ms", "ms", 600_000.0, "From the request's arrival until its last token."
    ),
    metrics=(
        Metric("ttft_ms", "ms", 600_000.0, "From the request's arrival until its first token."),
        Metric("tpot_ms", "ms", 60_000.0, "Per token of the answer after the first."),
        Metric("queue_ms", "ms", 600_000.0, "From the request's arrival until it is admitted."),
        Metric("answered_tokens", "{token}", MOST_TOKENS, "Tokens of the answer."),
    ),
    guardrails=(
        Guardrail("failures", "latency_ms", "failure_rate", 0.005),
        Guardrail("tail", "latency_ms", "p99", 0.10, relative=True),
    ),
    workload=(
        WorkloadEvent("admission", "decision", description="The engine has room for a request."),
        WorkloadEvent("answer", "outcome", description="Its last token came, or it failed."),
        WorkloadEvent(
            "engine",
            "event",
            (
                "max_num_batched_tokens",
                "max_num_seqs",
                "kv_blocks",
                "block_tokens",
                "steps_in_advance",
            ),
            "Settings, as vLLM names them; 0 where unknown. steps_in_advance: 2 with asynchronous scheduling, "
            "else 1.",
        ),
        WorkloadEvent(
            "arrival",
            "event",
            (
                "job",
                "prompt_tokens",
                "answered_tokens",
                "output_tokens",
                "priority",
                "deadline_ms",
            ),
            "A request of an import: its id, its tokens, those of its answer and how many were predicted, "
            "its weight, and from when on it is late (in ms after its arrival; 86,400,000 for never).",
        ),
        WorkloadEvent(
            "served",
            "event",
            ("job", "queue_ms", "ttft_ms", "latency_ms"),
            "What was measured of a request of an import; below 0 where it was not.",
        ),
    ),
    invariants=tuple(
        Invariant(holds.__name__, holds, scope="replay", description=text)
        for holds, text in (
            (conservation, "Every request is answered once, and not before it arrived."),
            (littles_law, "The requests in the system, over time, add up to the latencies."),
            (
                within_limits,
                "No step has more tokens, requests or KV memory than the engine takes.",
            ),
            (
                no_token_lost,
                "Exactly the tokens that were asked for are made; all memory comes back.",
            ),
            (work_conservation, "The engine works whenever there is a request."),
            (
                no_starvation,
                f"No request is overtaken by more than {STARVED:g} times as many as ever wait at once.",
            ),
        )
    ),
    baselines=_baselines(
        FCFS, SHORTEST_OUTPUT, SHORTEST_PROMPT, SHORTEST_JOB, EDF, PRIORITY_FIRST, AGING
    ),
    arms="switchback",
    outcome_deadline_s=600.0,
)
