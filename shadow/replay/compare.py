"""Replay traces under any number of policies and compare them with the incumbents.

replay_plan.py     what is asked for, as traces, policies and levels of service
replay_cells.py    what one policy did on one trace, in numbers
replay_bench.py    cells by name, and what a process needs to measure them
replay_pool.py     processes that measure cells (replay_worker.py is what runs in them)
replay_store.py    the folder that finished cells are kept in
replay_effects.py  changes against the incumbent, with intervals
replay_table.py    the comparison as a value
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ...policies.listing import BASELINE
from ...policies.registry import kind as kind_named
from ...sdk.errors import TraceError
from ..fidelity import REPLICAS, Fidelity, compared
from ..policy import Policy, baseline_policy
from ..simulators import save_calibrations, simulator_for
from ..traces.trace import Trace
from .bench import Bench, Entrant, Job, Result, code_of, joined
from .cells import Setting, Slo, bound_of, measured, measured_of, replayed, tier_of
from .effects import seed_of_blocks
from .plan import BATCH, Plan, Recorded, ReplayOptions, planned
from .pool import Pool
from .store import REPORT, TABLE, RunFolder, write_whole
from .table import Compared, OverallRow, PolicyRow, ReplayTable, table_of

__all__ = [
    "OverallRow",
    "PolicyRow",
    "ReplayOptions",
    "ReplayTable",
    "compare",
    "planned",
    "replay",
]

Progress = Callable[[str], None]


def replay(
    trace: Trace,
    policies: Sequence[Policy] = (),
    *,
    incumbent: Policy,
    replicas: int = REPLICAS,
    seed: int = 0,
    slos: Sequence[Slo] = (),
    progress: Progress = lambda _line: None,
) -> ReplayTable:
    """Replay a trace under the incumbent and other policies, all with the same luck, in this process.

    Args:
        trace: as recorded under the incumbent.
        policies: to compare; all published policies of the kind when empty.
        incumbent: the policy that was in production.
        replicas: replays per policy, with seeds from ``seed`` on.
        seed: of all draws.
        slos: levels of service that a good decision meets.
        progress: is told what happens next, one line at a time.

    Raises:
        TraceError: the trace cannot be calibrated on or compared within.
        ConfigurationError: the incumbent cannot be replayed.
    """
    kind = kind_named(trace.kind)
    simulator = simulator_for(kind)
    progress(_calibrating(trace))
    setting = Setting(trace, simulator, simulator.calibrate(trace), tuple(slos))
    seeds = range(seed, seed + replicas)
    progress(f"replaying {incumbent.name} {replicas} times")
    base = list(replayed(incumbent, setting, seeds))
    faithful = compared(
        trace,
        base,
        simulator,
        policy=incumbent.name,
        calibration=setting.calibration.digest,
        seed=seed,
    )
    others = policies or [baseline_policy(name, kind) for name in kind.baselines]
    rows = []
    for policy in others:
        if policy is not incumbent:
            progress(f"replaying {policy.name} {replicas} times")
            rows.append((policy.name, measured(policy, setting, seeds)))
    first = (incumbent.name, measured_of(tier_of(incumbent, simulator), base, setting))
    bound = bound_of(setting, seeds)
    drawn = seed_of_blocks(seed, trace.digest)
    return table_of([Compared(trace.hook, None, setting, first, rows, faithful, bound, drawn)])


def _calibrating(trace: Trace) -> str:
    return f"calibrating on {len(trace)} decisions (compiling, when run for the first time)"


def compare(plan: Plan, progress: Progress = lambda _line: None) -> ReplayTable:
    """Replay every trace, at every size, under its incumbent and all policies of a plan.

    The result is the same for any number of workers. Cells that are finished stay in the plan's folder,
    whatever ends the call.

    Args:
        plan: from :func:`planned`.
        progress: is told what happened, one line at a time, with an estimate of the time that is left.

    Raises:
        TraceError: a trace cannot be calibrated on or compared within.
        ConfigurationError: the kind has no size, a policy cannot be replayed, or a process died.
        IsolationError: the isolation cannot be had.
    """
    out = plan.options.out
    folder = RunFolder(out, plan.options.resume) if out else None
    with _workplace(folder) as place:
        made = _copied(plan, place / "policies")
        arenas = [
            _arena(recorded, size, place, made, progress)
            for recorded in made.recorded
            for size in plan.options.sizes or (None,)
        ]
        results = _all_results(made, arenas, folder, progress)
    table = table_of([_compared(arena, results, made) for arena in arenas])
    if folder is not None:
        write_whole(folder.path / TABLE, json.dumps(table.as_json(), indent=2, sort_keys=True))
        table.report(folder.path / REPORT)
    return table


@contextmanager
def _workplace(folder: RunFolder | None) -> Iterator[Path]:
    """Yield a folder for what the workers read; a run's own keeps the policies."""
    with tempfile.TemporaryDirectory(prefix="gnomon-replay-") as name:
        yield Path(name)
        if folder is not None and (Path(name) / "policies").is_dir():
            shutil.copytree(Path(name) / "policies", folder.path / "policies", dirs_exist_ok=True)


def _copied(plan: Plan, folder: Path) -> Plan:
    """Return the plan with copies of all files: what is edited meanwhile changes nothing."""
    folder.mkdir()

    def kept(entrant: Entrant) -> Entrant:
        path = Path(entrant.text)
        if entrant.text.startswith(BASELINE) or not path.is_file():
            return entrant
        copy = folder / f"{path.stem}-{entrant.digest[:12]}.py"
        shutil.copyfile(path, copy)
        return replace(entrant, text=str(copy))

    recorded = tuple(replace(each, incumbent=kept(each.incumbent)) for each in plan.recorded)
    return replace(plan, recorded=recorded, policies=tuple(kept(each) for each in plan.policies))


@dataclass(frozen=True, eq=False)
class _Arena:
    """A trace at one size, calibrated, with the cells that are wanted of it."""

    recorded: Recorded
    size: float | None
    label: str
    setting: Setting
    jobs: tuple[Job, ...]  # those of the incumbent first


def _arena(
    recorded: Recorded, size: float | None, place: Path, plan: Plan, progress: Progress
) -> _Arena:
    simulator = simulator_for(recorded.kind)
    trace = recorded.trace if size is None else simulator.sized(recorded.trace, size)
    progress(_calibrating(trace))
    calibration = simulator.calibrate(trace)
    path = place / f"{calibration.digest[:16]}-{recorded.trace.digest[:16]}.npz"
    save_calibrations(path, (calibration,))
    label = recorded.label if size is None else f"{recorded.label} at {100.0 * size:.4g}%"
    setting = Setting(trace, simulator, calibration, plan.slos)
    jobs = _jobs(recorded, size, path, place, plan)
    return _Arena(recorded, size, label, setting, jobs)


def _jobs(
    recorded: Recorded, size: float | None, calibration: Path, place: Path, plan: Plan
) -> tuple[Job, ...]:
    """Return the cells of all policies in batches, but the incumbent's whole: fidelity needs all at once."""
    options = plan.options
    whole = Job(
        trace=str(_shared(recorded, place) if options.workers > 1 else recorded.trace.digest),
        size=size,
        calibration=str(calibration),
        entrant=recorded.incumbent,
        first=options.seed,
        count=options.replicas,
        slos=plan.slos,
        faithful=size is None,
        bounded=True,
        isolation=options.isolation,
        files=tuple(p.text for p in plan.policies if not p.text.startswith(BASELINE)),
        held=recorded.held,
    )
    batches = [
        (options.seed + at, min(BATCH, options.replicas - at))
        for at in range(0, options.replicas, BATCH)
    ]
    others = (
        replace(whole, entrant=each, first=first, count=count, faithful=False, bounded=False)
        for each in plan.entrants(recorded)
        for first, count in batches
    )
    return (whole, *others)


def _shared(recorded: Recorded, place: Path) -> Path:
    """Return a folder that workers map the trace from, written once."""
    if recorded.source.endswith(".trace"):
        return Path(recorded.source).absolute()
    path = place / f"{recorded.trace.digest[:32]}.trace"
    if not path.exists():
        recorded.trace.save(path)
    return path


def _all_results(
    plan: Plan, arenas: Sequence[_Arena], folder: RunFolder | None, progress: Progress
) -> Mapping[Job, Result]:
    """Return the results of all cells; those that the folder holds are not measured again."""
    keys = {
        job: job.key(
            arena.recorded.trace.digest,
            arena.setting.calibration.digest,
            code_of(arena.setting.simulator),
        )
        for arena in arenas
        for job in arena.jobs
    }
    results = {}
    for job, key in keys.items():
        known = folder.kept(key) if folder else None
        if known is not None:
            results[job] = known
    left = [job for job in keys if job not in results]
    if results:
        progress(f"{len(results)} of {len(keys)} cells are kept from before")
    begun = time.monotonic()
    with closing(_measured(plan, arenas, left, progress)) as measuring:
        for done, (job, result) in enumerate(measuring, 1):
            results[job] = result
            if folder is not None:
                folder.keep(keys[job], result)
            progress(_how_far(done, len(left), time.monotonic() - begun))
    return results


def _measured(
    plan: Plan, arenas: Sequence[_Arena], jobs: Sequence[Job], progress: Progress
) -> Generator[tuple[Job, Result]]:
    """Yield cells as they end: one after the other here, or by as many processes as are wanted."""
    if plan.options.workers == 1:
        traces = {arena.recorded.trace.digest: arena.recorded.trace for arena in arenas}
        with Bench(traces) as bench:
            for job in jobs:
                progress(f"replaying {job.entrant.name} {job.count} times")
                yield job, bench.run(job)
        return
    with Pool(min(plan.options.workers, max(len(jobs), 1))) as pool:
        for index, result in pool.measured(jobs):
            yield jobs[index], result


def _how_far(done: int, of: int, seconds: float) -> str:
    left = seconds / done * (of - done)
    return f"{done}/{of} cells, about {left:.0f} s left" if done < of else f"{of}/{of} cells"


def _compared(arena: _Arena, results: Mapping[Job, Result], plan: Plan) -> Compared:
    whole = results[arena.jobs[0]]
    incumbent = arena.recorded.incumbent
    if whole.measured.fault:
        raise TraceError(f"incumbent {incumbent.name!r} failed in its replay; give another one")
    of: dict[Entrant, list[Result]] = {each: [] for each in plan.entrants(arena.recorded)}
    for job in arena.jobs[1:]:
        of[job.entrant].append(results[job])
    others = [(each.name, joined(found).measured) for each, found in of.items()]
    return Compared(
        arena.label,
        arena.size,
        arena.setting,
        (incumbent.name, whole.measured),
        others,
        whole.fidelity or _unrecorded(incumbent, arena, plan),
        -float("inf") if whole.bound is None else whole.bound,
        seed_of_blocks(plan.options.seed, arena.recorded.trace.digest),
    )


def _unrecorded(incumbent: Entrant, arena: _Arena, plan: Plan) -> Fidelity:
    """Return what can be said of a size at which nothing was recorded."""
    digest = arena.setting.calibration.digest
    return Fidelity((), "nothing recorded", incumbent.name, plan.options.replicas, digest)
