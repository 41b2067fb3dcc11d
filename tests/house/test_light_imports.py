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


@pytest.mark.parametrize("code", ["import gnomon", USE], ids=["import", "a hook in use"])
def test_a_service_stays_light(code: str) -> None:
    code += "\nimport sys\nprint(*{m.partition('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())
