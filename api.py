"""The loop as Python calls, for notebooks and pipelines; the commands are thin over them.

Each call takes what the command of the same name takes and returns a typed, frozen result, which prints
as text, shows itself as tables in a notebook, and gives its JSON values with ``as_json()``.
"""

from __future__ import annotations

import getpass
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .sdk.errors import ConfigurationError
from .sdk.records import INCUMBENT
from .shadow.opening import opened, policy_named, rivals, source_digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from gnomon.v1 import rollouts_pb2

    from .commands._checks import Diagnosis
    from .policies.rollout.ledger import Ledger
    from .policies.rollout.shipping import Ramp
    from .sdk.channel import Peer
    from .sdk.invariant import Invariant, Severity
    from .shadow.gates.case import VerifyOptions
    from .shadow.gates.verdict import GateResult, Verdict
    from .shadow.invariants.checking import InvariantCheck
    from .shadow.invariants.listing import InvariantList
    from .shadow.invariants.suggesting import Suggested
    from .shadow.isolation.compiled import CompiledOptions
    from .shadow.offpolicy.table import OffPolicyOptions, OffPolicyTable
    from .shadow.replay.compare import ReplayTable
    from .shadow.report.rollouts import Rollout, Shipped
    from .shadow.report.traces import Traces
    from .shadow.report.upkeep import Compaction, Pruning
    from .shadow.search.driver import Options, Report
    from .shadow.search.result import EvolveResult

TRACES = Path(".gnomon/traces")
LEDGER = Path(".gnomon/ledger.db")
VERDICTS = Path(".gnomon/verdicts")
RUNS = Path(".gnomon/runs")
REGRESSIONS = Path(".gnomon/regressions")
#: Where a control plane is looked for, unless ``GNOMON_CONTROL_PLANE`` says otherwise.
CONTROL_PLANE = "127.0.0.1:7400"
_LONGEST_PATH = 255  # longer names are refused by the system, and asking it would raise
#: Name of the control plane's public key, where it is looked for beside the publisher's key.
ROLLOUT_KEY = "rollout.pub"


def traces(store: str | Path = TRACES, hook: str | None = None) -> Traces:
    """Say what a trace store holds: decisions, outcomes, shares, metrics, workload, damage.

    Args:
        store: folder or URI.
        hook: only this one.

    Raises:
        TraceError: no such store or hook.
    """
    from .recorder.store import TraceStore
    from .recorder.summary import summarise
    from .shadow.report.traces import Traces

    found = TraceStore(store)
    names = found.hooks()
    hooks = tuple(summarise(found, name) for name in ([hook] if hook else names))
    return Traces(found.files.root, hooks)


def compact(
    store: str | Path = TRACES,
    hook: str | None = None,
    *,
    older_than_s: float = 2 * 3600.0,
    dry_run: bool = False,
) -> Compaction:
    """Merge the small files of each closed hour into one, and join late outcomes to their decisions.

    What is read from the store stays the same; recorders and readers may go on meanwhile.

    Args:
        store: folder or URI.
        hook: only this one.
        older_than_s: only hours that ended, and were last written, at least so long ago.
        dry_run: change nothing, and say what would be merged.

    Raises:
        TraceError: no such store or hook, another compaction on this machine, or the filesystem refused.
    """
    from .recorder import compaction
    from .recorder.store import TraceStore
    from .shadow.report.upkeep import Compaction

    found = TraceStore(store)
    when = compaction.When(time.time_ns(), older_than_s)
    done = compaction.compact(found, when, hook=hook, dry_run=dry_run)
    return Compaction(
        store=found.files.root,
        hours=tuple(done.hours),
        removed=done.removed,
        damaged=tuple(done.damaged),
        changed=done.changed,
        dry_run=dry_run,
    )


def prune(
    store: str | Path = TRACES,
    hook: str | None = None,
    *,
    older_than_s: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Pruning:
    """Remove whole hours from a trace store, the oldest first; an hour beyond either limit goes.

    Args:
        store: folder or URI.
        hook: only this one's hours, and only its bytes count.
        older_than_s: hours whose end is longer ago.
        max_bytes: the oldest hours, until no more is left; the hour that has not ended stays.
        dry_run: remove nothing, and say what would go.

    Raises:
        ConfigurationError: no limit, or a negative one.
        TraceError: no such store or hook, or the filesystem refused.
    """
    from .recorder import retention
    from .recorder.store import TraceStore
    from .shadow.report.upkeep import Pruning

    found = TraceStore(store)
    keep = retention.Keep(time.time_ns(), older_than_s, max_bytes)
    done = retention.prune(found, keep, hook=hook, dry_run=dry_run)
    return Pruning(found.files.root, done.hours, done.files, done.bytes, dry_run)


def replay(
    traces: str | Path | Sequence[str | Path] = TRACES,
    policies: Iterable[str] = (),
    *,
    hook: str | Sequence[str] | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    replicas: int = 20,
    seed: int = 0,
    isolation: str = "strict",
    sizes: Iterable[float] = (),
    slo: str | float | Iterable[str] = (),
    workers: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[str], None] = lambda _line: None,
) -> ReplayTable:
    """Replay traces under their incumbents and other policies: fidelity first, then the comparison.

    Args:
        traces: as for :func:`opened`; several of one kind are compared one by one and over all.
        policies: files (run isolated) or ``baseline:NAME``; all baselines when empty.
        hook: as for :func:`opened`; one for all traces, one for each, or several of one store.
        incumbent, invariants: as for :func:`opened`, of every trace.
        replicas: replays per policy, at least 2.
        seed: of all draws.
        isolation: of the files: ``strict`` or ``process``.
        sizes: shares of what the workload touches (0.01 for 1 %) that a cache is brought to in turn.
        slo: limit of the objective, or ``METRIC=LIMIT``, one or several: how many decisions meet all.
        workers: processes that replay; the result is the same.
        out: folder that keeps what is finished, ``table.json`` and ``report.html``.
        resume: go on with what ``out`` holds.
        progress: is told what happens, a line at a time.

    Returns:
        The table of the first trace at the first size, with the others in ``further`` and what is said
        over all of them in ``overall``.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``policies``.
        IsolationError: the isolation cannot be had.
    """
    from .shadow.replay.compare import ReplayOptions, compare, planned

    options = ReplayOptions(
        replicas=replicas,
        seed=seed,
        isolation=isolation,
        sizes=tuple(sizes),
        slo=(str(slo),) if isinstance(slo, str | int | float) else tuple(map(str, slo)),
        invariants=Path(invariants) if invariants is not None else None,
        workers=workers,
        out=Path(out) if out is not None else None,
        resume=resume,
    )
    named = [traces] if isinstance(traces, str | Path) else traces
    hooks = [hook] if isinstance(hook, str) else hook or ()
    plan = planned([*map(str, named)], tuple(policies), hooks, incumbent, options)
    return compare(plan, progress)


def off_policy(
    traces: str | Path = TRACES,
    policies: Iterable[str] = (),
    *,
    hook: str | None = None,
    options: OffPolicyOptions | None = None,
) -> OffPolicyTable:
    """Estimate what policies would have got from recorded decisions alone, without a simulator.

    It takes decisions that were partly drawn (``explore=``); where a policy takes actions that had no chance
    to be recorded, the answer is ``no overlap`` and no number.

    Args:
        traces, hook: as for :func:`opened`.
        policies: files (run isolated) or ``baseline:NAME`` in score form; all such baselines when empty.
        options: largest weight, least effective sample, isolation and seed.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``policies``.
        IsolationError: the isolation cannot be had.
    """
    from .shadow.offpolicy.table import OffPolicyOptions
    from .shadow.offpolicy.table import off_policy as estimated
    from .shadow.opening import asked, sources_named

    found = asked(traces, hook)
    sources = sources_named(tuple(policies), found.kind)
    return estimated(found.trace, found.kind, sources, options or OffPolicyOptions())


def evolve(
    traces: str | Path = TRACES,
    out: str | Path | None = None,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    options: Options | None = None,
    engine: CompiledOptions | None = None,
    ledger: str | Path = LEDGER,
    progress: Report = lambda _glance: None,
) -> EvolveResult:
    """Search for a better policy on a trace; return what was found, with the folder of the run.

    Args:
        traces, hook, incumbent, invariants: as for :func:`opened`.
        out: folder of the run; ``.gnomon/runs/HOOK`` when None.
        options: budget, seed and strategy.
        engine: workers and isolation of the evaluations; None takes seed and workers from
            ``options``. The hook's own invariants are added to its.
        ledger: says which evaluators are in quarantine, and takes it when this one is caught.
        progress: called after every evaluation.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`; or the folder holds
            another run.
        IsolationError: the isolation cannot be had.
        SearchError: the evaluator does not work.
        TrustError: the evaluator is in quarantine, or was put there by this search.
    """
    from .shadow.isolation.compiled import CompiledOptions
    from .shadow.policy import ScorePolicy
    from .shadow.program_policy import ProgramPolicy
    from .shadow.search.driver import Options
    from .shadow.search.wiring import Arena, search

    trace, target = opened(traces, hook, incumbent, invariants)
    folder = Path(out) if out is not None else RUNS / trace.hook
    chosen, base = options or Options(), target.incumbent
    runs = engine or CompiledOptions(seed=chosen.seed, workers=chosen.parallel)
    own = tuple(each for each in target.invariants if each not in target.kind.invariants)
    arena = Arena.of(target.kind, trace, replace(runs, invariants=(*runs.invariants, *own)))
    written = isinstance(base, ScorePolicy | ProgramPolicy)
    measured = None if written else base
    if isinstance(base, ScorePolicy | ProgramPolicy):
        chosen = replace(chosen, incumbent=base.source)
    found = search(
        arena,
        chosen,
        folder,
        incumbent=measured,
        progress=progress,
        ledger=Path(ledger),
        actor=acting(),
    )
    return replace(found, folder=folder)


def verify(
    policy: str | Path,
    traces: str | Path = TRACES,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    against: Mapping[str, str] | Sequence[str | Path] = (),
    ledger: str | Path = LEDGER,
    out: str | Path | None = None,
    options: VerifyOptions | None = None,
    regressions: str | Path | None = REGRESSIONS,
    progress: Callable[[GateResult], None] | None = None,
) -> Verdict:
    """Put a candidate through the gates; return the verdict, with the file it was written to.

    Args:
        policy: a file, as for :func:`replay` and :func:`ship`: a ``Path``, or a text of one line that
            ends in ``.py`` or names a file; any other text is the candidate's source.
        traces, hook, incumbent, invariants: as for :func:`opened`.
        against: further policies to predict the effect against: files, as for :func:`rivals`, or
            sources by the name that the prediction shall have.
        ledger: takes the verdict, and counts openings of the holdout.
        out: verdict file; ``.gnomon/verdicts/DIGEST.json`` when None.
        options: isolation, seed and limits, and who asks; see :func:`acting` when it names nobody.
        regressions: folder of decisions that earlier candidates got wrong, which are asked first, and to
            which what is found now is added; None asks and keeps none.
        progress: called with every gate's answer.

    Raises:
        TraceError, ConfigurationError, LanguageError: as :func:`opened`, and for ``against``; what
            is wrong with the candidate is a verdict. ConfigurationError: its file cannot be read.
        IsolationError: the isolation cannot be had.
        TrustError: the ledger does not hold.
    """
    from .policies.rollout.ledger import Ledger
    from .shadow.gates.case import VerifyOptions
    from .shadow.gates.regressions import Regressions
    from .shadow.gates.verify import verify as judge
    from .shadow.policy import source_of

    source = source_of(Path(policy)) if _names_file(policy) else _text(str(policy))
    trace, target = opened(traces, hook, incumbent, invariants)
    others = against if isinstance(against, Mapping) else rivals(against, target)
    path = _writable(Path(out)) if out else None
    chosen = options or VerifyOptions()
    with closing(Ledger(Path(ledger))) as book:
        verdict = judge(
            trace,
            source,
            target,
            ledger=book,
            against=others,
            options=replace(chosen, actor=chosen.actor or acting()),
            regressions=Regressions(regressions) if regressions is not None else None,
            progress=progress,
        )
    return verdict.save(path or VERDICTS / f"{verdict.digest[:16]}.json")


def _text(source: str) -> str:
    """Return a source that has bytes, and so a digest."""
    try:
        source.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"the policy's source is no Unicode text ({error.reason}); give it as printable ASCII"
        ) from error
    return source


def _names_file(policy: str | Path) -> bool:
    """Return whether this is a file and no source; a source has more than one line."""
    if isinstance(policy, Path):
        return True
    if "\n" in policy or "\0" in policy or len(policy) > _LONGEST_PATH:
        return False
    return policy.endswith(".py") or Path(policy).is_file()


def _writable(path: Path) -> Path:
    """Return a path that can be written; found out now, before a holdout is opened for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written; name another file")
    return path


def list_invariants(
    hook: str = "", *, kind: str = "", invariants: str | Path | None = None
) -> InvariantList:
    """Return which invariants a hook is held to, and where each is asked.

    Args:
        hook: ``module:attribute`` of the decorated function or cache, which is imported.
        kind: name of a kind, for its own alone.
        invariants: file of suggestions, confirmed or not.

    Raises:
        ConfigurationError: not one of hook and kind, or one that names nothing; a bad file.
        TrustError: an invariant was changed after it was confirmed.
    """
    from .policies.registry import kind as kind_named
    from .shadow.invariants.listing import listed
    from .shadow.policy import hook_at

    if bool(hook) == bool(kind):
        raise ConfigurationError("name either a hook, as module:attribute, or a kind")
    if kind:
        return listed(kind_named(kind), file=invariants)
    found = hook_at(hook)
    return listed(found.kind, tuple(found.invariants), found.name, invariants)


def check_invariants(
    traces: str | Path = TRACES,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    show: int = 3,
    ledger: str | Path | None = None,
) -> InvariantCheck:
    """Ask every decision invariant about every decision: recorded ones, or those of a replay.

    Args:
        traces, hook, invariants: as for :func:`opened`.
        incumbent: ``recorded``, or a policy to replay; None takes what was recorded where decisions
            were, else the incumbent as :func:`opened` finds it.
        show: violations that are kept of each invariant.
        ledger: file that takes an entry of the check, by :func:`acting`; None takes none.

    Raises:
        TraceError, ConfigurationError, LanguageError, TrustError: as :func:`opened`; or the policy's
            decisions cannot be seen.
    """
    from .shadow.invariants.checking import check
    from .shadow.invariants.decisions import decided

    found = check(decided(traces, hook, incumbent, invariants), show)
    if ledger is not None:
        with closing(_ledger(ledger)) as book:
            found.record(book, acting())
    return found


def _ledger(path: str | Path) -> Ledger:
    from .policies.rollout.ledger import Ledger

    return Ledger(Path(path))


def suggest_invariants(
    traces: str | Path = TRACES,
    out: str | Path | None = None,
    *,
    hook: str | None = None,
    incumbent: str | None = None,
    invariants: str | Path | None = None,
    seed: int = 0,
) -> Suggested:
    """Say which rules the decisions of a trace keep; none of them counts before somebody confirms it.

    Args:
        traces, hook, incumbent, invariants: as for :func:`check_invariants`.
        out: file to be written; None writes none.
        seed: of the other choices that rules are tried on.

    Raises:
        TraceError: too few decisions, or none had a choice; and as :func:`check_invariants`.
        ConfigurationError: the file exists already; and as :func:`check_invariants`.
    """
    from .shadow.invariants.decisions import decided
    from .shadow.invariants.mining import mine
    from .shadow.invariants.suggesting import Suggested

    path = _writable(Path(out)) if out is not None else None
    if path is not None and path.exists():
        raise ConfigurationError(f"{path} exists already; name another file, or remove it")
    found = mine(decided(traces, hook, incumbent, invariants), seed)
    if path is not None:
        found.file.save(path)
    return Suggested(found.file, path, found.tested, found.refuted, found.trivial, found.implied)


def confirm_invariants(
    file: str | Path,
    names: Sequence[str],
    *,
    by: str = "",
    severity: Severity = "block",
    ledger: str | Path | None = None,
) -> Suggested:
    """Confirm suggestions of a file, so that they count from now on.

    Args:
        file: that :func:`suggest_invariants` wrote.
        names: of the suggestions.
        by: who confirms; see :func:`acting` when empty.
        severity: ``block`` or ``warn``; what only describes the traffic warns in any case.
        ledger: file that takes an entry of each; None takes none.

    Raises:
        ConfigurationError: no such file, suggestion or severity.
        TrustError: a suggestion was changed after it was confirmed; or the ledger is none.
    """
    from .shadow.invariants.confirming import confirmed
    from .shadow.invariants.suggesting import Suggested

    with ExitStack() as stack:
        book = stack.enter_context(closing(_ledger(ledger))) if ledger is not None else None
        path = Path(file)
        made = confirmed(path, names, by or acting(), severity, time.time_ns(), book)
    return Suggested(made, path)


def load_invariants(
    marked: object, file: str | Path, *, ledger: str | Path | None = None
) -> tuple[Invariant, ...]:
    """Hold a hook to what somebody confirmed in a file of suggestions; for a service, beside the hook.

    Args:
        marked: the decorated function, or a cache.
        file: that :func:`confirm_invariants` wrote.
        ledger: file that must know every confirmation; None asks none.

    Returns:
        The invariants that were added.

    Raises:
        ConfigurationError: not a hook, a bad file, one for another hook, or a name that is taken.
        TrustError: an invariant was changed after it was confirmed, or the ledger does not know it.
    """
    from .sdk.hook import held_by
    from .sdk.rules.file import read_suggestions

    hook = held_by(marked)
    found = read_suggestions(file)
    if ledger is not None:
        from .shadow.invariants.confirming import require_recorded

        with closing(existing_ledger(ledger)) as book:
            require_recorded(found, Path(file), book)
    made = found.invariants(hook.kind, hook.name)
    for each in made:
        hook.add_invariant(each)
    return made


def ship(
    verdict: Verdict | str | Path,
    control_plane: str | Peer = "",
    *,
    publisher_key: str | Path,
    rollout_key: str | Path | None = None,
    policy: str | Path | None = None,
    ramp: Ramp | None = None,
    ledger: str | Path = LEDGER,
    actor: str = "",
    override: str = "",
    bundle_out: str | Path | None = None,
) -> Shipped:
    """Sign an accepted policy as a bundle with a ramp plan, and begin its rollout.

    Args:
        verdict: that :func:`verify` returned, or its file; the ledger must vouch for the file.
        control_plane: ``host:port``, with TLS as in ``GNOMON_TLS_*``; ``$GNOMON_CONTROL_PLANE``, or
            this machine's at its usual port, when empty.
        publisher_key: private key file; signs bundle and plan.
        rollout_key: public key file of the control plane, which the plan allows to sign manifests;
            ``rollout.pub`` beside the publisher's key when None.
        policy: source or bundle file that the verdict must be on; None takes the verdict's source.
        ramp: weights, blocks and levels.
        ledger: that holds the verdict.
        actor: who ships; see :func:`acting` when empty.
        override: a reason for shipping what was not accepted; it goes into the provenance and so
            into the control plane's ledger. Empty refuses.
        bundle_out: file that also receives the signed bundle.

    Raises:
        TrustError: the ledger does not vouch for the verdict, its evaluator is in quarantine, or a key is
            wrong.
        ConfigurationError: a file is missing or wrong.
        RolloutError: the verdict is not an acceptance of this policy, or the control plane refuses.
        UnavailableError: the control plane does not answer.
    """
    from .policies.rollout.client import RolloutClient
    from .policies.rollout.shipping import Ramp, sign_plan
    from .sdk.bundle import save_bundle
    from .shadow.bundling import bundle_for, naming, plan_for, require_whole
    from .shadow.report.rollouts import Rollout, Shipped

    found = _vouched(verdict, ledger)
    publisher, pinned = _keys(Path(publisher_key), rollout_key)
    given = Path(policy) if policy else None
    require_whole(given, publisher)
    envelope = bundle_for(found, publisher, given, override=override)
    chosen = ramp or Ramp()
    plan_for(found, envelope, chosen, pinned, INCUMBENT)  # a bad ramp is refused, whoever answers
    out = Path(bundle_out) if bundle_out is not None else None
    with (
        RolloutClient(control_plane or _usual()) as client,
        naming(Path(publisher_key), given, client.peer.address),
    ):
        payload = plan_for(found, envelope, chosen, pinned, client.stable(found.hook))
        if out is not None:
            save_bundle(out, envelope)
        begun = client.create(envelope, sign_plan(payload, publisher), actor or acting())
    return Shipped(Rollout.of(begun), client.peer.address, found.digest, chosen.weights, out)


def _vouched(verdict: Verdict | str | Path, ledger: str | Path) -> Verdict:
    """Return a verdict that the ledger vouches for, and whose evaluator is not in quarantine."""
    from .shadow.gates.evaluator import require_trusted
    from .shadow.gates.verdict import load_verdict

    with closing(existing_ledger(ledger)) as book:
        found = load_verdict(_file(verdict), book)
        require_trusted(book, found.evaluator, f"verdict {found.digest[:12]}")
    return found


def _keys(
    publisher: Path, rollout: str | Path | None
) -> tuple[Ed25519PrivateKey, Ed25519PublicKey]:
    """Return the key that signs, and the control plane's that the plan allows to."""
    from .sdk import keys

    private = keys.load_private(publisher)
    pinned = keys.load_public(rollout or publisher.with_name(ROLLOUT_KEY), "rollout")
    keys.check_separate(pinned, (private.public_key(),))
    return private, pinned


def rollout(
    rollout: str = "",
    control_plane: str | Peer = "",
    *,
    order: str = "",
    reason: str = "",
    actor: str = "",
) -> Rollout:
    """Return a rollout as it stands; with an order, as it stands once that is carried out.

    After an order, up to two seconds are waited for all processes to acknowledge it.

    Args:
        rollout: its id; the newest one when empty.
        control_plane: as for :func:`ship`.
        order: ``hold``, ``resume``, ``promote``, ``abort``, ``retry``, ``kill`` or ``recalibrated``.
        reason: why, for the ledger; ``promote`` and ``kill`` need one.
        actor: who orders; see :func:`acting` when empty.

    Raises:
        RolloutError: no such rollout, or its state does not allow the order.
        UnavailableError: the control plane does not answer.
    """
    from .policies.rollout.client import RolloutClient, acknowledged
    from .shadow.report.rollouts import Rollout

    with RolloutClient(control_plane or _usual()) as client:
        if not order:
            return Rollout.of(client.get(rollout))
        request = secrets.token_hex(8)
        done = client.act(rollout, order, actor or acting(), reason, request)
        return Rollout.of(acknowledged(client, done))


def follow(
    rollout: str = "",
    control_plane: str | Peer = "",
    progress: Callable[[Rollout], object] = lambda _rollout: None,
) -> Rollout:
    """Watch a rollout until nothing more will happen by itself; return it as it ended.

    Args:
        rollout: its id; the newest one when empty.
        control_plane: as for :func:`ship`.
        progress: is told every change.

    Raises:
        RolloutError: no such rollout.
        UnavailableError: the control plane does not answer, or went away.
    """
    from .policies.rollout.client import RolloutClient
    from .policies.rollout.client import follow as watch
    from .shadow.report.rollouts import Rollout

    def tell(found: rollouts_pb2.Rollout) -> None:
        progress(Rollout.of(found))

    with RolloutClient(control_plane or _usual()) as client:
        return Rollout.of(watch(client, client.get(rollout).id, tell))


def _usual() -> str:
    return os.environ.get("GNOMON_CONTROL_PLANE") or CONTROL_PLANE


def _file(verdict: Verdict | str | Path) -> Path:
    """Return the file of a verdict."""
    if isinstance(verdict, str | Path):
        return Path(verdict)
    if verdict.path is None:
        raise ConfigurationError("this verdict was not saved; ship what verify returned")
    return verdict.path


def doctor(control_plane: str = "", otlp_endpoint: str = "") -> Diagnosis:
    """Look at what this machine has for Gnomon; needs the base install only.

    Args:
        control_plane: ``host:port`` to reach; as in ``GNOMON_CONTROL_PLANE`` when empty.
        otlp_endpoint: to reach; as in ``OTEL_EXPORTER_OTLP_ENDPOINT`` when empty.
    """
    from .commands._checks import diagnose
    from .commands._probes import this_machine

    return diagnose(this_machine(), control_plane, otlp_endpoint)


def existing_ledger(path: str | Path) -> Ledger:
    """Open a ledger that is there already; raises ConfigurationError where there is none."""
    from .policies.rollout.ledger import Ledger

    if not Path(path).is_file():
        raise ConfigurationError(f"ledger {path} does not exist; name the right one with --ledger")
    return Ledger(path)


def acting() -> str:
    """Return who gives an order: ``$GNOMON_ACTOR``, or the name of the user."""
    try:
        return os.environ.get("GNOMON_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


__all__ = [
    "acting",
    "check_invariants",
    "confirm_invariants",
    "doctor",
    "evolve",
    "existing_ledger",
    "follow",
    "list_invariants",
    "load_invariants",
    "opened",
    "policy_named",
    "replay",
    "rivals",
    "rollout",
    "ship",
    "source_digest",
    "suggest_invariants",
    "traces",
    "verify",
]
