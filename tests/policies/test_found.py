"""Policies that a search found: what ships says where it comes from, and is named by ``found:NAME``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnomon.policies import found as shelf
from gnomon.policies.listing import Known, known_policies, known_policy
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.registry import kind, kinds
from gnomon.sdk.errors import ConfigurationError

SOURCE = "def score(inflight):\n    return inflight + 0.5\n"
#: What is known of every found policy.
PROVENANCE = {
    "kind", "version", "found_by", "start", "strategy", "proposer", "budget", "seed", "data",
    "validation", "holdout", "verdict", "edited_by_hand", "date",
}  # fmt: skip


@pytest.fixture
def lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which one policy was found for load balancers; the policy's file."""
    path = tmp_path / "load_balancer" / "lean.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    path.with_suffix(".json").write_text(json.dumps({"found_by": "gnomon evolve", "seed": 3}))
    monkeypatch.setattr(shelf, "ROOT", tmp_path)
    return path


def test_a_found_policy_has_a_source_and_where_it_comes_from(lean: Path) -> None:
    (one,) = shelf.found(load_balancer)
    assert (one.kind, one.name, one.path, one.source) == ("load_balancer", "lean", lean, SOURCE)
    assert one.provenance == {"found_by": "gnomon evolve", "seed": 3}
    assert shelf.found(kind("cache")) == ()


def test_a_name_is_its_file_and_a_path_stays_one(lean: Path) -> None:
    assert shelf.found_at("found:lean", load_balancer) == lean
    assert shelf.found_at("some/policy.py", load_balancer) == Path("some/policy.py")


@pytest.mark.parametrize(
    "name", ["", "fat", "../load_balancer/lean", "LEAN", "lean.py", "/etc/hosts"]
)
def test_a_name_that_nobody_found_is_refused_with_those_there_are(lean: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="for kind 'load_balancer'; there are: lean"):
        shelf.found_at(f"found:{name}", load_balancer)
    with pytest.raises(ConfigurationError, match="for kind 'cache'; there are: none"):
        shelf.found_at("found:lean", kind("cache"))


def test_found_policies_are_listed_after_published_ones(lean: Path) -> None:
    listed = known_policies("load_balancer")
    assert [each.name for each in listed[:-1]] == [f"baseline:{n}" for n in load_balancer.baselines]
    assert listed[-1].as_json() == {
        "kind": "load_balancer", "name": "found:lean", "source": SOURCE, "reference": "gnomon evolve",
        "provenance": {"found_by": "gnomon evolve", "seed": 3},
    }  # fmt: skip
    assert {each.kind for each in known_policies()} >= {"load_balancer", "cache", "scheduler"}


@pytest.mark.parametrize("name", ["found:lean", "lean"])
def test_a_policy_is_known_by_either_name(lean: Path, name: str) -> None:
    assert known_policy("load_balancer", name).source == SOURCE
    assert known_policy("load_balancer", "peak_ewma").name == "baseline:peak_ewma"
    with pytest.raises(ConfigurationError, match="no policy 'best'; it has baseline:random, "):
        known_policy("load_balancer", "best")
    with pytest.raises(ConfigurationError, match="unknown kind 'loadbalancer'"):
        known_policies("loadbalancer")


SHIPPED: list[Known] = [each for each in known_policies() if each.provenance is not None]


def test_whatever_lies_on_the_shelf_is_of_a_kind() -> None:
    files = {path.parent.name for path in shelf.ROOT.glob("*/*.*") if path.parent.name[0] != "_"}
    assert files <= {*kinds()}
    assert len({each.name for each in SHIPPED}) == len(SHIPPED)


@pytest.mark.parametrize("policy", SHIPPED, ids=lambda each: f"{each.kind} {each.name}")
def test_what_ships_is_a_policy_of_its_kind_with_its_provenance(policy: Known) -> None:
    of = kind(policy.kind)
    of.checked(policy.source or "")
    assert policy.provenance is not None
    assert policy.provenance.keys() >= PROVENANCE
    assert (policy.provenance["kind"], policy.provenance["version"]) == (of.name, of.version)
    assert policy.provenance["edited_by_hand"] is False
    assert {each["name"] for each in policy.provenance["data"]}
