"""Guards, and what takes each of them away while a simulation runs."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from .world import Run, World, simulate


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard that is taken away.

    Attributes:
        guard: what it is.
        where: module and qualified name of the function that holds it, after ``gnomon.``.
        old, new: text in that function, and text in its place.
        breaks: properties of which the simulation may name any.
        weather: troubles that make it matter.
    """

    guard: str
    where: str
    old: str
    new: str
    breaks: tuple[str, ...]
    weather: Mapping[str, Any] = field(default_factory=dict)


_RESTARTS = {"plane_crash": 0.2, "orders": 0.4}
_CRASHES = {"crash": 0.2, "replay": 0.2, "lose_state": 0.0}
_WRITES = {"writes": 0.08, "orders": 0.3}
_RESTORES = {"restores": 0.3, "keys": 0.0, "lose_state": 0.0}
_KEYS = {"keys": 0.5, "partition": 0.05}
MUTANTS = (
    Mutant(
        "older epochs are refused",
        "sdk.manifest:ManifestGuard._check_epoch",
        "if manifest.epoch < max(self.epoch, 1):",
        "if False:",
        ("superseded",),
        {"replay": 0.3, "orders": 0.4, "seconds": 60.0},
    ),
    Mutant(
        "an older renewal is none",
        "sdk.manifest:ManifestGuard._renewal",
        "if issued < before:",
        "if False:",
        ("expired", "superseded"),
        {"replay": 0.6, "partition": 0.1, "orders": 0.0, "plane_crash": 0.0},
    ),
    Mutant(
        "the same renewal extends nothing",
        "sdk.manifest:ManifestGuard._renewal",
        "if issued == before and current.lease_until_ns:",
        "if False:",
        ("expired", "superseded"),
        {"replay": 0.6, "partition": 0.1, "orders": 0.0, "plane_crash": 0.0},
    ),
    Mutant(
        "signatures are checked",
        "sdk.dsse:_verify_any",
        "if not any(",
        "if False and not any(",
        ("unsigned",),
        {"forge": 0.5},
    ),
    Mutant(
        "leases end",
        "sdk.arms:_turn",
        "if now.monotonic_ns >= assignment.lease_until_ns:",
        "if False:",
        ("expired",),
        {"partition": 0.1},
    ),
    Mutant(
        "no candidate comes back from disk",
        "sdk.manifest:ManifestGuard._restored",
        "return Admitted(manifest, plan, 0, saved)",
        "return Admitted(manifest, plan, 1 << 62, saved)",
        ("expired",),
        {"crash": 0.1, "lose_state": 0.0},
    ),
    Mutant(
        "epochs are remembered on disk",
        "sdk.holdings:Holdings._apply",
        "if step.save is not None:",
        "if False:",
        ("superseded", "unsigned", "killed"),
        _CRASHES,
    ),
    Mutant(
        "weights are the plan's",
        "policies.rollout.states:State.weight",
        "return self.plan.weights[self.step]",
        "return min(1.0, 1.5 * self.plan.weights[self.step])",
        ("weight",),
    ),
    Mutant(
        "a kill is published as one",
        "policies.rollout.states:State.target",
        "if self.killed:",
        "if False:",
        ("killed",),
        {"orders": 0.4},
    ),
    Mutant(
        "a kill is remembered",
        "policies.rollout.codec:from_json",
        'killed=data["killed"]',
        "killed=False",
        ("killed",),
        _RESTARTS,
    ),
    Mutant(
        "stored before published",
        "policies.rollout.commits:Commits.enter",
        "    self._store.save(_row(new, after), told, request_id)\n    desk.become(new)\n",
        "    desk.become(new)\n    self._desks.note(after)\n    if moved:\n"
        "        self._published(desk.hook)\n"
        "    self._store.save(_row(new, after), told, request_id)\n",
        ("epochs", "ledger", "orders", "killed"),
        _WRITES,
    ),
    Mutant(
        "what was not stored has not happened",
        "policies.rollout.commits:Commits.enter",
        "new = replace(desk, plan=plan or desk.plan)",
        "new = desk",
        ("ledger", "orders", "epochs"),
        {"disk_full": 0.3, "orders": 0.3},
    ),
    Mutant(
        "a request is carried out once",
        "policies.rollout.commits:Commits.enter",
        "self._store.save(_row(new, after), told, request_id)",
        "self._store.save(_row(new, after), told)",
        ("orders",),
        {"orders": 0.5},
    ),
    Mutant(
        "epochs go on after a restart",
        "policies.rollout.restoring:restore",
        "desks[hook].epoch = epoch",
        "desks[hook]",
        ("epochs",),
        _RESTARTS,
    ),
    Mutant(
        "nothing is accounted for twice",
        "policies.rollout.backlog:Backlog.resume",
        'self._ahead = {entry.body.get("event", 0) for entry in self._ledger.list()}',
        "self._ahead = set()",
        ("ledger",),
        _RESTARTS,
    ),
    Mutant(
        "nothing is left out of the ledger",
        "policies.rollout.backlog:Backlog.resume",
        "    self.account()\n",
        "    self._accounted = len(self._store.events(0))\n",
        ("ledger",),
        {"writes": 0.08, "disk_full": 0.2, "plane_crash": 0.1},
    ),
    Mutant(
        "blocks of an earlier attempt do not count",
        "policies.rollout.moves:opened",
        "now + SETTLE_NS",
        "now - 20 * state.plan.block_ns",
        ("evidence",),
    ),
    Mutant(
        "an epoch seen elsewhere is overtaken",
        "policies.rollout.fleet:Fleet.hello",
        "if desk.epoch < hook.epoch < _MAX_EPOCH:",
        "if False:",
        ("apart",),
    ),
    Mutant(
        "what a revoked key signed ends in a process",
        "sdk.session:HookPolicy.trust",
        "self.guard.trust(anchors)",
        "pass",
        ("keys",),
        _KEYS,
    ),
    Mutant(
        "key files are read again",
        "sdk.holdings:Holdings.trust",
        "self._install(name, assignment)",
        "pass",
        ("keys",),
        _KEYS,
    ),
    Mutant(
        "the control plane takes back what a revoked key signed",
        "policies.rollout.identity:Trust._lapse",
        "if desk.state is None:",
        "if True:",
        ("keys",),
        _KEYS,
    ),
    Mutant(
        "what cannot be taken back at once is later",
        "policies.rollout.identity:Trust.lapse",
        "if lapse is None:",
        "if True:",
        ("keys",),
        _KEYS | {"disk_full": 0.2},
    ),
    Mutant(
        "what a process remembers is heard",
        "policies.rollout.anchors:Witnesses.say",
        "if not problem:",
        "if True:",
        ("witness",),
        _RESTORES,
    ),
    Mutant(
        "a store that is older than its ledger is refused",
        "policies.rollout.backlog:check_complete",
        "if told > stored:",
        "if False:",
        ("older",),
        _RESTORES,
    ),
    Mutant(
        "without a scale only the sign is bet on",
        "policies.rollout.betting:size",
        "if not 0.0 < scale < math.inf:",
        "if False:",
        ("tick",),
    ),
)


@contextmanager
def without(mutant: Mutant) -> Iterator[None]:
    """Take a guard away; raises AssertionError where its text is not there exactly once."""
    name, _, where = mutant.where.partition(":")
    module: Any = importlib.import_module(f"gnomon.{name}")
    *outer, last = where.split(".")
    owner = getattr(module, outer[0]) if outer else module
    found = vars(owner)[last]
    plain = found.fget if isinstance(found, property) else found
    source = textwrap.dedent(inspect.getsource(plain))
    assert source.count(mutant.old) == 1, f"{mutant.where} holds {mutant.guard!r} no more"
    space: dict[str, Any] = {}
    changed = "from __future__ import annotations\n" + source.replace(mutant.old, mutant.new)
    code = compile(changed, f"<without {mutant.guard}>", "exec")
    exec(code, vars(module) | {"__name__": module.__name__}, space)  # noqa: S102 - our own source
    made = _homed(space[last], vars(module))
    with mock.patch.object(owner, last, property(made) if isinstance(found, property) else made):
        yield


def _homed(made: Any, home: dict[str, Any]) -> Any:
    """Return a function that looks its globals up in the module that it replaces one of."""
    made = made.fget if isinstance(made, property) else made
    homed = type(made)(made.__code__, home, made.__name__, made.__defaults__, made.__closure__)
    homed.__kwdefaults__ = made.__kwdefaults__
    return homed


def caught(mutant: Mutant, seeds: int) -> Run | None:
    """Return the first of so many worlds in which a guard is missed, or None."""
    with without(mutant):
        for seed in range(seeds):
            drawn = World(seed).weather
            run = simulate(seed, replace(drawn, **mutant.weather))
            if any(problem.split(":")[0] in mutant.breaks for problem in run.problems):
                return run
    return None
