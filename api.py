"""The loop as Python calls, for notebooks and pipelines; the commands are thin over them.

Each call takes what the command of the same name takes and returns a typed result.
"""

from __future__ import annotations

import getpass
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .sdk.errors import RolloutError

if TYPE_CHECKING:
    from gnomon.v1 import rollouts_pb2

    from .policies.rollout.shipping import Ramp
    from .sdk.kind import Kind
    from .shadow.gate_case import Target, VerifyOptions
    from .shadow.isolation.compiled import CompiledOptions
    from .shadow.policy import Policy
    from .shadow.replay import ReplayTable
    from .shadow.search.driver import Options, Report
    from .shadow.search.result import EvolveResult
    from .shadow.trace import Trace
    from .shadow.verdict import GateResult, Verdict

LEDGER = Path(".gnomon/ledger.db")
VERDICTS = Path(".gnomon/verdicts")


def opened(
    traces: str | Path, hook: str | None = None, incumbent: str | None = None
) -> tuple[Trace, Target]:
    """Return a recorded trace, and what a candidate on it would be for.

    Args:
        traces: trace store, or a trace saved as ``.npz``.
        hook: its name, or ``module:attribute`` of the decorated function, which is imported and gives
            the kind, the invariants and the incumbent; None takes the store's only hook.
        incumbent: ``baseline:NAME``, a policy's file, ``recorded`` or ``module:attribute``; None takes
            the hook's own function if ``hook`` names one, else what was recorded.

    Raises:
        TraceError: the trace cannot be read.
        ConfigurationError: hook or incumbent name nothing that can be used.
    """
    from .policies.registry import kind as kind_named
    from .shadow.gate_case import Target
    from .shadow.policy import RECORDED, hook_at
    from .shadow.trace import Trace, load_trace

    marked = hook_at(hook) if hook and ":" in hook else None
    path = Path(traces)
    name = marked.name if marked else hook
    trace = Trace.load(path) if path.suffix == ".npz" else load_trace(path, name)
    kind = marked.kind if marked else kind_named(trace.kind)
    policy = policy_named(incumbent or (hook if marked and hook else RECORDED), kind)
    invariants = tuple(marked.invariants) if marked else tuple(kind.invariants)
    return trace, Target(trace.hook, kind, policy, invariants)


def policy_named(text: str, kind: Kind) -> Policy:
    """Return a trusted policy: ``baseline:NAME``, a file, ``recorded`` or ``module:attribute``."""
    from .shadow.policy import ScorePolicy, incumbent_policy, source_of

    path = Path(text)
    if path.suffix == ".py" or path.is_file():
        return ScorePolicy(path.stem, source_of(path), kind)
    return incumbent_policy(text, kind)


def replay(
    traces: str | Path,
    policies: Iterable[str] = (),
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    replicas: int = 20,
    seed: int = 0,
    isolation: str = "strict",
    progress: Callable[[str], None] = lambda _line: None,
) -> ReplayTable:
    """Replay a trace under the incumbent and other policies: fidelity first, then the comparison.

    Args:
        traces, hook, incumbent: as for :func:`opened`.
        policies: files (run isolated) or ``baseline:NAME``; all baselines when empty.
        replicas: replays per policy.
        seed: of all draws.
        isolation: of the files: ``strict`` or ``process``.
        progress: is told what happens, a line at a time.
    """
    from .shadow.replay import replay as compare

    trace, target = opened(traces, hook, incumbent)
    with ExitStack() as stack:
        others = _isolated(tuple(policies), target.kind, isolation, stack)
        base: Any = target.incumbent
        return compare(
            trace, others, incumbent=base, replicas=replicas, seed=seed, progress=progress
        )


def _isolated(texts: tuple[str, ...], kind: Kind, isolation: str, stack: ExitStack) -> list[Policy]:
    from .shadow.isolation.layers import known_mode
    from .shadow.isolation.lockstep import lockstep_zygote
    from .shadow.policy import BASELINE, IsolatedPolicy, baseline_policy, source_of

    mode = known_mode(isolation)
    sources = {text: source_of(Path(text)) for text in texts if not text.startswith(BASELINE)}
    zygote = stack.enter_context(lockstep_zygote(mode)) if sources else None
    return [
        IsolatedPolicy(text, sources[text], kind, zygote)
        if zygote and text in sources
        else baseline_policy(text.removeprefix(BASELINE), kind)
        for text in texts
    ]


def evolve(
    traces: str | Path,
    out: str | Path,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    options: Options | None = None,
    engine: CompiledOptions | None = None,
    progress: Report = lambda _glance: None,
) -> EvolveResult:
    """Search for a better policy on a trace; leaves ``log.jsonl``, ``result.json``, ``best.py``.

    Args:
        traces, hook, incumbent: as for :func:`opened`.
        out: folder of the run.
        options: budget, seed and strategy.
        engine: workers and isolation of the evaluations.
        progress: called after every evaluation.
    """
    from dataclasses import replace

    from .shadow.policy import ScorePolicy
    from .shadow.search.driver import Options
    from .shadow.search.wiring import Arena, search

    trace, target = opened(traces, hook, incumbent)
    base: Any = target.incumbent
    chosen = options or Options()
    if isinstance(base, ScorePolicy):
        chosen, base = replace(chosen, incumbent=base.source), None
    arena = Arena.of(target.kind, trace, engine)
    return search(arena, chosen, Path(out), incumbent=base, progress=progress)


def verify(
    source: str,
    traces: str | Path,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    against: Mapping[str, str] | None = None,
    ledger: str | Path = LEDGER,
    out: str | Path | None = None,
    options: VerifyOptions | None = None,
    progress: Callable[[GateResult], None] | None = None,
) -> tuple[Verdict, Path]:
    """Put a candidate through the gates; return the verdict and the file it was written to.

    Args:
        source: of the candidate.
        traces, hook, incumbent: as for :func:`opened`.
        against: sources of further policies to predict the effect against, by digest.
        ledger: takes the verdict, and counts openings of the holdout.
        out: verdict file; ``.gnomon/verdicts/DIGEST.json`` when None.
        options: isolation, seed and limits.
        progress: called with every gate's answer.
    """
    from .policies.rollout.ledger import Ledger
    from .shadow.gates import verify as judge

    trace, target = opened(traces, hook, incumbent)
    with closing(Ledger(Path(ledger))) as book:
        verdict = judge(
            trace,
            source,
            target,
            ledger=book,
            against=against,
            options=options,
            progress=progress,
        )
    path = Path(out) if out else VERDICTS / f"{verdict.digest[:16]}.json"
    verdict.save(path)
    return verdict, path


def ship(
    verdict: str | Path,
    control_plane: str,
    *,
    publisher_key: str | Path,
    rollout_key: str | Path,
    ramp: Ramp | None = None,
    ledger: str | Path = LEDGER,
    actor: str = "",
    override: str = "",
    bundle_out: str | Path | None = None,
) -> rollouts_pb2.Rollout:
    """Sign an accepted policy as a bundle with a ramp plan, and begin its rollout.

    Args:
        verdict: file that :func:`verify` wrote; the ledger must vouch for it.
        control_plane: ``host:port``.
        publisher_key: private key file; signs bundle and plan.
        rollout_key: public key file of the control plane, which the plan allows to sign manifests.
        ramp: weights, blocks and levels.
        ledger: that holds the verdict.
        actor: who ships; the user's name when empty.
        override: a reason for shipping what was not accepted; it goes into the provenance and so
            into the control plane's ledger. Empty refuses.
        bundle_out: file that also receives the signed bundle.

    Raises:
        TrustError: the ledger does not vouch for the verdict, or a key is wrong.
        RolloutError: the verdict is not an acceptance, or the control plane refuses.
        UnavailableError: the control plane does not answer.
    """
    from .policies.registry import kind as kind_named
    from .policies.rollout.client import RolloutClient
    from .policies.rollout.evidence import Effect
    from .policies.rollout.ledger import Ledger
    from .policies.rollout.shipping import Ramp, build_plan, sign_plan
    from .sdk import dsse, keys
    from .sdk.bundle import build_bundle, save_bundle
    from .sdk.language import check
    from .shadow.verdict import load_verdict

    with closing(Ledger(Path(ledger))) as book:
        found = load_verdict(Path(verdict), book)
    if found.decision != "accepted" and not override:
        raise RolloutError(
            f"verdict {found.digest[:12]} is {found.decision}: {found.summary} "
            "Only an accepted policy is shipped; to go past the gates give a reason with override"
        )
    kind = kind_named(found.kind)
    publisher = keys.load_private(publisher_key)
    program = check(
        found.source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
    )
    provenance = {"verdict": found.decision, "trace": found.trace, "tool": found.tool}
    if override:
        provenance["override"] = override
    payload = build_bundle(program, found.hook, kind, found.digest, provenance)
    envelope = dsse.sign(dsse.BUNDLE_TYPE, payload, publisher)
    if bundle_out is not None:
        save_bundle(Path(bundle_out), envelope)
    with RolloutClient(control_plane) as client:
        plan = build_plan(
            ramp or Ramp(),
            payload,
            kind,
            keys.load_public(rollout_key),
            time.time_ns(),
            stable=client.stable(found.hook),
            predicted={
                name: Effect(effect["estimate"], effect["low"], effect["high"])
                for name, effect in found.predicted.items()
            },
        )
        return client.create(envelope, sign_plan(plan, publisher), actor or getpass.getuser())


def source_digest(source: str) -> str:
    """Return the name of a bare source: sha256 hex of its text."""
    return hashlib.sha256(source.encode()).hexdigest()


__all__ = [
    "evolve",
    "opened",
    "policy_named",
    "replay",
    "ship",
    "source_digest",
    "verify",
]
