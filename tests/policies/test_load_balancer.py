"""The load_balancer kind: its contract, its published policies, its invariants."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer, no_pile_up
from gnomon.sdk.language import check, chooser
from gnomon.shadow.simulators import Replay

NAMES = load_balancer.input_names
SHIPPABLE = [name for name, each in load_balancer.baselines.items() if each.source]
features = st.tuples(
    st.integers(0, 50).map(float),
    st.floats(0, 5000),
    st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    st.integers(1, 100).map(float),
    st.floats(0, 1),
)
tables = st.lists(features, min_size=1, max_size=6)


def pick(name: str, rows: Sequence[Sequence[float]]) -> int:
    source = load_balancer.baselines[name].source
    assert source is not None
    return chooser(check(source, NAMES), load_balancer)(rows)


def test_inputs_end_with_those_of_the_host() -> None:
    assert NAMES == ("inflight", "ewma_ms", "weight", "since_picked", "noise")


@pytest.mark.parametrize("name", SHIPPABLE)
@given(rows=tables)
def test_every_baseline_in_score_form_picks_an_item(
    name: str, rows: list[tuple[float, ...]]
) -> None:
    assert 0 <= pick(name, rows) < len(rows)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("round_robin", lambda row: -row[3]),
        ("weighted_round_robin", lambda row: -row[3] * row[2]),
        ("least_outstanding", lambda row: row[0]),
        ("weighted_least_outstanding", lambda row: (row[0] + 1) / row[2]),
        ("least_ewma", lambda row: row[1]),
        ("peak_ewma", lambda row: (row[0] + 1) * row[1]),
    ],
)
@given(rows=tables)
def test_baselines_do_what_their_names_say(name: str, key, rows: list[tuple[float, ...]]) -> None:
    expected = min(range(len(rows)), key=lambda j: (key(rows[j]), rows[j][4], j))
    assert pick(name, rows) == expected


def test_weighted_random_picks_in_proportion_to_the_weights() -> None:
    rng = np.random.default_rng(0)
    counts = Counter(
        pick("weighted_random", [(0.0, 1.0, weight, 1.0, rng.random()) for weight in (3.0, 1.0)])
        for _ in range(4000)
    )
    assert 0.72 < counts[0] / 4000 < 0.78


def test_a_pile_up_is_noticed() -> None:
    item = load_balancer.item_type
    idle, full = item(0, 1.0, 1.0, 1, 0.5), item(17, 1.0, 1.0, 1, 0.5)
    assert no_pile_up([idle, full], idle)
    assert not no_pile_up([idle, full], full)
    assert no_pile_up([full, full], full)


def replayed(action: list[int], outcome: list[float]) -> Replay:
    n = len(action)
    return Replay(np.arange(n) * 1.0, np.array(outcome), np.ones(n, bool), np.array(action), 2)


def holds(name: str, replay: Replay) -> bool:
    (invariant,) = [each for each in load_balancer.invariants if each.name == name]
    assert invariant.scope == "replay"
    return invariant.holds(replay.summary())


def test_conservation_wants_one_outcome_per_arrival_and_none_from_the_past() -> None:
    assert holds("conservation", replayed([0, 1], [3.0, 4.0]))
    assert not holds("conservation", replayed([0, 1], [3.0, np.nan]))
    assert not holds("conservation", replayed([0, 1], [3.0, -0.1]))


@pytest.mark.parametrize(("run", "fair"), [(1000, True), (1001, False)])
def test_starvation_is_a_member_left_unpicked_for_too_long(run: int, fair: bool) -> None:
    before = [0, 1] * 500
    action = [*before, *[0] * run, 1]
    assert holds("no_starvation", replayed(action, [1.0] * len(action))) is fair
    ending = [*before, *[0] * run]
    assert holds("no_starvation", replayed(ending, [1.0] * len(ending))) is fair


@pytest.mark.parametrize(
    ("decisions", "unpicked", "fair"), [(799, 799, True), (1000, 900, True), (1000, 901, False)]
)
def test_in_a_short_replay_starvation_is_nearly_all_of_it(
    decisions: int, unpicked: int, fair: bool
) -> None:
    action = [*[1] * (decisions - unpicked), *[0] * unpicked]
    assert holds("no_starvation", replayed(action, [1.0] * decisions)) is fair


def test_the_kind_is_light() -> None:
    code = (
        "import sys; from gnomon.policies.registry import kind; kind('load_balancer'); "
        "print([m for m in ('numpy', 'numba', 'pyarrow', 'grpc') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
