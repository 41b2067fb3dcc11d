"""``gnomon invariants`` and the Python calls: list, check, suggest, confirm, load."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import gnomon
from gnomon import testing
from gnomon.cli import app
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import TrustError
from gnomon.sdk.hook import hook
from gnomon.sdk.records import Decision

from ..isolation.systems import recorded
from ..programs.loads import trace as loads
from .worlds import INFLIGHT, among, picks

LAW = among(lambda rows: rows[:, INFLIGHT] <= 2 * rows[:, INFLIGHT].min())
HOOK = "w.pick"


def decisions(n: int = 400) -> list[Decision]:
    """Return decisions by a law, the last 20 of them by a shipped policy that breaks it once."""
    drawn, made = picks(LAW, n=n), []
    for index in range(n):
        low, high = int(drawn.edge[index]), int(drawn.edge[index + 1])
        shipped, action = index >= n - 20, int(drawn.picked[index]) - low
        if index == n - 1:
            action = int(drawn.items[low:high, INFLIGHT].argmax())
        detail = "violation:near" if index == n - 5 else ""
        made.append(
            Decision(
                index, 1_700_000_000_000_000_000 + index * 10**6, 900, "", "stable",
                "fallback" if detail else "static", detail, "beef" * 16 if shipped else "incumbent",
                0, -1, action, high - low, tuple(drawn.items[low:high].ravel().tolist()), 1.0,
                "violation" if detail else "sampled", 0, 0,
            )
        )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("law") / "traces"
    sink = StoreSink(TraceStore(folder), "router")
    by = SimpleNamespace(process_id="00c0ffee00c0ffee", name=HOOK, kind=load_balancer)
    sink.write(by, list(decisions()))
    sink.close()
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GNOMON_ACTOR", "ada")
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["invariants", *map(str, words)])


def test_from_a_trace_to_a_service(store: Path, here: Path) -> None:
    """Suggest, look, confirm with a ledger, list, check, load beside the hook: a wrong policy is overruled."""
    made = run("suggest", "--traces", store, "--out", "rules.json")
    assert made.exit_code == 0 and "inflight_near_least" in made.stdout
    stored = json.loads(Path("rules.json").read_text())
    assert {each["confirmed"] for each in stored["suggestions"]} == {None}
    assert run("suggest", "--traces", store, "--out", "rules.json").exit_code == 2

    done = run("confirm", "rules.json", "inflight_near_least", "--ledger", "ledger.db", "--json")
    first = json.loads(done.stdout)["suggestions"][0]
    assert (first["name"], first["confirmed"]["by"]) == ("inflight_near_least", "ada")
    (entry,) = Ledger(here / "ledger.db").list(kind="invariant.confirmed")
    assert (entry.actor, entry.subject) == ("ada", first["confirmed"]["digest"])
    assert entry.body["says"] == first["says"] and entry.body["hook"] == HOOK

    rows = {
        row["name"]: row
        for row in json.loads(
            run("list", "--kind", "load_balancer", "--invariants", "rules.json", "--json").stdout
        )["rows"]
    }
    assert rows["inflight_near_least"]["source"].startswith("ada, 20")
    assert "every answer" in rows["inflight_near_least"]["asked"]
    assert rows["conservation"]["source"] == "kind"
    assert rows["since_picked_of_all_within"]["asked"] == ""

    pick = service(HOOK)
    added = gnomon.load_invariants(pick, "rules.json", ledger="ledger.db")
    assert [each.name for each in added] == ["inflight_near_least"]
    with testing.recording() as seen:
        testing.force(pick, "def score(inflight):\n    return -inflight\n")
        assert pick([backend(1), backend(2)]).inflight == 2
        assert pick([backend(1), backend(3)]).inflight == 1
        assert [each.detail for each in seen.decisions] == ["", "violation:inflight_near_least"]
    with pytest.raises(gnomon.ConfigurationError, match="already has an invariant"):
        gnomon.load_invariants(pick, "rules.json")


def backend(inflight: float) -> Any:
    return SimpleNamespace(inflight=inflight, ewma_ms=1.0, weight=1.0)


def service(name: str) -> Any:
    @hook(
        name,
        kind=load_balancer,
        items="backends",
        item_features=lambda b: (b.inflight, b.ewma_ms, b.weight),
    )
    def pick(backends: list[Any]) -> Any:
        return backends[0]

    return pick


def test_a_check_tells_policies_apart_and_shows_what_broke(store: Path, here: Path) -> None:
    gnomon.suggest_invariants(store, "rules.json")
    gnomon.confirm_invariants("rules.json", ["inflight_near_least"], by="bob")
    found = gnomon.check_invariants(store, invariants="rules.json")
    rows = {(row.invariant, row.policy[:4]): row for row in found.rows}
    clean, dirty = (rows["inflight_near_least", by] for by in ("incu", "beef"))
    assert (clean.decisions, clean.broken, clean.source) == (380, 0, "hook")
    assert clean.upper == pytest.approx(1.0 - 0.05 ** (1.0 / 380))
    assert (dirty.decisions, dirty.broken) == (19, 1)  # the fallback is no sampled decision
    assert rows["no_pile_up", "incu"].severity == "warn"
    (case,) = [each for each in found.violations if each["invariant"] == "inflight_near_least"]
    inflight = [row[0] for row in case["items"]]
    assert inflight[case["action"]] == max(inflight) > 2 * min(inflight)
    assert len(case["place"]) == 32 and case["policy"].startswith("beef")
    done = run("check", "--traces", store, "--invariants", "rules.json", "--show", "1")
    assert done.exit_code == 1 and f"inflight_near_least at {case['place']}" in done.stdout
    done = run("check", "--traces", store, "--invariants", "rules.json", "--ledger", "ledger.db")
    assert done.exit_code == 1
    (entry,) = Ledger(here / "ledger.db").list(kind="invariant.checked")
    assert (entry.actor, entry.subject, entry.body["decisions"]) == ("ada", found.trace, 399)
    assert [(f["invariant"], f["broken"]) for f in entry.body["failed"]] == [
        ("inflight_near_least", 1)
    ]
    assert entry.body["passed"] == ["no_pile_up"]
    gnomon.confirm_invariants("rules.json", ["inflight_near_least"], severity="warn")
    assert run("check", "--traces", store, "--invariants", "rules.json").exit_code == 0


def test_what_was_refused_when_it_was_recorded_is_counted(store: Path, here: Path) -> None:
    module = here / "refused_service.py"
    module.write_text(
        "import gnomon\n"
        f'@gnomon.hook("{HOOK}", kind=gnomon.load_balancer, items="backends",\n'
        "             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))\n"
        "def pick(backends):\n    return backends[0]\n"
        'gnomon.invariant(pick, name="near")(lambda items, picked: True)\n'
        'gnomon.invariant(pick, name="raises")(lambda items, picked: 1 / 0)\n'
    )
    command = [sys.executable, "-m", "gnomon", "invariants", "check", "--traces", str(store)]
    ended = subprocess.run(
        [*command, "--hook", "refused_service:pick", "--json"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    rows = json.loads(ended.stdout)["rows"]
    by_name = {row["invariant"]: row for row in rows if row["policy"] == "incumbent"}
    assert (by_name["near"]["refused"], by_name["near"]["broken"]) == (1, 0)
    assert by_name["raises"]["broken"] == by_name["raises"]["decisions"] == 380


def test_the_incumbent_s_decisions_of_a_replay(here: Path) -> None:
    recorded(20.0, seed=1).save(here / "t.npz")
    found = gnomon.check_invariants("t.npz", incumbent="baseline:least_outstanding")
    assert (found.whose, found.decisions > 500) == ("baseline:least_outstanding", True)
    assert [row.broken for row in found.rows] == [0]
    made = gnomon.suggest_invariants("t.npz", incumbent="baseline:least_outstanding")
    assert made.file.rules[0].name == "inflight_among_lowest_1" and made.path is None
    built_in = gnomon.suggest_invariants("t.npz", incumbent="baseline:round_robin")
    assert "since_picked" in built_in.file.rules[0].name
    assert gnomon.check_invariants("t.npz").whose == "recorded"


def test_a_candidate_that_breaks_what_was_confirmed_is_refused(here: Path) -> None:
    recorded(40.0, seed=1).save(here / "t.npz")
    given = {"incumbent": "baseline:least_outstanding"}
    gnomon.suggest_invariants("t.npz", "rules.json", **given)
    gnomon.confirm_invariants("rules.json", ["inflight_among_lowest_1"])
    Path("random.py").write_text("def score(noise):\n    return noise\n")
    verdict = gnomon.verify(Path("random.py"), "t.npz", invariants="rules.json", **given)
    assert (verdict.decision, verdict.reason) == ("refused", "invariants")
    case = verdict.gates[-1].evidence["counterexample"]
    assert case["invariant"] == "inflight_among_lowest_1"
    inflight = [row[0] for row in case["items"]]
    assert inflight[case["action"]] > min(inflight)


def test_programs_answers_are_looked_at_in_a_replay(here: Path) -> None:
    made = loads(100)
    made.save(here / "moe.npz")
    found = gnomon.check_invariants("moe.npz", incumbent="baseline:eplb")
    assert {row.invariant: row.broken for row in found.rows if row.severity == "block"} == {
        "full_shape": 0, "in_range": 0, "every_expert_served": 0, "groups_on_node": 0,
    }  # fmt: skip
    assert found.decisions == len(made)
    suggested = gnomon.suggest_invariants("moe.npz", incumbent="baseline:eplb")
    shapes = {each.rule.SHAPE for each in suggested.file.rules}
    assert shapes & {"covers", "occurs_with", "changed_at_most"}, suggested
    assert "placement" in str(suggested)


def test_a_policy_whose_decisions_nobody_sees_is_refused(here: Path) -> None:
    from ..shadow.accesses import lookups

    lookups([each % 20 for each in range(400)], 8).save(here / "c.npz")
    done = run("check", "--traces", "c.npz", "--incumbent", "baseline:lru")
    assert done.exit_code == 2 and "cannot be seen; name a policy" in done.stderr
    found = gnomon.suggest_invariants("c.npz", incumbent="baseline:sampled_lru")
    assert found.file.rules[0].rule.says() == "No item has more recency than the picked one."
    assert run("check", "--traces", "c.npz", "--incumbent", "baseline:sampled_lru").exit_code == 0


def test_a_service_loads_them_without_what_only_shadow_needs(store: Path, here: Path) -> None:
    gnomon.suggest_invariants(store, "rules.json")
    gnomon.confirm_invariants("rules.json", ["inflight_near_least"], ledger="ledger.db")
    code = (
        "import sys, gnomon\n"
        f'@gnomon.hook("{HOOK}", kind=gnomon.load_balancer, items="b", item_features=lambda x: x)\n'
        "def pick(b): return b[0]\n"
        'assert gnomon.load_invariants(pick, "rules.json", ledger="ledger.db")\n'
        'print(sorted({"numpy", "pyarrow", "numba", "grpc", "rich"} & sys.modules.keys()))\n'
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False
    )
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")


def test_a_ledger_that_does_not_know_a_confirmation_is_believed(store: Path, here: Path) -> None:
    gnomon.suggest_invariants(store, "rules.json")
    gnomon.confirm_invariants("rules.json", ["inflight_near_least"])
    Ledger(here / "ledger.db").append("verdict", "x", "y", {})
    with pytest.raises(TrustError, match="knows no confirmation of 'inflight_near_least'"):
        gnomon.load_invariants(service("w.other"), "rules.json", ledger="ledger.db")
    with pytest.raises(gnomon.ConfigurationError, match="does not exist"):
        gnomon.load_invariants(service("w.third"), "rules.json", ledger="none.db")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "name either a hook"),
        (["list", "--kind", "load_balancer", "--hook", "a:b"], "name either a hook"),
        (["list", "--kind", "nothing"], "unknown kind 'nothing'"),
        (["list", "--hook", "nowhere:pick"], "cannot import 'nowhere:pick'"),
        (["list", "--kind", "cache", "--invariants", "no.json"], "cannot be read"),
        (["check", "--traces", "nowhere"], "no trace store at"),
        (["suggest", "--traces", "nowhere", "--out", "x.json"], "no trace store at"),
        (["confirm", "no.json", "a"], "cannot be read"),
    ],
)
def test_bad_input_is_said_in_one_line(words: list[str], said: str, here: Path) -> None:
    done = run(*words)
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_a_severity_and_a_name_must_be_known(store: Path, here: Path) -> None:
    gnomon.suggest_invariants(store, "rules.json")
    before = Path("rules.json").read_bytes()
    done = run("confirm", "rules.json", "inflight_near_least", "--severity", "loud")
    assert done.exit_code == 2 and "severity='loud': use 'block' or 'warn'" in done.stderr
    done = run("confirm", "rules.json", "near", "--ledger", "ledger.db")
    assert done.exit_code == 2 and "there is no suggestion 'near'" in done.stderr
    assert Path("rules.json").read_bytes() == before
    assert Ledger(here / "ledger.db").list() == []


def test_results_are_values(store: Path) -> None:
    found = gnomon.suggest_invariants(store)
    assert dataclasses.is_dataclass(found) and json.dumps(found.as_json(), allow_nan=False)
    checked = gnomon.check_invariants(store)
    assert json.loads(json.dumps(checked.as_json()))["broken"] is False
    assert "400" not in repr(found) or "tested" in repr(found)
    assert "<table>" in gnomon.list_invariants(kind="cache")._repr_html_()
