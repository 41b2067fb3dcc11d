"""The file of suggestions: read back as written, hostile bytes refused, and only what was confirmed counts."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TrustError
from gnomon.sdk.rules.file import (
    Suggestion,
    Suggestions,
    Support,
    parse_suggestions,
    read_suggestions,
)
from gnomon.sdk.rules.score import ItemsWithin, NearLeast, Prefers
from gnomon.sdk.runtime import RUNTIME

from .rules import program_rules, score_rules

WHEN = "2026-11-27T20:00:00Z"
SUPPORT = Support(100, 50, 0, 0.05, 0.4)
FILE = Suggestions(
    "router.pick",
    "load_balancer",
    load_balancer.version,
    "ab" * 32,
    "recorded",
    (
        Suggestion("near", NearLeast("inflight", 2.0, 4.0), SUPPORT),
        Suggestion("waits", Prefers("since_picked", "at_least", 90.0), SUPPORT),
        Suggestion("seen", ItemsWithin("ewma_ms", 0.0, 80.0), SUPPORT),
    ),
)


def invariants(file: Suggestions) -> list[tuple[str, str]]:
    made = file.invariants(load_balancer, "router.pick")
    return [(each.name, each.severity) for each in made]


def test_nothing_counts_before_somebody_confirms_it() -> None:
    assert invariants(FILE) == []
    file = FILE.confirm(["near"], "ada", WHEN)
    assert invariants(file) == [("near", "block")]
    file = file.confirm(["waits", "seen"], "bob", WHEN, "warn").confirm(["seen"], "bob", WHEN)
    assert invariants(file) == [("near", "block"), ("waits", "warn"), ("seen", "warn")]
    (near, *_) = file.invariants(load_balancer, "router.pick")
    assert near.description == file.rules[0].rule.says() and near.scope == "decision"
    row = load_balancer.item_type
    light, heavy = row(0.0, 1.0, 1.0, 1.0, 0.1), row(9.0, 1.0, 1.0, 1.0, 0.1)
    assert near.holds([light, heavy], light) and not near.holds([light, heavy], heavy)


def files() -> st.SearchStrategy[Suggestions]:
    rules = st.lists(st.one_of(score_rules(), program_rules()), max_size=5)
    support = st.builds(Support, *[st.integers(0, 10**6)] * 3, st.floats(0, 1), st.floats(0, 1))

    def made(drawn: list[Any], each: Support, hook: str) -> Suggestions:
        named = tuple(Suggestion(f"rule_{i}", rule, each) for i, rule in enumerate(drawn))
        return dataclasses.replace(FILE, hook=hook, rules=named)

    return st.builds(made, rules, support, st.text(max_size=20))


@given(files(), st.sampled_from(["block", "warn"]), st.integers(0, 5))
def test_a_file_is_read_back_as_it_was_written(
    file: Suggestions, severity: Any, count: int
) -> None:
    names = [each.name for each in file.rules][:count]
    written = file.confirm(names, "ada", WHEN, severity) if names else file
    assert parse_suggestions(written.to_bytes()) == written


@given(st.data())
def test_no_change_of_a_file_makes_an_invariant_that_nobody_confirmed(data: st.DataObject) -> None:
    """Whatever single value is changed, what counts afterwards is a part of what was confirmed."""
    file = FILE.confirm(["near", "seen"], "ada", WHEN)
    body = json.loads(file.to_bytes())
    places = [place for place in _places(body) if place]
    place = data.draw(st.sampled_from(places))
    value = st.one_of(
        st.none(), st.booleans(), st.integers(-3, 100), st.floats(0, 9), st.text(max_size=4),
        st.sampled_from(["block", "warn", "inflight", "at_most", "load_balancer", WHEN]),
        st.sampled_from([copy.deepcopy(_at(body, other)) for other in places]),
    )  # fmt: skip
    _set(body, place, data.draw(value))
    before = {
        (i.name, i.severity, i.description) for i in file.invariants(load_balancer, "router.pick")
    }
    try:
        made = parse_suggestions(json.dumps(body).encode()).invariants(load_balancer, "router.pick")
    except (gnomon.ConfigurationError, TrustError) as error:
        assert 0 < len(str(error)) < 3_000
        return
    assert {(i.name, i.severity, i.description) for i in made} <= before


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: Any = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    below = (place for key, each in inner for place in _places(each, (*path, key)))
    return [path, *below]


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _set(value: Any, path: tuple[Any, ...], new: Any) -> None:
    _at(value, path[:-1])[path[-1]] = new


def test_a_rule_that_was_changed_after_its_confirmation_is_refused() -> None:
    body = json.loads(FILE.confirm(["near"], "ada", WHEN).to_bytes())
    body["suggestions"][0]["rule"]["factor"] = 9.0
    with pytest.raises(TrustError, match="sentence of suggestion 'near'"):
        parse_suggestions(json.dumps(body).encode())
    body["suggestions"][0]["says"] = NearLeast("inflight", 9.0, 4.0).says()
    with pytest.raises(TrustError, match="'near' was changed after 'ada' confirmed it; confirm it"):
        parse_suggestions(json.dumps(body).encode())


def test_a_confirmation_is_of_one_rule_of_one_hook() -> None:
    body = json.loads(FILE.confirm(["near"], "ada", WHEN).to_bytes())
    moved = json.loads(FILE.to_bytes())
    moved["suggestions"][1]["confirmed"] = body["suggestions"][0]["confirmed"]
    with pytest.raises(TrustError, match="'waits' was changed"):
        parse_suggestions(json.dumps(moved).encode())
    body["hook"] = "other.pick"
    with pytest.raises(TrustError, match="'near' was changed"):
        parse_suggestions(json.dumps(body).encode())


@given(st.binary(max_size=200))
def test_bytes_that_are_no_file_are_refused(data: bytes) -> None:
    with pytest.raises((gnomon.ConfigurationError, TrustError)):
        parse_suggestions(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b.update(format="gnomon.invariants/2"), "of format 'gnomon.invariants/2'"),
        (lambda b: b.update(more=1), "this one has"),
        (lambda b: b.update(kind_version="1"), "kind_version of a file of invariants is '1'"),
        (lambda b: b.update(suggestions={}), "suggestions of a file"),
        (lambda b: b.update(suggestions=b["suggestions"] * 400), "are more than 1000"),
        (
            lambda b: b["suggestions"].append(b["suggestions"][0]),
            "two suggestions are named 'near'",
        ),
        (lambda b: b["suggestions"][0].update(name="../x"), "a suggestion's name is '../x'"),
        (lambda b: b["suggestions"][0]["support"].update(upper="0"), "upper of a file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(change: Any, said: str) -> None:
    body = json.loads(FILE.to_bytes())
    change(body)
    with pytest.raises((gnomon.ConfigurationError, TrustError), match=said):
        parse_suggestions(json.dumps(body).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"format": "x", "format": "y"}',
        FILE.to_bytes().replace(b"0.4", b"NaN"),
        FILE.to_bytes().replace(b"0.4", b"1e999"),
        b" " * 2_000_001,
        b"\xff\xfe",
    ],
)
def test_hostile_bytes_end_in_a_refusal(data: bytes) -> None:
    with pytest.raises(gnomon.ConfigurationError):
        parse_suggestions(data)


def test_only_those_who_exist_confirm_what_is_there() -> None:
    with pytest.raises(gnomon.ConfigurationError, match="no suggestion 'nearr'; there are near"):
        FILE.confirm(["nearr"], "ada", WHEN)
    for by, when in (("", WHEN), ("ada", "yesterday"), ("x" * 300, WHEN)):
        with pytest.raises(gnomon.ConfigurationError, match="says not who and when"):
            FILE.confirm(["near"], by, when)


def test_a_file_is_for_one_hook_of_one_version_of_a_kind() -> None:
    file = FILE.confirm(["near"], "ada", WHEN)
    with pytest.raises(gnomon.ConfigurationError, match=r"not for 'b\.pick' of load_balancer"):
        file.invariants(load_balancer, "b.pick")
    newer = dataclasses.replace(load_balancer, version=load_balancer.version + 1)
    with pytest.raises(gnomon.ConfigurationError, match="are for hook 'router.pick'"):
        file.invariants(newer, "router.pick")
    strange = Suggestion("odd", NearLeast("load", 2.0, 0.0), SUPPORT)
    with pytest.raises(gnomon.ConfigurationError, match="rule 'odd' means nothing"):
        dataclasses.replace(FILE, rules=(strange,)).invariants(load_balancer, "router.pick")


def test_a_file_is_named_in_what_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    with pytest.raises(gnomon.ConfigurationError, match="cannot be read"):
        read_suggestions(path)
    FILE.save(path)
    assert read_suggestions(path) == FILE
    path.write_bytes(b"{}")
    with pytest.raises(gnomon.ConfigurationError, match=r"rules\.json: a file of invariants has"):
        read_suggestions(path)


@pytest.mark.timeout(20)
def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rules.json")
    with pytest.raises(gnomon.ConfigurationError, match="no regular file"):
        read_suggestions(tmp_path / "rules.json")


@pytest.mark.parametrize("code", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_file_is_one_text_for_every_reader(code: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match="no file of invariants"):
        parse_suggestions(FILE.to_bytes().decode().encode(code))


def test_confirmations_at_one_time_are_all_kept(tmp_path: Path) -> None:
    """Each reads the whole file and writes it whole: without a lock the last one takes the others back."""
    names = [f"near_{n}" for n in range(8)]
    rules = tuple(dataclasses.replace(FILE.rules[0], name=name) for name in names)
    path = tmp_path / "rules.json"
    dataclasses.replace(FILE, rules=rules).save(path)
    with ThreadPoolExecutor(len(names)) as pool:
        [*pool.map(lambda name: gnomon.confirm_invariants(path, [name], by=name), names)]
    found = read_suggestions(path)
    assert [each.confirmed and each.confirmed.by for each in found.rules] == names
    assert [*tmp_path.iterdir()] == [path]


def test_a_file_is_loaded_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that goes on after the error must not be held to a part of it."""
    monkeypatch.setattr(RUNTIME, "hooks", {})  # other tests have a hook of this name

    @gnomon.hook(
        "router.pick",
        kind=load_balancer,
        items="backends",
        item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
    )
    def pick(backends: list[Any]) -> Any:
        return backends[0]

    gnomon.invariant(pick, name="waits")(lambda items, picked: True)
    before = pick.hook.invariants
    FILE.confirm(["near", "waits"], "ada", WHEN).save(tmp_path / "rules.json")
    with pytest.raises(gnomon.ConfigurationError, match="already has an invariant 'waits'"):
        gnomon.load_invariants(pick, tmp_path / "rules.json")
    assert pick.hook.invariants == before
