"""Who decided at a moment, from real rollouts of a control plane: assignment, approval, evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gnomon import api
from gnomon.commands import _audit, audit
from gnomon.policies.rollout import who
from gnomon.policies.rollout.ledger import Ledger
from gnomon.recorder.rows import Source
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.sdk.records import Decision, Workload

HOOK = "router.pick"
SECOND = 1_000_000_000


def better(arm: str, block: int) -> float:
    return (40.0 if arm == "candidate" else 50.0) * (1.0 + 0.01 * (block % 5))


@pytest.fixture
def shipped(world: Any) -> Iterator[Any]:
    """A rollout that ran to its end, with the times at which it changed."""
    world.ship()
    world.times = {}
    for status in ("CANARY", "FULL", "STABLE"):
        world.times[world.status] = world.clock.now
        assert world.run(120, better, until=status) == status
    world.times["STABLE"] = world.clock.now
    world.run(3, better)
    yield world


def ran(world: Any, at_ns: int, **chosen: str) -> tuple[who.Ran, ...]:
    return who.processes(world.ledger.list(), HOOK, at_ns, **chosen)


def test_every_phase_is_found_at_its_time(shipped: Any) -> None:
    candidate = shipped.control.get().plan.candidate
    for status, phase, policies in (
        ("SHADOW", "shadow", ("incumbent", candidate)),
        ("CANARY", "canary", ("incumbent", candidate)),
        ("FULL", "full", ("incumbent", candidate)),
        ("STABLE", "stable", (candidate, "")),
    ):
        found = ran(shipped, shipped.times[status] + SECOND)
        assert [(each.instance, each.phase) for each in found] == [("aa", phase), ("bb", phase)]
        assert {(each.stable, each.candidate) for each in found} == {policies}
        assert all(each.notes == () for each in found)
        ordered = who.ordered(shipped.ledger.list(), HOOK, shipped.times[status] + SECOND)
        assert ordered is not None
        assert (ordered.state, ordered.stable, ordered.candidate) == (status, *policies)
    assert ran(shipped, shipped.times["SHADOW"] - 2 * SECOND) == ()
    assert who.ordered(shipped.ledger.list(), HOOK, shipped.times["SHADOW"] - SECOND) is None


def test_one_service_or_process_can_be_asked_for(shipped: Any) -> None:
    now = shipped.clock.now
    assert [each.instance for each in ran(shipped, now, instance="a")] == ["aa"]
    assert len(ran(shipped, now, service="router")) == 2
    assert ran(shipped, now, service="other") == ()


def test_a_candidate_without_its_stream_runs_up_to_its_lease(world: Any) -> None:
    world.ship()
    assert world.run(40, better, until="CANARY") == "CANARY"
    world.run(2, better)
    gone = world.clock.now
    world.control.gone("bb")
    world.processes.pop()
    world.run(40, better)
    (still,) = ran(world, gone + 5 * SECOND, instance="bb")
    assert still.phase == "canary"
    assert "its lease held up to 15 s" in still.notes[0]
    (ended,) = ran(world, gone + 16 * SECOND, instance="bb")
    assert (ended.phase, ended.stable, ended.candidate) == ("stable", "incumbent", "")
    assert "lease had ended" in ended.notes[0]
    (other,) = ran(world, gone + 5 * SECOND, instance="aa")
    assert other.notes == ()


def test_a_restart_and_a_stop_on_the_host_are_said(shipped: Any) -> None:
    shipped.processes[0].killed = "disk full"
    shipped.control.report("aa", shipped.processes[0].report())
    at_stop = shipped.clock.now
    (stopped,) = ran(shipped, at_stop, instance="aa")
    assert stopped.notes == ("policies were stopped on the host: disk full",)
    shipped.clock.pass_s(1.0)
    shipped.control.started()
    assert "began anew" in ran(shipped, shipped.clock.now, instance="bb")[0].notes[0]
    assert ran(shipped, at_stop, instance="bb")[0].notes == ()


def test_an_acknowledgement_of_a_superseded_epoch_is_looked_up(shipped: Any) -> None:
    entries = shipped.ledger.list()
    known = [
        replace(e, body={**e.body, "runs": None}) if e.kind == "delivery.acknowledged" else e
        for e in entries
    ]
    for status in ("SHADOW", "CANARY", "FULL", "STABLE"):
        at_ns = shipped.times[status] + SECOND
        for old, new in zip(
            who.processes(entries, HOOK, at_ns), who.processes(known, HOOK, at_ns), strict=True
        ):
            assert (new.phase, new.stable, new.candidate) == (old.phase, old.stable, old.candidate)


def test_who_approved_and_on_what(shipped: Any, tmp_path: Path) -> None:
    candidate = shipped.control.get().plan.candidate
    project = Ledger(tmp_path / "project.db", lambda: 1)
    body = {"decision": "accepted", "summary": "10 % better", "passed": ["invariants", "replay"]}
    project.append("verdict", "ann", "e" * 64, body)
    found = who.approval(shipped.ledger.list(), project.list(), candidate, shipped.clock.now)
    assert (found.shipped_by, found.signed_by, found.plan_signed_by) == (
        "ci",
        ("ci.pub",),
        ("ci.pub",),
    )
    assert (found.override, found.orders, found.state) == ("", (), "STABLE")
    assert found.verdict is not None
    assert (found.verdict["decision"], found.verdict["actor"]) == ("accepted", "ann")
    assert found.evidence["pairs"] >= 8
    assert found.evidence["effect"]["high"] < 0
    assert found.predicted["incumbent"]["estimate"] == -0.1
    assert found.calibration is not None
    assert found.calibration["calibration"] == "confirmed"
    early = who.approval(shipped.ledger.list(), [], candidate, shipped.times["CANARY"])
    assert (early.state, early.verdict) == ("CANARY", None)
    before = who.approval(shipped.ledger.list(), [], candidate, shipped.times["SHADOW"] - 1)
    assert before.rollout == ""


def test_orders_of_people_are_named(world: Any) -> None:
    rollout = world.ship()
    world.run(40, better, until="CANARY")
    world.control.act(rollout, "promote", "eve", "the boss wants it", "")
    world.clock.pass_s(1.0)
    world.control.act(rollout, "kill", "ann", "no", "")
    candidate = world.control.get().plan.candidate
    found = who.approval(world.ledger.list(), [], candidate, world.clock.now)
    assert found.orders[0].startswith("promote by eve, past the evidence: ")
    assert found.orders[1].startswith("kill by ann: ")
    ordered = who.ordered(world.ledger.list(), HOOK, world.clock.now)
    assert ordered is not None
    assert (ordered.stable, ordered.order) == ("incumbent", "kill")


app = typer.Typer()
audit.register(app)


def asked(world: Any, at_ns: int, *words: str) -> Any:
    ledger = str(world.folder / "ledger.db")
    at = f"{_audit.moment(at_ns)[:-1]}"
    return CliRunner().invoke(app, ["audit", "who", HOOK, "--at", at, "--ledger", ledger, *words])


def test_one_command_says_it_all(shipped: Any, tmp_path: Path) -> None:
    candidate = shipped.control.get().plan.candidate
    at_ns = shipped.times["CANARY"] + 4 * SECOND
    recorded(tmp_path / "traces", at_ns, candidate)
    project = ("--project-ledger", str(tmp_path / "none.db"))
    result = asked(shipped, at_ns, "--store", str(tmp_path / "traces"), *project)
    assert result.exit_code == 0, result.output
    for words in (
        candidate[:16],
        "canary",
        "signed by",
        "ci.pub",
        "in none of these ledgers",
        "75.0 %",
    ):
        assert words in result.stdout, words
    assert max(map(len, result.stdout.splitlines())) <= 120
    before = asked(shipped, shipped.times["SHADOW"] - 60 * SECOND, *project)
    assert before.exit_code == 1
    assert "its function decided" in before.stdout


def recorded(folder: Path, at_ns: int, policy: str) -> None:
    """Write four decisions around a moment, three of them the candidate's, and one an hour before."""
    made = [(at_ns + n * SECOND, policy if n else "incumbent") for n in range(4)]
    made.append((at_ns - 3600 * SECOND, "incumbent"))
    rows = [decision(seq, *each) for seq, each in enumerate(made)]
    TraceStore(folder).write_records(Source("aa" * 8, "router", HOOK, "load_balancer", 1), rows)


def decision(seq: int, time_ns: int, policy: str) -> Decision:
    arm = "incumbent" if policy == "incumbent" else "candidate"
    about = (seq, time_ns, -1, "", arm, "split", "", policy, 3, -1)
    return Decision(*about, 0, 1, (1.0,), 1.0, "sampled", 0, 0)


def test_decisions_are_counted_in_a_window_and_by_process(shipped: Any, tmp_path: Path) -> None:
    at_ns = shipped.times["CANARY"]
    recorded(tmp_path / "traces", at_ns, "c" * 64)
    ask = {"store": tmp_path / "traces", "project_ledger": tmp_path / "none.db"}
    found = api.who_decided(HOOK, at_ns, **ask)
    assert [(each.arm, each.count) for each in found.decided] == [
        ("candidate", 3),
        ("incumbent", 1),
    ]
    assert found.known
    assert "name it with --control-plane" in found.notes[0]
    assert api.who_decided(HOOK, at_ns, **ask, within_s=1.0).decided[0].count == 1
    other = api.who_decided(HOOK, at_ns, **ask, instance="bb")
    assert (other.decided, other.known) == ((), False)
    assert "none was made, or none was sampled" in other.notes[0]


def test_of_a_cache_the_event_before_the_moment_counts(tmp_path: Path) -> None:
    store = TraceStore(tmp_path)
    events = [(10, "incumbent"), (20, "d" * 64), (30, "incumbent")]
    rows = [
        Workload(n, t * SECOND, "cache", (("capacity", 8.0), ("policy", policy)))
        for n, (t, policy) in enumerate(events)
    ]
    store.write_records(Source("aa" * 8, "web", "cache.x", "cache", 1), rows)
    found = api.who_decided("cache.x", 25 * SECOND, store=tmp_path, project_ledger=tmp_path / "no")
    assert [(each.policy, each.since_ns) for each in found.governed] == [("d" * 64, 20 * SECOND)]
    assert "What governed the cache" in str(found)


def test_a_ledger_that_does_not_hold_says_nothing(shipped: Any, tmp_path: Path) -> None:
    with closing(Ledger(tmp_path / "ledger.db", lambda: 1)) as other:
        other.append("rollout.created", "eve", "r-1", {"hook": HOOK})
        other._connection.execute("drop trigger entries_no_update")
        other._connection.execute("update entries set actor = 'ann'")
    with pytest.raises(TrustError, match="entry 1 was changed"):
        api.who_decided(HOOK, 5, ledger=tmp_path / "ledger.db")
    with pytest.raises(ConfigurationError, match="nothing to ask"):
        api.who_decided(HOOK, 5)
    with pytest.raises(ConfigurationError, match="not both"):
        api.who_decided(HOOK, 5, "127.0.0.1:1", ledger=tmp_path / "ledger.db")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-28T12:03", 1795867380),
        ("2026-11-28 12:03:30", 1795867410),
        ("2026-11-28T12:03+02:00", 1795860180),
        ("2026-11-28T12:03Z", 1795867380),
        ("12:03", 1795953780),
        ("2h", 1795910400 - 7200),
        ("2h ago", 1795910400 - 7200),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, seconds: int) -> None:
    assert _audit.when(text, 1795910400 * SECOND) == seconds * SECOND


def test_what_is_no_time_is_refused() -> None:
    for text in ("", "noon", "25:00", "2026-13-01", "-3h"):
        with pytest.raises(ConfigurationError, match="is no time"):
            _audit.when(text)
