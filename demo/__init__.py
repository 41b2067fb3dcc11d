"""The closed loop on live traffic, on one machine: ``gnomon demo``.

plan.py         sizes, durations and backends of a run
router.py       the service being tuned: a function marked as a hook, and an invariant beside it
router_null.py  the same for the null run
service.py      the rest of that service: HTTP, prefork workers
backend.py      an HTTP backend: a timer behind a concurrency limit
generator.py    open-loop load, latency from the intended send time
processes.py    start, watch and stop processes
stack.py        all processes of a run
loop.py         the stages in order
live.py         stages on live traffic; canary.py follows a rollout
offline.py      stages away from it; candidates.py shown beside the one that is searched for
traffic.py      reading the generator's log
run.py          state of a run, how it may end, its summary
screen.py       what is printed; pages.py the report
"""
