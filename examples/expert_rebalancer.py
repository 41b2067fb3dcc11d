"""Four ranks that hold 16 experts in 20 slots: after every window rank 0 decides for all which slot holds which."""

import multiprocessing
import os
import random
import signal
import socket
import sys
import time

import gnomon
from gnomon.policies.expert_placement import expert_placement, static_row
from gnomon.sdk.counts import pack_counts
from gnomon.sdk.programs.sockets import SocketGroup

RANKS, EXPERTS, SLOTS, TASK = 4, 16, 20, 40  # a task lasts 40 windows
WINDOW_S = float(os.environ.get("WINDOW_S", "0.15"))


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
    signal.signal(signal.SIGINT, (lambda *_: running.clear()) if rank == 0 else signal.SIG_IGN)
    if rank == 0:  # the others end with it
        signal.signal(signal.SIGTERM, lambda *_: running.clear())
    made, before = [static_row(EXPERTS, SLOTS, 1, 1)], b""
    if rank == 0:
        slots = {"replicas": SLOTS, "groups": 1, "nodes": 1, "ranks": RANKS, "delay": 0}
        rebalance.event("deployment", **slots, policy="static", placement="")
    for window in range(int(sys.argv[1]) if len(sys.argv) > 1 else sys.maxsize):
        time.sleep(WINDOW_S)  # the model runs; what its router picked is summed over ranks:
        rng = random.Random(window // TASK)
        load = [int(1e6 * rng.random() ** 3) + 99 * (window % TASK) for _ in range(EXPERTS)]
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
    new = multiprocessing.get_context("spawn").Process
    for rank, (_, far) in enumerate(pairs, 1):
        new(target=serve, args=(rank, [far]), daemon=True).start()
    serve(0, [near for near, _ in pairs])
