"""The closed loop, stage by stage: what ``gnomon demo`` runs."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.v1 import rollouts_pb2

from .. import api
from ..policies.rollout.client import RolloutClient
from ..policies.rollout.shipping import Ramp
from ..sdk import keys
from ..shadow.search.driver import Options, Progress
from ..shadow.search.records import Budget
from ..shadow.trace import Trace, load_trace
from . import candidates
from .canary import ACTOR, LateBlocks, extra_latency, follow, progress_note
from .plan import DemoPlan
from .processes import Processes
from .screen import Screen, interval, ms, percent
from .stack import HOOK, Stack

if TYPE_CHECKING:
    from ..shadow.search.result import EvolveResult, Finalist
    from ..shadow.verdict import GateResult, Verdict


class DemoExit(IntEnum):
    """How a run of the demo ended."""

    PROMOTED = 0  # and the wrong policy was taken back; of a null run: nothing was promoted
    WRONG = 1  # something that must not happen did
    INCONCLUSIVE = 3  # too noisy, or nothing won: the incumbent was kept


@dataclass
class Run:
    """State of one run.

    Attributes:
        plan: its numbers.
        folder: everything is written below it.
        screen: prints.
        stack: the live system.
        summary: every figure that was printed.
        shipped: the finalist that went through the gates.
    """

    plan: DemoPlan
    folder: Path
    screen: Screen
    stack: Stack
    summary: dict[str, Any] = field(default_factory=dict)
    shipped: Finalist | None = None

    @property
    def capture(self) -> Path:
        """The captured trace, saved apart from what is recorded later."""
        return self.folder / "capture.npz"

    @property
    def hook(self) -> str:
        """Where commands find the decorated function."""
        return f"gnomon.demo.{'router_null' if self.plan.null else 'router'}:pick"

    @property
    def ledger(self) -> Path:
        """The ledger of verdicts."""
        return self.folder / "ledger.db"

    def ramp(self) -> Ramp:
        """Return how a candidate may take over."""
        plan = self.plan
        return Ramp(
            weights=(0.5, 1.0),
            block_s=plan.block_s,
            burn_in_s=plan.burn_in_s,
            skew_s=plan.skew_s,
            min_pairs=plan.min_pairs,
            max_pairs=plan.max_pairs,
            shadow_decisions=plan.shadow_decisions,
            shadow_rate=1.0,
            soak_s=plan.soak_s,
            lease_s=6.0,
        )


@dataclass(frozen=True, slots=True)
class Shipped:
    """How one rollout in the demo ended.

    Attributes:
        found: the rollout's last state.
        state: its name.
        seconds: from shipping to the end.
        start_ns, end_ns: Unix times of that.
    """

    found: rollouts_pb2.Rollout
    state: str
    seconds: float
    start_ns: int
    end_ns: int


def run(plan: DemoPlan, folder: Path, screen: Screen) -> tuple[DemoExit, dict[str, Any]]:
    """Run the demo; leaves everything in ``folder``; returns how it ended and all figures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, role in ROLES_NEEDED.items():
        keys.save(keys.generate(), folder / "keys", name, role)
    with Processes(folder / "logs") as processes:
        this = Run(plan, folder, screen, Stack(plan, folder, processes))
        this.summary["plan"] = asdict(plan)
        started = time.time()
        ended = _null(this) if plan.null else _full(this)
        this.summary["seconds"] = round(time.time() - started, 1)
    this.summary["ended"] = ended.name.lower()
    return ended, this.summary


ROLES_NEEDED: dict[str, Any] = {"publisher": "publisher", "rollout": "rollout"}


def _full(this: Run) -> DemoExit:
    _start(this)
    _capture(this)
    if not _fidelity(this):
        return DemoExit.INCONCLUSIVE
    found = _search(this)
    verdict, path = _gates(this, found)
    _refusals(this)
    if verdict.decision != "accepted":
        this.screen.bad(f"Nothing is shipped; the incumbent stays. {verdict.summary}")
        return DemoExit.INCONCLUSIVE
    this.stack.start_load()
    with RolloutClient(this.stack.control_plane) as client:
        first = _canary(this, client, path, "first")
        if first.state != "STABLE":
            return _not_promoted(this, first)
        this.stack.stop_load()
        second = _second(this, first)
        this.stack.start_load()
        return _wrong_now(this, client, second)


def _null(this: Run) -> DemoExit:
    """An equal policy goes through the full canary past the gates; it must not be promoted."""
    _start(this)
    _capture(this)
    _, path = _verify(this, candidates.EQUAL, "equal")
    this.stack.start_load()
    with RolloutClient(this.stack.control_plane) as client:
        shipped = _canary(this, client, path, "first", override="null run of the demo")
    promoted = shipped.state == "STABLE"
    this.summary["null"] = {"promoted": promoted, "state": shipped.state}
    (this.screen.bad if promoted else this.screen.good)(
        f"An equal policy ended {shipped.state}: {'promoted' if promoted else 'not promoted'}."
    )
    _finish(this)
    return DemoExit.WRONG if promoted else DemoExit.PROMOTED


def _start(this: Run) -> None:
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
        "loop. The incumbent is smooth weighted round robin with last month's weights."
    )


def _capture(this: Run) -> Trace:
    plan, screen = this.plan, this.screen
    screen.stage("Record production traffic", f"gnomon traces {this.stack.store}")
    this.stack.start_load()
    with screen.progress("capturing") as show:
        this.stack.wait(
            plan.capture_s, lambda share: show(share, f"{share * plan.capture_s:.0f} s")
        )
    this.stack.stop_load()
    this.stack.pause(2.5)  # a flush of the hooks, and a publication of the recorder
    trace = load_trace(this.stack.store, HOOK)
    trace.save(this.capture)
    traffic = this.stack.traffic()
    this.summary["capture"] = {
        "decisions": len(trace),
        "trace": trace.digest,
        "requests": traffic.faults(),
        "latency": traffic.latency(),
    }
    screen.good(
        f"{len(trace)} decisions with outcomes of {traffic.faults()['requests']} requests, by "
        f"{len(trace.instances)} processes, as OTLP log records, stored as Parquet."
    )
    return trace


def _fidelity(this: Run) -> bool:
    screen = this.screen
    screen.stage(
        "Calibrate the simulator and replay the incumbent",
        f"gnomon replay {this.capture} --hook {this.hook}",
    )
    with screen.progress("replaying") as show:
        table = api.replay(
            this.capture, hook=this.hook, seed=this.plan.seed, progress=lambda line: show(0.5, line)
        )
    rows = [
        (
            row.metric,
            row.stretch,
            f"{row.recorded:.4g}",
            f"{row.simulated:.4g}",
            interval(row.error, row.low, row.high),
            row.answer,
        )
        for row in table.fidelity.rows
    ]
    screen.table(("metric", "stretch", "recorded", "simulated", "error, 95 %", "answer"), rows)
    this.summary["fidelity"] = table.fidelity.as_json()
    this.summary["calibration"] = table.calibration
    this.summary["replay"] = [asdict(row) for row in table.rows]
    ok = table.fidelity.answer == "ok"
    (screen.good if ok else screen.bad)(f"fidelity: {table.fidelity.answer}")
    return ok


def _search(this: Run) -> EvolveResult:
    plan, screen = this.plan, this.screen
    out = this.folder / "search"
    screen.stage(
        "Search for a better policy, without a language model",
        f"gnomon evolve --traces {this.capture} --hook {this.hook} --budget {plan.budget} "
        f"--seed {plan.seed} --out {out}",
    )
    options = Options(budget=Budget(plan.budget), seed=plan.seed)
    with screen.progress("searching") as show:

        def glance(now: Progress) -> None:
            best = now.search.archive.best
            note = f"{now.phase}: best {best.score:.1f} ms" if best else now.phase
            show(now.done / max(now.total, 1), note)

        found = api.evolve(this.capture, out, hook=this.hook, options=options, progress=glance)
    assert found.winner is not None
    screen.source(found.winner.source)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(found.counts.items()))
    screen.say(f"proposals: {counts}; log {found.log_hash[:16]}")
    screen.good(f"best policy: {_origin(found)}")
    this.summary["search"] = found.to_json()
    return found


def _origin(found: EvolveResult) -> str:
    if found.origin != "evolved" or found.baseline is None:
        return found.origin
    return (
        f"evolved in this run; on validation the search added {found.search_added:.1%} over the best "
        f"published baseline, {found.baseline.name}"
    )


def _gates(this: Run, found: EvolveResult) -> tuple[Verdict, Path]:
    screen = this.screen
    assert found.winner is not None
    screen.stage(
        "Put the winner through the gates",
        f"gnomon verify {this.folder / 'search' / 'best.py'} --traces {this.capture} --hook {this.hook}",
    )
    baseline = found.baseline
    against = {f"baseline:{baseline.name}": baseline.source} if baseline else {}
    for finalist in _in_order(found):
        verdict, path = _verify(this, finalist.source, "first", against)
        if verdict.reason not in ("language", "determinism", "invariants"):
            break  # those gates cost nothing of the holdout, so the next best may be asked
        screen.bad(f"{finalist.name}: {verdict.summary}")
    this.shipped = finalist
    screen.table(("gate", "answer", "why"), [(g.name, g.answer, g.summary) for g in verdict.gates])
    if verdict.decision == "accepted":
        means = next(gate for gate in verdict.gates if gate.name == "holdout").evidence["means"]
        numbers = {
            "incumbent": means["incumbent"],
            **{f"best published, {name}": means[name] for name in against},
            finalist.name: means["candidate"],
        }
        this.summary["holdout"] = numbers
        screen.table(
            ("on holdout, never searched on", "mean latency, simulated"),
            [(name, ms(value)) for name, value in numbers.items()],
        )
    (screen.good if verdict.decision == "accepted" else screen.bad)(verdict.summary)
    return verdict, path


def _in_order(found: EvolveResult) -> list[Finalist]:
    """Return the winner, then the other finalists, at most four in all."""
    assert found.winner is not None
    others = [finalist for finalist in found.finalists if finalist != found.winner]
    return [found.winner, *others[:3]]


def _verify(
    this: Run, source: str, name: str, against: Mapping[str, str] | None = None
) -> tuple[Verdict, Path]:
    with this.screen.progress("verifying") as show:
        asked = [0]

        def gate(result: GateResult) -> None:
            asked[0] += 1
            show(asked[0] / 9, f"{result.name}: {result.answer}")

        verdict, path = api.verify(
            source,
            this.capture,
            hook=this.hook,
            against=against,
            ledger=this.ledger,
            out=this.folder / f"verdict-{name}.json",
            progress=gate,
        )
    this.summary.setdefault("verdicts", {})[name] = {
        "decision": verdict.decision,
        "reason": verdict.reason,
        "summary": verdict.summary,
        "digest": verdict.digest,
        "source": source,
        "predicted": dict(verdict.predicted),
        "gates": [(g.name, g.answer, g.summary) for g in verdict.gates],
        "layers": list(verdict.layers),
    }
    return verdict, path


def _refusals(this: Run) -> None:
    """Show that a hostile, an invariant-breaking and an endless candidate are refused."""
    this.screen.stage("Candidates that must be refused", "gnomon verify …")
    rows = []
    for name, source in candidates.REFUSED.items():
        verdict, _ = _verify(this, source, name.replace(" ", "-"))
        rows.append((name, verdict.decision, verdict.gates[-1].name, verdict.gates[-1].summary))
        case = verdict.gates[-1].evidence.get("counterexample")
        if case:
            this.screen.say(f"{name}: smallest counterexample found for {case['invariant']}:")
            picked = [" picked" * (index == case["action"]) for index in range(len(case["items"]))]
            items = [
                (f"{index}{mark}", *(f"{value:g}" for value in item))
                for index, (item, mark) in enumerate(zip(case["items"], picked, strict=True))
            ]
            this.screen.table(("item", *case["inputs"]), items)
    this.screen.table(("candidate", "decision", "gate", "why"), rows)
    this.summary["refused"] = {name: decision for name, decision, _, _ in rows}


def _second(this: Run, first: Shipped) -> tuple[Verdict, Path]:
    """Verify a second policy on the old trace, where it is right."""
    this.screen.stage(
        "A second policy, verified on the trace of this morning",
        f"gnomon verify second.py --traces {this.capture} --hook {this.hook} --against first.bundle",
    )
    assert this.shipped is not None
    speeds = this.summary["calibration"]["service_mean_ms"]
    source = candidates.learnt_by_heart(this.plan.backends, speeds)
    this.screen.source(source)
    verdict, path = _verify(this, source, "second", {first.found.candidate: this.shipped.source})
    (this.screen.good if verdict.decision == "accepted" else this.screen.bad)(verdict.summary)
    return verdict, path


def _canary(
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
        "pairs": evidence.pairs,
        "blocks_left_out": {"stable": excluded[0], "candidate": excluded[1], "late": late},
        "incomplete": evidence.incomplete,
        "log_e_better": evidence.log_e_better,
        "log_e_worse": evidence.log_e_worse,
        "predicted": predicted,
        "measured": {key: _finite(value) for key, value in effect.items()},
        "stable_mean_ms": evidence.stable_mean,
        "candidate_mean_ms": evidence.candidate_mean,
        "calibration": found.calibration,
        "points": [
            {"pair": p.pair, "stable": p.stable, "candidate": p.candidate, "left_out": p.used}
            for p in evidence.points
        ],
        "causes": [step.cause for step in found.transitions],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _not_promoted(this: Run, first: Shipped) -> DemoExit:
    cause = first.found.transitions[-1].cause if first.found.transitions else ""
    this.screen.bad(f"The canary ended {first.state}: {cause}. The incumbent stays.")
    _finish(this)
    return DemoExit.INCONCLUSIVE


def _wrong_now(this: Run, client: RolloutClient, second: tuple[Verdict, Path]) -> DemoExit:
    """Degrade a backend, ship the second policy, and see it taken back."""
    plan, screen = this.plan, this.screen
    verdict, path = second
    if verdict.decision != "accepted":
        _finish(this)
        return DemoExit.INCONCLUSIVE
    screen.stage("The world changes, and the second policy is shipped on its old verdict")
    name = this.stack.degrade(plan.degrade_factor)
    screen.say(f"{name} is {plan.degrade_factor:g} times slower from now on")
    with screen.progress("settling") as show:
        this.stack.wait(plan.settle_s, lambda share: show(share, ""))
    before = time.time_ns()
    shipped = _canary(this, client, path, "second")
    after = time.time_ns()
    this.stack.stop_load()
    this.stack.pause(2.5)
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
    _finish(this)
    harmless = not (during["non_2xx"] or during["resets"] or during["timeouts"])
    if shipped.state == "STABLE" or not harmless:
        return DemoExit.WRONG
    return DemoExit.PROMOTED if taken_back else DemoExit.INCONCLUSIVE


def _finish(this: Run) -> None:
    """Verify the ledgers and say how loaded the machine was."""
    from ..policies.rollout.ledger import Ledger

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
    this.summary["machine"] = {"load_1m": one, "load_5m": five, "cores": cores}
    this.summary["traffic"] = {**traffic.faults(), **traffic.latency()}
    screen.say(
        f"machine: load {one:.1f} (5 min {five:.1f}) on {cores} cores; "
        f"{percent(this.stack.late_share())} of all blocks with a late generator"
    )


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write every figure of a run; the file is the old one or the whole new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_plain(summary), indent=2, sort_keys=True) + "\n")
    partial.rename(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _finite(value) if isinstance(value, float) else value
