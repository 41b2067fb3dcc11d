"""The stages on live traffic: start, capture, canary, the wrong policy, the end."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from gnomon.v1 import rollouts_pb2

from .. import api
from ..policies.rollout.client import RolloutClient
from ..policies.rollout.ledger import Ledger
from ..recorder.store import TraceStore
from ..recorder.summary import summarise
from ..sdk.errors import TraceError
from ..shadow.traces.trace import decision_trace
from .canary import ACTOR, LateBlocks, extra_latency, follow, progress_note
from .run import Run, Shipped, finite
from .screen import interval, ms
from .stack import HOOK

#: Longest wait for what was recorded to be stored, in seconds.
_STORED_S = 30.0


def start(this: Run) -> None:
    """Start every process, and say what runs."""
    plan, screen = this.plan, this.screen
    screen.stage("Start the live system", "gnomon record … · gnomon serve … · the service itself")
    this.stack.start()
    slow, fast = (f(spec.service_ms for spec in plan.backends) for f in (max, min))
    rows = [
        (spec.name, ms(spec.service_ms), str(spec.slots), f"{spec.weight:g}", "yes" * spec.spells)
        for spec in plan.backends
    ]
    screen.table(("backend", "service time", "slots", "weight", "slow spells"), rows)
    screen.say(
        f"Spread of speeds {slow / fast:.1f}x; 2 prefork routers; {plan.rate:g} requests/s, open "
        f"loop. The incumbent is {plan.incumbent}."
    )


def capture(this: Run) -> None:
    """Record production traffic, and save the trace apart from what is recorded later."""
    plan, screen = this.plan, this.screen
    screen.stage("Record production traffic", f"gnomon traces {this.stack.store}")
    this.stack.start_load()
    with screen.progress("capturing") as show:
        this.stack.wait(
            plan.capture_s, lambda share: show(share, f"{share * plan.capture_s:.0f} s")
        )
    this.stack.stop_load()
    _stored(this)
    stored = TraceStore(this.stack.store)
    trace = decision_trace(stored, HOOK)
    trace.save(this.capture)
    events = stored.workload(HOOK).num_rows
    traffic = this.stack.traffic()
    this.summary["capture"] = {
        "decisions": len(trace),
        "workload_events": events,
        "trace": trace.digest,
        "requests": traffic.faults(),
        "latency": traffic.latency(),
    }
    screen.good(
        f"{len(trace)} decisions with outcomes of {traffic.faults()['requests']} requests and "
        f"{events} workload events, by {len(trace.instances)} processes: OTLP log records over gRPC, "
        "joined and stored as Parquet."
    )


def _stored(this: Run) -> None:
    """Wait until every request is stored with its outcome: a flush of the hooks, a publication of the recorder.

    What is missing after half a minute is missing in the figures, too.
    """
    requests, end = this.stack.traffic().faults()["requests"], time.monotonic() + _STORED_S
    while time.monotonic() < end:
        with suppress(TraceError):  # there is nothing yet
            if summarise(TraceStore(this.stack.store), HOOK).matched >= requests:
                return
        this.stack.pause(0.25)


def canary(
    this: Run, client: RolloutClient, verdict: Path, name: str, override: str = ""
) -> Shipped:
    """Ship and follow one policy."""
    plan, screen = this.plan, this.screen
    screen.stage(
        "Ship it behind a canary",
        f"gnomon ship … --verdict {verdict.name} --block {plan.block_s:g}s --follow",
    )
    late = LateBlocks(this.stack.late, plan.block_ns)
    late.skip()
    start_ns = time.time_ns()
    rollout = api.ship(
        verdict,
        this.stack.control_plane,
        publisher_key=this.folder / "keys" / "publisher.pem",
        rollout_key=this.folder / "keys" / "rollout.pub",
        ramp=this.ramp(),
        ledger=this.ledger,
        actor=ACTOR,
        override=override,
        bundle_out=this.folder / f"{name}.bundle",
    )
    with screen.progress("canary") as show:
        found = follow(
            this.stack,
            client,
            rollout.id,
            late,
            lambda now: show(*progress_note(now, plan)),
        )
    state = rollouts_pb2.State.Name(found.state)
    shipped = Shipped(found, state, (time.time_ns() - start_ns) / 1e9, start_ns, time.time_ns())
    _tell(this, name, shipped, late.count)
    return shipped


def _tell(this: Run, name: str, shipped: Shipped, late: int) -> None:
    """Print and keep what a rollout measured."""
    screen, found = this.screen, shipped.found
    evidence = found.evidence
    for step in found.transitions:
        names = [rollouts_pb2.State.Name(state) for state in (getattr(step, "from"), step.to)]
        screen.say(f"{names[0]} → {names[1]}: {step.cause}")
    excluded = (evidence.excluded_stable, evidence.excluded_candidate)
    screen.say(
        f"{found.acked} of {found.clients} processes acknowledged; {evidence.pairs} pairs of blocks "
        f"used; left out: stable {excluded[0]}, candidate {excluded[1]} blocks ({late} for the "
        f"generator's own lag), {evidence.incomplete} incomplete"
    )
    predicted = this.summary["verdicts"][name]["predicted"].get(found.stable)
    if predicted:
        screen.say(f"predicted effect on mean latency: {interval(**predicted)}")
    effect = {part: getattr(evidence.effect, part) for part in ("estimate", "low", "high")}
    screen.say(
        f"measured effect on mean latency:  {interval(**effect)}; "
        f"{ms(evidence.stable_mean)} → {ms(evidence.candidate_mean)} at the router"
    )
    screen.say(f"prediction: {found.calibration or 'not compared'}")
    this.summary.setdefault("rollouts", {})[name] = {
        "id": found.id,
        "state": shipped.state,
        "seconds": round(shipped.seconds, 1),
        "acked": found.acked,
        "clients": found.clients,
        "pairs": evidence.pairs,
        "blocks_left_out": {"stable": excluded[0], "candidate": excluded[1], "late": late},
        "incomplete": evidence.incomplete,
        "log_e_better": evidence.log_e_better,
        "log_e_worse": evidence.log_e_worse,
        "predicted": predicted,
        "measured": {key: finite(value) for key, value in effect.items()},
        "stable_mean_ms": evidence.stable_mean,
        "candidate_mean_ms": evidence.candidate_mean,
        "calibration": found.calibration,
        "points": [
            {"pair": p.pair, "stable": p.stable, "candidate": p.candidate, "left_out": p.used}
            for p in evidence.points
        ],
        "causes": [step.cause for step in found.transitions],
    }


def wrong_now(this: Run, client: RolloutClient, verdict: Path) -> None:
    """Degrade a backend, ship the second policy on its old verdict, and see it taken back."""
    plan, screen = this.plan, this.screen
    screen.stage("The world changes, and the second policy is shipped on its old verdict")
    this.stack.start_load()
    name = this.stack.degrade(plan.degrade_factor)
    screen.say(f"{name} is {plan.degrade_factor:g} times slower from now on")
    with screen.progress("settling") as show:
        this.stack.wait(plan.settle_s, lambda share: show(share, ""))
    before = time.time_ns()
    shipped = canary(this, client, verdict, "second")
    after = time.time_ns()
    this.stack.stop_load()
    _stored(this)
    cost = extra_latency(this.stack.store, shipped.start_ns, shipped.end_ns)
    traffic = this.stack.traffic()
    during, quiet = traffic.between(before, after).faults(), traffic.between(0, before).faults()
    this.summary["wrong"] = {"cost": cost, "faults": during, "faults_before": quiet}
    taken_back = shipped.state == "ABORTED"
    (screen.good if taken_back else screen.bad)(
        f"The wrong policy ended {shipped.state} after {shipped.seconds:.0f} s. It decided "
        f"{cost['requests']} requests and cost {cost['extra_ms_requests']:.0f} ms x requests "
        f"({ms(cost['mean_ms'])} instead of {ms(cost['stable_mean_ms'])})."
    )
    screen.say(
        f"users saw {during['non_2xx']} non-2xx answers, {during['resets']} resets and "
        f"{during['timeouts']} time-outs ({quiet['timeouts']} before)"
    )
    screen.say(f"simulator: {shipped.found.calibration or 'not compared'}")


def finish(this: Run) -> None:
    """Verify the ledgers and say how loaded the machine was."""
    screen = this.screen
    screen.stage("Audit", "gnomon audit verify --control-plane …")
    with RolloutClient(this.stack.control_plane) as client:
        rollouts = client.verify()
    book = Ledger(this.ledger)
    try:
        verdicts = book.verify()
    finally:
        book.close()
    for name, check in (("rollouts", rollouts), ("verdicts", verdicts)):
        text = f"ledger of {name}: {check.entries} entries, head {check.head.hex()[:16]}"
        (screen.good if check.ok else screen.bad)(text if check.ok else f"{text}: {check.problem}")
    this.summary["ledgers"] = {
        name: {"ok": check.ok, "entries": check.entries, "head": check.head.hex()}
        for name, check in (("rollouts", rollouts), ("verdicts", verdicts))
    }
    one, five, _ = os.getloadavg()
    cores = len(os.sched_getaffinity(0))
    traffic = this.stack.traffic()
    late = this.stack.late_share()
    this.summary["machine"] = {
        "load_1m": one,
        "load_5m": five,
        "cores": cores,
        "late_blocks_share": late,
    }
    this.summary["traffic"] = {**traffic.faults(), **traffic.latency()}
    screen.say(
        f"machine: load {one:.1f} (5 min {five:.1f}) on {cores} cores; "
        f"{late:.1%} of all blocks with a late generator"
    )
