"""What the service's side may pull in."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"grpc", "numpy", "pyarrow", "torch", "litellm", "sqlalchemy", "numba", "typer", "rich"}

USE = """
import sys
import gnomon
@gnomon.hook("x", kind=gnomon.load_balancer, items="items",
             item_features=lambda i: (i[0], i[1], i[2]))
def pick(items):
    return items[0]
assert pick([(0, 1.0, 1.0), (1, 1.0, 1.0)]) == (0, 1.0, 1.0)
"""

#: A hook of program form, recorded and answered by a program in its own process.
PROGRAM = """
import gnomon
from gnomon import testing
from gnomon.policies import eplb_hosts
from gnomon.policies.expert_placement import load_event
@gnomon.hook("x", kind=gnomon.expert_placement,
             item_features=lambda q: (1, q.num_replicas, q.num_ranks, sum(map(sum, q.weight))))
def place(weight, num_replicas, num_groups, num_nodes, num_ranks, current):
    return [[1, 0]]
with testing.recording() as recorded:
    place.event("load", **load_event([[3, 1]]))
    assert place([[3, 1]], 2, 1, 1, 2, [[0, 1]]) == [[1, 0]]
    testing.force(place, "static")
    assert eplb_hosts.replicas_of(place([[3, 1]], 2, 1, 1, 2, [[0, 1]]), 2)[1] == [[1, 1]]
assert [made.detail for made in recorded.decisions] == ["", ""], recorded.decisions
"""

#: Contracts of all kinds, and a cache in use.
KINDS = """
import gnomon
from gnomon.policies import registry
for name in registry.kinds():
    assert registry.kind(name).baselines
cache = gnomon.PolicyCache(10, name="x")
cache["a"] = 1
assert cache["a"] == 1
"""


@pytest.mark.parametrize(
    "code",
    ["import gnomon", USE, PROGRAM, KINDS],
    ids=["import", "a hook in use", "a program in use", "every kind"],
)
def test_a_service_stays_light(code: str) -> None:
    code += "\nimport sys\nprint(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())
