"""What runtime and delivery see of a cache: its name, its policies, its records and counters."""

from __future__ import annotations

import random
import weakref
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..arms import check_assignment
from ..assignment import Assignment
from ..config import Settings
from ..errors import ConfigurationError
from ..guard import Answer, Chooser, Guarded, Host, preparer
from ..invariant import Invariant, refused_by, warned
from ..kind import Kind
from ..limits import Breaker, Breakers, Limits
from ..records import Record
from ..runtime import RUNTIME, Runtime
from .blocks import Blocks
from .contents import Plan, Rule
from .log import ROOM, AccessLog, Note
from .scored import Ask

if TYPE_CHECKING:
    from ..session import Measure

_SHADOW = ("decisions", "diverged", "faults", "violations", "warnings", "shed")


class CacheHook:
    """The hook of one cache.

    The cache and the hook share flags and a ring: delivery and drainer never touch the contents, so
    that a cache without locks stays the caller's alone.

    Args:
        name: of the hook.
        kind: ``cache``.
        maxsize: of the cache.
        incumbent: name of the policy in the service's own source.
        sample: share of keys that is recorded, on top of the process's own.
        ttl: seconds that an object has; 0 for ever.
        limits: when a policy is taken back; None for the process's own.

    Attributes:
        changed: whether the cache should look up, at its next operation, what it runs.
        note: takes an access; None while nothing is recorded.
        measure: set by delivery.
        blocks: lookups of a canary.
        counts: what happened, by name.
        broken: how often each invariant did not hold, by name; of those of severity ``warn`` only answers
            of programs are looked at.
        ended: whether the cache was closed, or is gone.
        killed: why policies may not decide in this process, whatever is installed; empty while they may.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        maxsize: float,
        incumbent: str,
        sample: float,
        ttl: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.changed = False
        self.note: Note | None = None
        self.measure: Any = None
        self.ended = False
        self.killed = ""
        self._limits = limits
        self._breakers = Breakers(self._tripped)
        self._maxsize = maxsize
        self._incumbent = incumbent
        self._share = sample
        self._ttl = ttl
        self._runtime: Runtime = RUNTIME
        self._prepare = preparer(kind)
        self._choosers: dict[int, Chooser] = {}
        self._on = False
        self._assignment = Assignment()
        self._said = ""
        self._invariants = kind.invariants
        self.begin(Settings())

    @property
    def place(self) -> str:
        """What has the name."""
        return "a PolicyCache that is in use"

    def replaces(self, known: object) -> bool:
        """Return whether this cache may have the name of a known hook: of a cache that ended."""
        return isinstance(known, CacheHook) and known.ended

    def take_over(self, known: Any) -> None:
        """Go on with what delivery gave the hook that had the name before."""
        self.blocks = known.blocks
        self.measure = known.measure
        self._breakers = known.handed_over(self._tripped)
        self.install(known.assignment)

    def watch(self, cache: object) -> None:
        """Note when the cache is gone."""
        weakref.finalize(cache, self.end).atexit = False

    def end(self) -> None:
        """Record nothing more, and leave the name to others; what waits can still be drained."""
        self.off()
        self.ended = True

    # --- switching on and off -----------------------------------------------------------------

    def begin(self, settings: Settings) -> None:
        """Start with nothing counted and nothing waiting, as a new process does."""
        self.settings = settings
        self.clock = settings.clock
        self.blocks = Blocks(settings.clock.time_ns)
        self.counts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self._arm(self._assignment.epoch)
        self.log = self._log()
        self._said = ""

    def _log(self) -> AccessLog:
        s = self.settings
        return AccessLog(ROOM * s.ring_size, s.clock.time_ns, s.sample * self._share, self._ttl)

    def begin_again(self) -> None:
        """Start, while off, as a new process does."""
        self.begin(self.settings)

    def on(self, settings: Settings) -> None:
        """Begin to record and to run what is installed."""
        self.begin(settings)
        self._on = True
        self.changed = True

    def off(self) -> None:
        """Run the incumbent and record nothing from the next operation on."""
        self._on = False
        self.note = None
        self.changed = True

    def seeds(self) -> random.Random:
        """Return a generator of the cells' seeds."""
        return self.settings.generator(f"{self.name} cells")

    # --- what delivery needs ------------------------------------------------------------------

    @property
    def process_id(self) -> str:
        """Id of this process, 16 hexadecimal digits."""
        return self._runtime.process_id.hex()

    @property
    def invariants(self) -> tuple[Invariant, ...]:
        """Those of the kind and of the cache."""
        return self._invariants

    def add_invariant(self, added: Invariant) -> None:
        """Hold every program to one more invariant; raises ConfigurationError for a taken name."""
        if any(i.name == added.name for i in self._invariants):
            raise ConfigurationError(
                f"hook {self.name!r} already has an invariant {added.name!r}; pass another name="
            )
        self._invariants = (*self._invariants, added)
        self.changed = True

    @property
    def assignment(self) -> Assignment:
        """What was last installed."""
        return self._assignment

    @property
    def has_outcomes(self) -> bool:
        """Whether outcomes can be expected: every lookup is one."""
        return True

    @property
    def breaker(self) -> str:
        """Why a program was taken back in this process; empty when none was."""
        reasons = ((arm, self.breakers[arm].reason) for arm in ("candidate", "stable"))
        return next((f"{arm}: {reason}" for arm, reason in reasons if reason), "")

    @property
    def counters(self) -> dict[str, int]:
        """What happened in this process so far, by name.

        ``accesses = recorded + skipped + dropped`` once drained: kept; of keys outside the sample; no
        room. ``decisions`` are evictions that a program was asked about, ``lookups`` and ``misses``
        those that were drained.
        """
        log, counts = self.log, self.counts
        return {
            "decisions": counts["decisions"],
            "recorded": log.recorded,
            "skipped": log.skipped,
            "dropped": log.dropped,
            "lookups": log.lookups,
            "misses": log.misses,
            "foreign_keys": log.keys.foreign,
            "fallbacks": counts["features"] + counts["fault"] + counts["violation"],
            "unasked": counts["features"],
            "faults": counts["fault"],
            "violations": counts["violation"],
            "slow": counts["slow"],
            "breaker_trips": counts["breaker_trips"],
            "stale": counts["stale"],
            "warnings": counts["warnings"],
            **{f"shadow_{name}": counts[f"shadow_{name}"] for name in _SHADOW},
        }

    def new_measure(self) -> Measure:
        """Return a measure that reads what the cache counts."""
        from .blocks import CacheMeasure

        return CacheMeasure(self.blocks)

    def install(self, assignment: Assignment) -> None:
        """Run on another assignment from the next operation on; may be called from any thread.

        The breakers stay as they are while the epoch does. Raises ConfigurationError when the
        assignment lacks what its phase needs or reads unknown features.
        """
        check_assignment(assignment, self.kind)
        programs = [p for p in (assignment.stable, assignment.candidate) if p is not None]
        # Compiled here and not on the caller's thread.
        self._choosers = {id(program): self.chooser(program) for program in programs}
        self._arm(assignment.epoch)
        self._assignment = assignment
        self.changed = True

    def kill(self, why: str) -> None:
        """Run the incumbent from the next operation on, whatever is installed; an empty text ends that."""
        said, self.killed = why != self.killed, why
        if said:
            self.changed = True
            self._runtime.said(self, why)

    def _arm(self, epoch: int) -> None:
        """Have the breakers of an epoch: those that there are, where it is the same."""
        limits = self._limits or self.settings.limits
        arms = ("stable", "candidate")
        self.breakers = {arm: self._breakers.of(arm, epoch, limits) for arm in arms}

    def handed_over(self, tripped: Callable[[str], None]) -> Breakers:
        """Return the breakers as they stand, which tell another hook from now on."""
        self._breakers.tell(tripped)
        return self._breakers

    def chooser(self, program: Any) -> Chooser:
        """Make a program ready to be asked."""
        from ..language import chooser  # not needed before a program is installed

        return self._choosers.get(id(program)) or chooser(program, self.kind)

    def drain(self) -> list[Record]:
        """Return what was accessed since the last time, as records."""
        return self.log.drain()

    # --- what the cache needs -----------------------------------------------------------------

    def renewed(self) -> Plan:
        """Return what the cache runs from now on; called on its own thread."""
        self.changed = False  # first, so that what is installed meanwhile is not missed
        if not self._on:
            return Plan()
        self._runtime.started()
        plan = self._plan(self._assignment)
        self._say(plan)
        self.note = self.log.note
        return plan

    def _say(self, plan: Plan) -> None:
        """Record under which policy the accesses to come are answered."""
        digest = self._digest(plan.main.program)
        said = digest if plan.side is None else f"{digest}+{self._digest(plan.side.program)}"
        if said != self._said:
            self._said = said
            self.log.begin(self._maxsize, said)

    def _digest(self, program: Any) -> str:
        if program is None:
            return self._incumbent
        a = self._assignment
        return a.candidate_digest if program is a.candidate else a.stable_digest

    def _plan(self, a: Assignment) -> Plan:
        stable = self._rule(a.stable, "stable")
        if self.killed or a.phase == "killed":
            return Plan()
        if a.phase == "stable" or self.clock.monotonic_ns() >= a.lease_until_ns:
            self.counts["stale"] += a.phase != "stable"
            return Plan(stable)
        tripped = bool(self.breakers["candidate"].reason)
        candidate = stable if tripped else self._rule(a.candidate, "candidate")
        lease = a.lease_until_ns
        if a.phase == "full":
            return Plan(candidate, switchback=a.switchback, lease_ns=lease, fell_back=tripped)
        if a.phase == "shadow":
            beside = None if tripped else self._rule(a.candidate, "shadow")
            return Plan(stable, beside=beside, share=a.shadow_rate, lease_ns=lease)
        switchback = a.switchback
        if switchback is None or switchback.weight <= 0.0:
            return Plan(stable, lease_ns=lease)
        ghost = self._rule(a.stable, "ghost")
        return Plan(stable, candidate, ghost, switchback.weight, switchback, lease, tripped)

    def _rule(self, program: Any, role: str) -> Rule:
        """Return how a program is asked in one of its roles; the incumbent's rule once it was taken back."""
        breaker = self.breakers.get(role) or Breaker(self._limits or self.settings.limits, _nobody)
        if program is None or breaker.reason:
            return Rule()
        choose, host = self.chooser(program), self._host
        fuel = getattr(program, "fuel_bound", 1)

        def ready(generator: random.Random) -> Ask:
            guarded = Guarded(choose, self.kind, self.invariants, host(generator), breaker, fuel)
            return self._counted(guarded.ask, role)

        return Rule(program, ready)

    def _host(self, generator: random.Random) -> Host:
        return Host(
            self._prepare,
            generator.random,
            self.clock.monotonic_ns,
            self._limits or self.settings.limits,
            lambda: self.counts.update(slow=1),
        )

    def _counted(self, ask: Callable[..., Answer], role: str) -> Ask:
        """Count what a program is asked in a role; nobody is told of the ghost of the stable arm."""
        if role == "ghost":
            return ask
        counts, blocks, shadow = self.counts, self.blocks, role == "shadow"
        decisions = "shadow_decisions" if shadow else "decisions"
        warns = [each for each in self._invariants if each.asked_of("decision", "warn")]
        item = self.kind.item_type._make

        def counted(rows: list[tuple[float, ...]], since: list[int]) -> Answer:
            answer = ask(rows, since)
            counts[decisions] += 1
            if warns and answer[0] >= 0 and answer[2]:
                items = [*map(item, answer[2])]
                names = warned(warns, items, items[answer[0]])
                counts["shadow_warnings" if shadow else "warnings"] += len(names)
                self.broken.update(() if shadow else names)
            if answer[1]:
                reason = answer[1].partition(":")[0]
                counts[f"shadow_{reason}s" if shadow else reason] += 1
                self.broken.update(() if shadow else refused_by(answer[1]))
                if role == "candidate":
                    blocks.fallback()
            return answer

        return counted

    def _tripped(self, reason: str) -> None:
        self.counts["breaker_trips"] += 1
        self.changed = True
        self._runtime.tripped(self, reason)


def _nobody(reason: str) -> None:
    """Tell nobody: a program that runs beside is not in force."""
