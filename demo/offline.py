"""The stages away from live traffic: fidelity, search, gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .. import api
from ..shadow.search.driver import Options
from ..shadow.search.progress import Progress
from ..shadow.search.records import Budget
from . import candidates
from .run import Run, Shipped
from .screen import interval, ms

if TYPE_CHECKING:
    from ..shadow.gates.verdict import GateResult, Verdict
    from ..shadow.search.results.finalist import Finalist
    from ..shadow.search.results.result import EvolveResult

_FREE_GATES = ("language", "determinism", "invariants")


def fidelity(this: Run) -> bool:
    """Calibrate, replay the incumbent, and return whether the simulator is trusted."""
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


def search(this: Run) -> EvolveResult:
    """Search for a better policy and show what was found."""
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

        found = api.evolve(
            this.capture,
            out,
            hook=this.hook,
            options=options,
            ledger=this.ledger,
            progress=glance,
        )
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


def gates(this: Run, found: EvolveResult) -> tuple[Verdict, Path]:
    """Put the winner through the gates; return the verdict and its file."""
    screen = this.screen
    assert found.winner is not None
    screen.stage(
        "Put the winner through the gates",
        f"gnomon verify {this.folder / 'search' / 'best.py'} --traces {this.capture} --hook {this.hook}",
    )
    baseline = found.baseline
    against = {f"baseline:{baseline.name}": baseline.source} if baseline else {}
    finalist, verdict, path = _through_first_gates(this, found, against)
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


def _through_first_gates(
    this: Run, found: EvolveResult, against: Mapping[str, str]
) -> tuple[Finalist, Verdict, Path]:
    """Verify the winner; where a gate before any replay refuses it, the next best, four at most.

    Those gates cost nothing of the holdout, so asking again is free.
    """
    assert found.winner is not None
    waiting = [finalist for finalist in found.finalists if finalist != found.winner][:3]
    finalist = found.winner
    while True:
        verdict, path = verify(this, finalist.source, "first", against)
        if verdict.reason not in _FREE_GATES or not waiting:
            return finalist, verdict, path
        this.screen.bad(f"{finalist.name}: {verdict.summary}")
        finalist = waiting.pop(0)


def verify(
    this: Run, source: str, name: str, against: Mapping[str, str] | None = None
) -> tuple[Verdict, Path]:
    """Verify one candidate and keep its verdict in the summary."""
    path = this.folder / f"verdict-{name}.json"
    with this.screen.progress("verifying") as show:
        asked = [0]

        def gate(result: GateResult) -> None:
            asked[0] += 1
            show(asked[0] / 9, f"{result.name}: {result.answer}")

        verdict = api.verify(
            source,
            this.capture,
            hook=this.hook,
            against=against or {},
            ledger=this.ledger,
            out=path,
            regressions=this.folder / "regressions",
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


def refusals(this: Run) -> None:
    """Show that a hostile, an invariant-breaking and an endless candidate are refused."""
    this.screen.stage("Candidates that must be refused", "gnomon verify …")
    rows = []
    for name, source in candidates.REFUSED.items():
        verdict, _ = verify(this, source, name.replace(" ", "-"))
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


def second(this: Run, first: Shipped) -> tuple[Verdict, Path]:
    """Verify a second policy on the old trace, where it is right."""
    this.screen.stage(
        "A second policy, verified on the trace of this morning",
        f"gnomon verify second.py --traces {this.capture} --hook {this.hook} --against first.bundle",
    )
    assert this.shipped is not None
    speeds = this.summary["calibration"]["service_mean_ms"]
    source = candidates.learnt_by_heart(this.plan.backends, speeds)
    this.screen.source(source)
    verdict, path = verify(this, source, "second", {first.found.candidate: this.shipped.source})
    (this.screen.good if verdict.decision == "accepted" else this.screen.bad)(verdict.summary)
    return verdict, path
