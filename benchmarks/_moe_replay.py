"""Placing experts: the published policies compiled, as programs in Python, and in a process of their own.

The deployment is that of the reported figures: 58 layers of 256 experts, 288 slots on 32 ranks, 8 groups
on 4 nodes; the load is gamma-distributed. Maps of all ways must be equal, or the comparison is refused.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import numpy as np
from results import Peer, Row

from gnomon.policies.expert_placement import expert_placement, static_row
from gnomon.sdk.language import check_program
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.expert_placement.simulator import published
from gnomon.shadow.traces.load_trace import LoadTrace

LAYERS, EXPERTS, SLOTS, RANKS = 58, 256, 288, 32
GROUPS, NODES = 8, 4
#: Best published time with groups kept (OpenEvolve and ShinkaEvolve on this task, one thread).
TARGET_MS = 1.7
#: DeepSeek's own, as vLLM runs it; measured beside ours where vLLM is installed.
_VLLM = "vllm.distributed.eplb.policy.default"


def question(seed: int, *, grouped: bool) -> tuple[Any, ...]:
    """Return the arguments of one call."""
    groups, nodes = (GROUPS, NODES) if grouped else (1, 1)
    weight = np.random.default_rng(seed).gamma(0.7, 100.0, (LAYERS, EXPERTS)).round()
    held = np.tile(static_row(EXPERTS, SLOTS, groups, nodes), (LAYERS, 1))
    return weight, SLOTS, groups, nodes, RANKS, held, np.full_like(held, -1)


def compiled_ms(name: str, asked: Sequence[Any], repeats: int) -> list[float]:
    """Return CPU milliseconds of the calling thread for one map, one per repeat."""
    published(name, *asked[:6])
    return [1e3 * _seconds(lambda: published(name, *asked[:6])) for _ in range(repeats)]


def program_ms(name: str, asked: Sequence[Any], repeats: int = 3) -> list[float]:
    """Return CPU milliseconds of the program form; raises ValueError where its map is another one."""
    source = expert_placement.baselines[name].source
    assert source is not None and expert_placement.program is not None
    decide = check_program(source, expert_placement.program).bind()
    if decide(*asked).outputs["placement"] != published(name, *asked[:6]).tolist():
        raise ValueError(f"the program and the compiled {name} differ; correct one of them")
    return [1e3 * _seconds(lambda: decide(*asked)) for _ in range(repeats)]


def process_ms(name: str, asked: Sequence[Any], repeats: int = 3) -> list[float] | None:
    """Return wall milliseconds of a map from a process of its own; None where isolation cannot be had."""
    from gnomon.sdk.errors import IsolationError

    try:
        program = importlib.import_module("gnomon.sdk.isolation.program")
        zygote = program.program_zygote(expert_placement, "strict")
    except (ImportError, IsolationError):
        return None
    source = expert_placement.baselines[name].source
    with zygote, program.ProgramProcess(zygote, source, expert_placement) as process:
        process.ask(asked)
        return [
            1e3 * _seconds(lambda: process.ask(asked), time.perf_counter) for _ in range(repeats)
        ]


def vllm_ms(asked: Sequence[Any], repeats: int = 3) -> Peer | None:
    """Return vLLM's default policy on the same call; None where it is not installed."""
    try:
        policy, torch = importlib.import_module(_VLLM), importlib.import_module("torch")
        about = version("vllm")
    except (ImportError, PackageNotFoundError):
        return None
    weight = torch.from_numpy(asked[0])
    call = lambda: policy.DefaultEplbPolicy.rebalance_experts(weight, *asked[1:5])
    call()
    return Peer("vLLM", about, statistics.median(1e3 * _seconds(call) for _ in range(repeats)))


def replay_rates(windows: int, repeats: int) -> list[float]:
    """Return windows replayed under EPLB per CPU second, compiled: placed, judged and compared."""
    weights = [question(seed, grouped=True)[0] for seed in range(windows)]
    held = question(0, grouped=True)[5]
    trace = LoadTrace(
        hook="bench.place", kind=expert_placement.name, start_ns=0, replicas=SLOTS, groups=GROUPS,
        nodes=NODES, ranks=RANKS, delay=0, policy="", first=1, at=np.arange(windows) * 1.0,
        index=np.arange(windows), counts=np.array(weights, np.int64),
        imbalance=np.full(windows, np.nan), placement=held,
    )  # fmt: skip
    simulator = simulator_for(expert_placement)
    calibration = simulator.calibrate(trace)
    call = lambda: simulator.replay_built_in("eplb", trace, calibration, 0)
    call()
    return [len(trace) / _seconds(call) for _ in range(repeats)]


def _seconds(call: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    begin = clock()
    call()
    return max(clock() - begin, 1e-9)


def _row(name: str, found: Sequence[float], **more: Any) -> Row:
    spread = (min(found), max(found))
    fields: dict[str, Any] = {"unit": "ms", "better": "lower", "target": None} | more
    return Row(name, statistics.median(found), spread=spread, **fields)


def rows(repeats: int = 20, windows: int = 100) -> list[Row]:
    """Return the figures: one map of each policy, in each way, and a replay.

    Args:
        repeats: of a compiled map.
        windows: of a replay.
    """
    kept, free = question(0, grouped=True), question(0, grouped=False)
    plain = program_ms("eplb", kept)
    peer = vllm_ms(kept) or Peer("program in Python", python_version(), statistics.median(plain))
    made = [
        _row(
            "expert placement, EPLB with groups kept, 58 x 256 in 288 slots",
            compiled_ms("eplb", kept, repeats),
            target=TARGET_MS,
            peer=peer,
        ),
        _row("the same, all ranks alike", compiled_ms("eplb", free, repeats)),
        _row("the same, zigzag", compiled_ms("snake", kept, repeats)),
        _row("the same, ranks kept", compiled_ms("eplb_sticky", kept, repeats)),
        _row("the same as a program, in Python", plain),
    ]
    apart = process_ms("eplb", kept)
    if apart is not None:
        made.append(
            _row(
                "the same as a program, in a process of its own",
                apart,
                note="wall time, question and answer handed over included",
            )
        )
    made.append(
        _row(
            "expert placement, windows replayed under EPLB",
            replay_rates(windows, 5),
            unit="windows/s",
            better="higher",
        )
    )
    return made
