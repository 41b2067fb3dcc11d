"""The closed loop on live traffic, on one machine: ``gnomon demo``.

plan.py        sizes, durations and backends of a run
backend.py     an HTTP backend: a timer behind a concurrency limit
router.py      the service being tuned: two prefork workers whose ``pick`` is a hook
generator.py   open-loop load, latency from the intended send time
processes.py   start, watch and stop the processes above
traffic.py     reading the generator's log
loop.py        the stages, in order
screen.py      what is printed
"""
