"""A small kind of program form, for tests: jobs to machines, the longest first or better."""

from __future__ import annotations

import random
import statistics
from typing import Any

from gnomon.sdk.invariant import Invariant
from gnomon.sdk.kind import Baseline, Feature, Kind, Metric, WorkloadEvent
from gnomon.sdk.language import HostOperation, Parameter, ProgramContract

LONGEST = '''
"""Longest processing time first."""

def decide(work, machines, machine):
    ends = zeros(machines)
    order = argsort(-1.0 * work)
    for k in range(len(order)):
        job = order[k]
        chosen = argmin(ends)
        machine[job] = chosen
        ends[chosen] += work[job]
'''
ROUND_ROBIN = """
def decide(work, machines, machine):
    for k in range(len(work)):
        machine[k] = k % machines
"""
#: Everything to the first machine.
LAZY = "def decide(machine):\n    machine[:] = 0.0\n"
#: To a machine that is not there.
BEYOND = "def decide(machines, machine):\n    machine[:] = machines\n"
#: Within the language, and for a kind with that much fuel it takes seconds.
SLOW = """
def decide(machine):
    x = 0.0
    for i in range(1500):
        for j in range(9000):
            x = math.sin(x) + 1.0
    machine[0] = x - x
"""
SLOW = "import math\n" + SLOW
FAULTY = "def decide(work, machine):\n    machine[0] = 1.0 / (work[0] - work[0])\n"


def questions(rng: random.Random) -> tuple[Any, ...]:
    """Draw a call: 1 to 40 jobs, 1 to 6 machines."""
    jobs = rng.randint(1, 40)
    return [rng.uniform(0.1, 10.0) for _ in range(jobs)], rng.randint(1, 6), [0] * jobs


def in_range(question: Any, answer: Any) -> bool:
    """Return whether every job has a machine that exists."""
    return all(0 <= machine < question.machines for machine in answer.machine)


def kind_of(name: str = "jobs", **changes: Any) -> Kind:
    """Return the kind, with changes."""
    contract = ProgramContract(
        parameters=(
            Parameter("work", "s", "Time that each job takes.", 0, 1e3, ("jobs",)),
            Parameter("machines", "{machine}", "How many there are.", 1, 8, integer=True),
            Parameter("machine", "1", "Of each job.", 0, 7, ("jobs",), True, True),
        ),
        dimensions={"jobs": (1, 200)},
        operations=changes.pop("operations", ()),
        max_fuel=changes.pop("max_fuel", 10_000_000),
    )
    given: dict[str, Any] = {
        "version": 1,
        "description": "Jobs to machines.",
        "features": (Feature("jobs", "{job}", "How many there are.", 1.0, 200.0, integer=True),),
        "objective": Metric("imbalance", "1", 10.0, "Longest over mean time of a machine."),
        "workload": (WorkloadEvent("load", "event", ("total",), "Work of a call."),),
        "invariants": (Invariant("in_range", in_range, description="Machines exist."),),
        "baselines": {
            "longest_first": Baseline("longest_first", LONGEST, "Graham 1969"),
            "round_robin": Baseline("round_robin", ROUND_ROBIN, "folklore"),
        },
        "outcome_deadline_s": 2.0,
        "program": contract,
        "questions": questions,
        "deadline_s": 3.0,
        "memory_mb": 64,
    }
    return Kind(name=name, **(given | changes))


jobs = kind_of()
#: With a host operation, which another process has to find.
SPREAD = HostOperation("spread", "Standard deviation of times.", (1,))
measured = kind_of("measured_jobs", operations=(SPREAD,), host={"spread": statistics.pstdev})
