"""Features are counted into a profile's bins: what is sampled, fairly, and by one policy at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from math import isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import TrustError
from gnomon.sdk.profile import EVERY, MOST_FEATURES, FeatureCounter, Takers, check_profile
from gnomon.sdk.records import Decision
from gnomon.v1 import policy_pb2

NAMES = ("load", "size", "since_picked", "noise")
LOAD = policy_pb2.FeatureProfile(name="load", edges=[1.0, 2.0, 4.0], shares=[0.25] * 4)
SIZE = policy_pb2.FeatureProfile(name="size", edges=[10.0], shares=[0.5, 0.5])
PROFILE = policy_pb2.Profile(features=[LOAD, SIZE], decisions=100)


def decision(
    seq: int, items: int = 1, load: float = 1.5, inclusion: str = "sampled", epoch: int = 3
) -> Decision:
    rows = [value for item in range(items) for value in (load + item, 10.0, 1.0, 0.5)]
    return Decision(
        seq, seq, 1, "", "stable", "static", "", "p", epoch, -1, 0, items, tuple(rows), 1.0,
        inclusion, 0, 0,
    )  # fmt: skip


def counter(digest: str = "a", profile: policy_pb2.Profile | None = PROFILE) -> FeatureCounter:
    made = FeatureCounter(NAMES)
    made.follow(digest, profile, 3)
    return made


def counts(found: FeatureCounter) -> dict[str, list[int]]:
    return {each.name: list(each.counts) for each in found.counts()}


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=200))
def test_every_counted_value_falls_into_the_bin_whose_upper_edge_it_does_not_exceed(
    loads: list[float],
) -> None:
    found, one = counter(), counter()
    for seq, load in enumerate(loads):
        before = sum(counts(found)["size"])
        found.add(decision(seq, load=load))
        if sum(counts(found)["size"]) == before or isnan(load):
            continue
        one = counter()
        one.add(decision(seq, load=load))
        assert counts(one)["load"].index(1) == bisect_left([1.0, 2.0, 4.0], load)


def test_a_fixed_share_is_counted_and_every_item_alike() -> None:
    found, n = counter(), 80_000
    for seq in range(n):
        found.add(decision(seq, items=4, load=0.5))  # loads 0.5, 1.5, 2.5, 3.5
    load = counts(found)["load"]
    assert sum(load) == pytest.approx(n / EVERY, rel=0.02)
    quarter = sum(load) / 4
    assert load == [pytest.approx(quarter, rel=0.1), pytest.approx(quarter, rel=0.1),
                    pytest.approx(2 * quarter, rel=0.1), 0]  # fmt: skip


def test_patterns_of_calls_do_not_hide_from_the_count() -> None:
    for period in (2, 3, 4, 8, 16, 64):
        seen = Counter[int]()
        for phase in range(period):
            found = counter()
            for seq in range(phase, 20_000, period):
                found.add(decision(seq))
            seen[phase] = sum(counts(found)["load"])
        assert min(seen.values()) > 0.7 * 20_000 / period / EVERY


def test_only_sampled_decisions_of_this_policy_with_whole_features_count() -> None:
    found = counter()
    for seq in range(1_000):
        found.add(decision(seq, inclusion="violation"))
        found.add(decision(seq, epoch=2))
        found.add(decision(seq)._replace(features=(1.0,)))
        found.add(decision(seq)._replace(n_items=0, features=()))
    assert counts(found) == {"load": [0] * 4, "size": [0] * 2}


def test_another_policy_begins_anew_and_the_same_one_goes_on() -> None:
    found = counter()
    for seq in range(100):
        found.add(decision(seq))
    before = counts(found)
    assert sum(before["load"])
    found.follow("a", PROFILE, 9)
    assert counts(found) == before
    found.follow("b", PROFILE, 10)
    assert sum(counts(found)["load"]) == 0
    found.follow("incumbent", None, 11)
    found.add(decision(0, epoch=11))
    assert counts(found) == {}


def test_features_that_are_not_of_this_kind_are_left_alone() -> None:
    other = policy_pb2.FeatureProfile(name="weight", edges=[1.0], shares=[0.5, 0.5])
    found = counter(profile=policy_pb2.Profile(features=[other, LOAD]))
    found.add(decision(0))
    assert list(counts(found)) == ["load"]


@pytest.mark.parametrize(
    ("feature", "why"),
    [
        ({"edges": [1.0], "shares": [1.0]}, "2 to 64 bins"),
        ({"edges": list(range(64)), "shares": [1 / 65] * 65}, "2 to 64 bins"),
        ({"edges": [2.0, 1.0], "shares": [0.5, 0.25, 0.25]}, "ascend"),
        ({"edges": [1.0, 1.0], "shares": [0.5, 0.25, 0.25]}, "ascend"),
        ({"edges": [float("nan")], "shares": [0.5, 0.5]}, "finite"),
        ({"edges": [1.0], "shares": [0.5, 0.6]}, "add up to 1.1"),
        ({"edges": [1.0], "shares": [-0.5, 1.5]}, "add up"),
        ({"edges": [1.0], "shares": [float("nan"), 1.0]}, "add up"),
    ],
)
def test_a_profile_that_nothing_can_be_counted_by_is_refused(
    feature: dict[str, list[float]], why: str
) -> None:
    bad = policy_pb2.FeatureProfile(name="load", **feature)
    with pytest.raises(TrustError, match=f"'load'.*{why}"):
        check_profile(policy_pb2.Profile(features=[bad]))


def test_too_many_features_and_one_twice_are_refused() -> None:
    with pytest.raises(TrustError, match="twice"):
        check_profile(policy_pb2.Profile(features=[LOAD, LOAD]))
    with pytest.raises(TrustError, match=f"at most {MOST_FEATURES}"):
        check_profile(policy_pb2.Profile(features=[LOAD] * (MOST_FEATURES + 1)))


def test_takers_are_all_given_every_record() -> None:
    one, other = counter(), counter()
    takers = Takers((one, other))
    for seq in range(200):
        takers.add(decision(seq))
    assert counts(one) == counts(other)
    assert sum(counts(one)["load"])
