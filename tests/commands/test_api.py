"""The Python calls that the commands are thin over."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import gnomon
from gnomon import api
from gnomon.api.places import names_file
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.policies.rollout.shipping import Ramp
from gnomon.sdk.bundle import build_bundle, bundle_digest, save_bundle
from gnomon.sdk.dsse import BUNDLE_TYPE, sign
from gnomon.sdk.keys import generate
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check
from gnomon.sdk.runtime import RUNTIME
from gnomon.shadow.gates.verdict import Verdict
from gnomon.shadow.policy import FunctionPolicy, RecordedPolicy, ScorePolicy
from gnomon.shadow.search.driver import Options
from gnomon.shadow.search.records import Budget
from gnomon.shadow.traces.trace import load_trace

from .conftest import HOOK, Folder, serving

PEAK = load_balancer.baselines["peak_ewma"].source or ""
SERVICE = """
import gnomon

@gnomon.hook("router.pick", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def pick(request, backends):
    return backends[0]

@gnomon.invariant(pick)
def never_the_first(items, picked):
    \"\"\"Nobody may pick the first.\"\"\"
    return picked is not items[0]

@gnomon.hook("router.other", kind=gnomon.load_balancer, items="backends",
             item_features=lambda b: (b.inflight, b.ewma_ms, b.weight))
def other(request, backends):
    return backends[0]
"""


@pytest.fixture
def service(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the folder that marks two hooks."""
    name = f"service_{folder.path.name}".replace("-", "_")
    Path(f"{name}.py").write_text(SERVICE)
    monkeypatch.setattr(RUNTIME, "hooks", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


def bundle(path: Path, hook: str = HOOK, kind: Kind = load_balancer) -> str:
    """Write a bundle of a published policy; return its digest."""
    program = check(PEAK, kind.input_names)
    payload = build_bundle(program, hook, kind, "e" * 64, {})
    save_bundle(path, sign(BUNDLE_TYPE, payload, generate()))
    return bundle_digest(payload)


def test_the_public_names_are_these_calls_and_cost_nothing_to_have() -> None:
    for name in (
        "compare",
        "doctor",
        "evolve",
        "follow",
        "replay",
        "rollout",
        "ship",
        "traces",
        "verify",
    ):
        assert getattr(gnomon, name) is getattr(api, name)
        assert name in gnomon.__all__
    code = "import gnomon, sys; gnomon.ship; gnomon.SearchError; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "grpc", "pyarrow", "numba", "typer", "sqlalchemy"}
    assert not heavy & set(loaded.stdout.split())


def test_a_hook_by_its_function_gives_incumbent_and_invariants(service: str, store: Path) -> None:
    trace, target = api.opened(store, f"{service}:pick")
    assert (trace.hook, target.kind) == (HOOK, load_balancer)
    assert isinstance(target.incumbent, FunctionPolicy)
    names = [invariant.name for invariant in target.invariants]
    assert names == [*(i.name for i in load_balancer.invariants), "never_the_first"]
    with pytest.raises(gnomon.TraceError, match=r"no hook 'router\.other'"):
        api.opened(store, f"{service}:other")


def test_a_hook_by_its_name_is_what_was_recorded(folder: Folder, store: Path) -> None:
    _, target = api.opened(store)
    assert isinstance(target.incumbent, RecordedPolicy)
    assert target.invariants == tuple(load_balancer.invariants)
    Path("mine.py").write_text(PEAK)
    _, target = api.opened(store, HOOK, "mine.py")
    assert isinstance(target.incumbent, ScorePolicy)
    assert target.incumbent.source == PEAK


def test_a_saved_trace_is_of_its_own_hook_only(folder: Folder, store: Path) -> None:
    load_trace(store).save(Path("trace.npz"))
    assert api.opened("trace.npz", HOOK)[0].digest == load_trace(store).digest
    with pytest.raises(gnomon.TraceError, match="holds hook 'router.pick', not 'another'"):
        api.opened("trace.npz", "another")


def test_a_search_is_held_to_the_hooks_own_invariants(
    folder: Folder, service: str, store: Path
) -> None:
    words = ["evolve", "--traces", store, "--incumbent", "baseline:round_robin", "--budget", "3"]
    free = folder.json(*words, "--hook", HOOK, "--out", "free")
    assert "violation" not in free["counts"]
    held = folder.json(*words, "--hook", f"{service}:pick", "--out", "held", code=1)
    assert (
        held["counts"]["violation"] >= 3
    )  # whoever looks at the backends picks the first at times
    assert held["winner"] is None


def test_rivals_are_known_by_what_a_rollout_calls_them(folder: Folder, store: Path) -> None:
    digest = bundle(Path("stable.bundle"))
    Path("rival.py").write_text("def score(inflight):\n    return inflight\n")
    _, target = api.opened(store)
    source = Path("rival.py").read_text()
    found = api.rivals(["stable.bundle", Path("rival.py")], target)
    assert found == {digest: PEAK, api.source_digest(source): source}
    Path("policy.py").write_text(source)  # peak EWMA starves a backend in some replays
    words = ["--traces", store, "--incumbent", "baseline:round_robin"]
    words += ["--against", "stable.bundle", "--against", "rival.py"]
    verdict = folder.json("verify", "policy.py", *words)
    assert set(verdict["predicted"]) == {"incumbent", *found}
    assert (
        verdict["predicted"][api.source_digest(source)]["estimate"] == 0.0
    )  # it is the same policy


def test_the_command_says_what_the_call_returns(folder: Folder, store: Path) -> None:
    policies = ("baseline:random", "baseline:peak_ewma")
    table = gnomon.replay(store, policies, incumbent="baseline:round_robin", replicas=3, seed=5)
    options = [word for policy in policies for word in ("--policy", policy)]
    options += ["--incumbent", "baseline:round_robin", "--replicas", "3", "--seed", "5"]
    assert folder.json("replay", store, *options) == table.as_json()
    assert folder.json("replay", "--traces", store, *options) == table.as_json()
    assert "two stores" in folder.refused("replay", store, "--traces", "elsewhere")
    with pytest.raises(gnomon.ConfigurationError, match="at least 2"):
        gnomon.replay(store, replicas=1)


def test_traces_are_what_the_command_prints(folder: Folder, store: Path) -> None:
    found = gnomon.traces(store)
    for words in (("traces", store), ("traces", "--traces", store), ("traces", "show", store)):
        assert folder.json(*words) == found.as_json()
    assert "gnomon traces [STORE]" in folder.run("traces", "--help").stdout.replace("\n", " ")
    assert [hook.hook for hook in found.hooks] == [HOOK] and not found.damaged
    assert HOOK in str(found) and "<table>" in found._repr_html_()
    assert "stored after their decision" in str(found)
    with pytest.raises(gnomon.TraceError, match="no hook 'nope'"):
        gnomon.traces(store, "nope")


def test_once_around_in_a_notebook(
    folder: Folder, store: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNOMON_ACTOR", "ann")
    options = Options(budget=Budget(8), seed=3)
    found = gnomon.evolve(store, "run", incumbent="baseline:round_robin", options=options)
    assert (found.folder, found.improved) == (Path("run"), True)
    best = Path("run/best.py")
    assert found.winner is not None and best.read_text() == found.winner.source

    verdict = gnomon.verify(best, store, incumbent="baseline:round_robin")
    assert (verdict.decision, verdict.source) == ("accepted", found.winner.source)
    assert verdict.path is not None and verdict.path.read_bytes() == verdict.to_bytes()
    led = [
        (each["kind"], each["actor"]) for each in folder.json("audit", "explain", verdict.digest)
    ]
    assert led == [("holdout.opened", "ann"), ("verdict", "ann")]

    words = ["serve", "--listen", "127.0.0.1:0", "--rollout-key", keys / "rollout.pem"]
    words += ["--publisher-key", keys / "publisher.pub"]
    with serving(*words, ready=folder.path / "ready") as (_, address):
        ramp = Ramp(block_s=2.0)
        key = keys / "publisher.pem"
        shipped = gnomon.ship(verdict, address, publisher_key=key, ramp=ramp)
        assert (shipped.control_plane, shipped.weights) == (address, ramp.weights)
        assert (shipped.verdict, shipped.rollout.state) == (verdict.digest, "SHADOW")
        assert gnomon.rollout(control_plane=address).as_json() == folder.json(
            "rollout", "status", shipped.id, "--control-plane", address
        )
        signed = folder.json("audit", "explain", shipped.id, "--control-plane", address)[0]["body"]
        assert set(signed["plan_signed_by"].values()) == {"publisher.pub"}
        back = gnomon.rollout(shipped.id, address, order="abort", reason="enough", actor="me")
        last = back.transitions[-1]
        assert (back.state, last.actor, last.order) == ("ABORTED", "me", "abort")
        seen: list[str] = []
        ended = gnomon.follow(shipped.id, address, lambda now: seen.append(now.state))
        assert (ended.state, seen) == ("ABORTED", ["ABORTED"])
        with pytest.raises(gnomon.RolloutError):
            gnomon.rollout(shipped.id, address, order="resume")


def test_a_verdict_that_lies_nowhere_cannot_be_shipped(folder: Folder, keys: Path) -> None:
    Ledger(Path("ledger.db")).close()
    unsaved = cast(Verdict, SimpleNamespace(path=None))
    with pytest.raises(gnomon.ConfigurationError, match="was not saved"):
        gnomon.ship(unsaved, publisher_key=keys / "publisher.pem", ledger="ledger.db")


def test_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNOMON_ACTOR", "pipeline")
    assert api.acting() == "pipeline"
    monkeypatch.delenv("GNOMON_ACTOR")

    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert api.acting().startswith("uid ")


def test_a_text_that_names_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "best").write_text(PEAK)
    assert names_file(str(tmp_path / "best")) and names_file("missing.py")
    assert not names_file(PEAK) and not names_file("x" * 5000)
    with pytest.raises(gnomon.GnomonError, match=r"cannot read policy .*missing\.py"):
        gnomon.verify(str(tmp_path / "missing.py"), tmp_path)
