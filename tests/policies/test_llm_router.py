"""The contract of the LLM router: baselines do what their names say, invariants hold and break, it is light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.llm_router import llm_router, no_pile_up
from gnomon.sdk.language import check, chooser

Row = tuple[float, ...]

row = st.tuples(
    st.integers(0, 5000), st.integers(0, 12), st.integers(0, 90), st.integers(0, 200),
    st.integers(0, 20), st.just(20), st.integers(1, 4000), st.integers(1, 50),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
KEYS: dict[str, Callable[[Row], float]] = {
    "random": lambda r: r[8],
    "round_robin": lambda r: -r[7],
    "least_outstanding": lambda r: r[1],
    "least_queued_tokens": lambda r: r[0],
    "longest_prefix": lambda r: r[1] / 1000.0 - r[4],
    "prefix_within_load": lambda r: r[1] if r[1] > 8 else r[1] / 1000.0 - r[4] / r[5],
    "overlap_cost": lambda r: (r[0] + r[6]) / 512.0 + r[2],
    "least_ttft": lambda r: r[0] + r[6],
}


@pytest.mark.parametrize("name", sorted(KEYS))
@given(rows=st.lists(row, min_size=1, max_size=6))
def test_baselines_do_what_their_names_say(name: str, rows: list[Row]) -> None:
    source = llm_router.baselines[name].source
    assert source is not None
    pick = chooser(check(source, llm_router.input_names), llm_router)
    expected = min(range(len(rows)), key=lambda j: (KEYS[name](rows[j]), rows[j][8], j))
    assert pick([tuple(float(value) for value in each) for each in rows]) == expected


def test_every_baseline_but_the_built_in_one_is_tested_above() -> None:
    assert {*KEYS} == {n for n, each in llm_router.baselines.items() if each.source}


def test_a_pile_up_is_noticed() -> None:
    make = llm_router.item_type
    idle, full = make(0, 0, 0, 0, 0, 1, 1, 1, 0.5), make(0, 65, 0, 0, 0, 1, 1, 1, 0.5)
    assert no_pile_up([idle, full], idle)
    assert not no_pile_up([idle, full], full)
    assert no_pile_up([full, full], full)


def test_the_kind_is_light() -> None:
    code = (
        "import sys; from gnomon.policies.registry import kind; kind('llm_router'); "
        "print([m for m in ('numpy', 'numba', 'pyarrow', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
