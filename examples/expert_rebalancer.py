"""Four ranks that hold 16 experts in 20 slots: after every window rank 0 decides for all which slot holds which."""

import os
import random
import signal
import socket
import sys
import time
from multiprocessing import get_context

import gnomon
from gnomon.policies.expert_placement import expert_placement, static_row
from gnomon.sdk.counts import pack_counts
from gnomon.sdk.programs.sockets import SocketGroup

RANKS, EXPERTS, SLOTS, TASK = 4, 16, 20, 40  # windows a task, which asks most of experts 5 to 9


def serve(rank: int, peers: list[socket.socket]) -> None:
    @gnomon.hook(
        "moe.rebalance",
        kind=expert_placement,
        item_features=lambda q: (1, q.num_replicas, q.num_ranks, sum(map(sum, q.weight))),
        group=SocketGroup(rank, RANKS, peers),
    )
    def rebalance(weight, num_replicas, num_groups, num_nodes, num_ranks, current):  # type: ignore[no-untyped-def]
        return [static_row(EXPERTS, SLOTS, 1, 1)]

    gnomon.configure(cell="moe")  # from OTEL_EXPORTER_OTLP_ENDPOINT and GNOMON_*
    running = [True]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if rank == 0:  # the others end with it
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: running.clear())
        slots = {"replicas": SLOTS, "groups": 1, "nodes": 1, "ranks": RANKS, "delay": 0}
        rebalance.event("deployment", **slots, policy="static", placement="")
    made, before = [static_row(EXPERTS, SLOTS, 1, 1)], b""
    for window in range(int(sys.argv[1]) if len(sys.argv) > 1 else sys.maxsize):
        time.sleep(float(os.environ.get("WINDOW_S", "0.15")))  # the model runs
        rng = random.Random(window // TASK)
        load = [int(rng.uniform(1e6, 2e6)) * (1, 4, 1, 1)[e // 5] + window for e in range(EXPERTS)]
        if rank == 0:
            share = [load[expert] / made[0].count(expert) for expert in made[0]]
            ranks = [sum(share[at : at + SLOTS // RANKS]) for at in range(0, SLOTS, SLOTS // RANKS)]
            rebalance.outcome(before, imbalance=max(ranks) * RANKS / sum(ranks))
            rebalance.event("load", layers=1, experts=EXPERTS, counts=pack_counts([load]))
        if not running:
            break
        with rebalance.decide([load], SLOTS, 1, 1, RANKS, made) as decision:
            made, before = decision.action, decision.id  # now the slots are filled anew
    gnomon.shutdown(5.0)
    print(rank, {name: rebalance.hook.counters[name] for name in ("decisions", "fallbacks")})


if __name__ == "__main__":
    pairs = [socket.socketpair() for _ in range(1, RANKS)]
    for rank, (_, far) in enumerate(pairs, 1):
        get_context("spawn").Process(target=serve, args=(rank, [far]), daemon=True).start()
    serve(0, [near for near, _ in pairs])
