"""Policies that can be replayed: published ones, sources, a service's own function, what was recorded."""

from __future__ import annotations

import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..policies.listing import BASELINE
from ..sdk.errors import ConfigurationError
from ..sdk.files import read_regular
from ..sdk.kind import Baseline, Kind
from ..sdk.language import check
from .simulators import simulator_for
from .simulators.base import Choose, FloatArray, Replay, Simulator, drive, drive_to_end
from .traces.job_trace import QueueTrace
from .traces.trace import DecisionTrace, Trace

if TYPE_CHECKING:
    from ..sdk.isolation.layers import IsolationMode, Limits
    from ..sdk.isolation.zygote import Zygote

Tier = Literal["built-in", "compiled", "plain Python", "out of process"]
RECORDED = "recorded"
_MOST_SOURCE = 1_000_000  # bytes; the policy language allows a fiftieth of it


class Policy(ABC):
    """A policy with a name that replays from fresh state every time.

    Attributes:
        name: for tables.
        tier: how it runs.
        layers: of isolation, around one that runs in a process of its own; none around others.
    """

    name: str
    tier: Tier
    layers: tuple[str, ...] = ()

    @abstractmethod
    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay a trace's workload under this policy."""

    def replays(
        self, simulator: Simulator, trace: Trace, calibration: Any, seeds: Sequence[int]
    ) -> list[Replay]:
        """Replay once per seed."""
        return [self.replay(simulator, trace, calibration, seed) for seed in seeds]


class ScorePolicy(Policy):
    """A trusted source in the policy language, compiled in this process.

    Raises:
        LanguageError: the source lies outside the language.
    """

    tier: Tier = "compiled"

    def __init__(self, name: str, source: str, kind: Kind) -> None:
        self.name = name
        self.source = source
        self._kind = kind
        self._program = check(
            source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
        )

    @cached_property
    def _score(self) -> Any:
        from .compiled import compile_score

        return compile_score(self._program)

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay with the compiled score."""
        return simulator.compiled(trace, calibration, seed, self._score, self._kind.order)


class IsolatedPolicy(Policy):
    """A source from outside: it decides in a process that sees nothing but observations.

    Args:
        name: for tables.
        source: in the policy language.
        kind: what is decided.
        zygote: clean process to fork from.

    Raises:
        LanguageError: the source lies outside the language.
    """

    tier: Tier = "out of process"

    def __init__(self, name: str, source: str, kind: Kind, zygote: Zygote) -> None:
        check(source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel)
        self.name = name
        self.source = source
        self._kind = kind
        self._zygote = zygote
        self.layers = zygote.layers

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay in lockstep with the candidate's process."""
        return self.replays(simulator, trace, calibration, (seed,))[0]

    def replays(
        self, simulator: Simulator, trace: Trace, calibration: Any, seeds: Sequence[int]
    ) -> list[Replay]:
        """Replay all seeds together; raises CandidateError when the candidate failed."""
        from .isolation.lockstep import LockstepCandidate, run_lockstep

        streams = [simulator.stream(trace, calibration, seed) for seed in seeds]
        with LockstepCandidate(self._zygote, self.source, self._kind) as candidate:
            return run_lockstep(candidate, streams)


class BuiltInPolicy(Policy):
    """A published policy that the language cannot express."""

    tier: Tier = "built-in"

    def __init__(self, name: str) -> None:
        self.name = name

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay with fresh state."""
        return simulator.replay_built_in(self.name, trace, calibration, seed)


class PublishedProgram(BuiltInPolicy):
    """A published policy in program form of which the simulator has a compiled twin: the same answers, sooner.

    Attributes:
        source: of the program.
    """

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name)
        self.source = source


class RecordedPolicy(Policy):
    """Picks what was recorded, decision by decision."""

    tier: Tier = "built-in"
    name = RECORDED

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay the recorded picks."""
        return simulator.recorded(trace, calibration, seed)


class Item:
    """Stands in for one of the service's items: the kind's features and ``name`` are attributes.

    Whatever else the function keeps on it stays there until the replay ends.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def see(self, features: Sequence[str], row: Sequence[float]) -> None:
        """Take the values of the kind's own features."""
        vars(self).update(zip(features, row, strict=False))


class Request:
    """Stands in for every other argument of the service's function.

    Attributes:
        session, unit: one randomisation unit per decision.
        headers: empty but for what is asked: any header is the unit.
    """

    def __init__(self, unit: str) -> None:
        self.session = self.unit = unit
        self.headers = _Headers(unit)


class _Headers(dict[str, str]):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def __missing__(self, key: str) -> str:
        return self._unit


class FunctionPolicy(Policy):
    """The function behind a hook, called on stand-ins for the service's items.

    Every process of the trace has items of its own, and every replay begins with fresh ones. State
    that the function keeps anywhere else (in its module, for example) is shared and never reset.
    Where items come and go (a queue) every decision has fresh ones, in the order of the rows.

    Args:
        hook: a :class:`gnomon.Hook`, or the decorated function.

    Raises:
        ConfigurationError: the function cannot be called on stand-ins.
    """

    tier: Tier = "plain Python"

    def __init__(self, hook: Any) -> None:
        self._hook = getattr(hook, "hook", hook)
        self.name = "incumbent"
        if not has_function(self._hook):
            raise ConfigurationError(
                f"hook {self._hook.name!r} has no function of the service's own; use {BASELINE}NAME"
            )
        self._features = tuple(feature.name for feature in self._hook.kind.features)
        self._remedy = f"use --incumbent {BASELINE}NAME or --incumbent {RECORDED} instead"
        if inspect.iscoroutinefunction(self._hook.incumbent):
            raise ConfigurationError(f"hook {self._hook.name!r} is asynchronous; {self._remedy}")

    @property
    def function(self) -> Any:
        """The function that is called, as the service wrote it."""
        return self._hook.incumbent

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay by calling the function for every decision."""
        stream = simulator.stream(trace, calibration, seed)
        if isinstance(trace, DecisionTrace):
            return drive(stream, trace, self._choose(trace))
        if isinstance(trace, QueueTrace):
            return drive_to_end(stream, self._choose_among())
        raise ConfigurationError(
            f"the decisions of kind {trace.kind!r} are not those of a function; {self._remedy}"
        )

    def _choose_among(self) -> Callable[[FloatArray], int]:
        """Return what shows the function stand-ins that know nothing of an earlier decision."""
        pool: list[Item] = []
        items: list[Item] = []
        call = self._call(items)

        def choose(rows: FloatArray) -> int:
            if len(rows) > len(pool):
                pool.extend(Item(str(index)) for index in range(len(pool), len(rows)))
                self._fits(pool[: len(rows)], rows)
            items[:] = pool[: len(rows)]
            for index, item in enumerate(items):
                vars(item).clear()
                item.name = str(index)
            return self._pick(items, call, rows)

        return choose

    def _choose(self, trace: DecisionTrace) -> Choose:
        fleet = [[Item(name) for name in trace.members] for _ in trace.instances]
        calls = [self._call(items) for items in fleet]
        for process in set(trace.instance[:1].tolist()):
            self._fits(fleet[process], trace.features[0])
        return lambda process, rows: self._pick(fleet[process], calls[process], rows)

    def _fits(self, items: list[Item], rows: FloatArray) -> None:
        """Refuse a hook whose ``item_features`` reads anything but the features by their names."""
        expected = rows[:, : len(self._features)].tolist()
        for item, row in zip(items, expected, strict=True):
            item.see(self._features, row)
            try:
                seen = [float(value) for value in self._hook.spec.item_features(item)]
            except Exception as error:
                raise self._failed(error) from error
            if seen != row:
                raise ConfigurationError(
                    f"item_features of {self._hook.name!r} gives {seen} for features {row}; "
                    f"{self._remedy}"
                )

    def _call(self, items: list[Item]) -> Callable[[Request], Any]:
        """Return the function with the items in their place and stand-ins in all that is required."""
        parameters = self._hook.signature.parameters.values()
        required = [
            parameter.name
            for parameter in parameters
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        signature, incumbent, place = self._hook.signature, self._hook.incumbent, self._hook.items

        def call(request: Request) -> Any:
            given = {name: request for name in required} | {place: items}
            bound = signature.bind_partial()
            bound.arguments.update({n: given[n] for n in signature.parameters if n in given})
            return incumbent(*bound.args, **bound.kwargs)

        return call

    def _pick(self, items: list[Item], call: Callable[[Request], Any], rows: FloatArray) -> int:
        for item, row in zip(items, rows.tolist(), strict=True):
            item.see(self._features, row)
        try:
            return items.index(call(Request("replay")))
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"the function of hook {self._hook.name!r} does not work on stand-ins "
            f"({type(error).__name__}: {error}); {self._remedy}"
        )


def baseline_policy(name: str, kind: Kind) -> Policy:
    """Return a published policy of a kind; raises ConfigurationError for an unknown name."""
    baseline: Baseline | None = kind.baselines.get(name)
    if baseline is None:
        raise ConfigurationError(
            f"kind {kind.name!r} has no baseline {name!r}; it has {', '.join(kind.baselines)}"
        )
    if baseline.source is None:
        return BuiltInPolicy(name)
    if kind.form == "program" and name in simulator_for(kind).compiled_programs:
        return PublishedProgram(name, baseline.source)
    return source_policy(name, baseline.source, kind)


def source_policy(name: str, source: str, kind: Kind) -> Policy:
    """Return a trusted source as a policy, in the form of its kind; raises LanguageError."""
    if kind.form == "program":
        from .program_policy import ProgramPolicy

        return ProgramPolicy(name, source, kind)
    return ScorePolicy(name, source, kind)


def clean_process(kind: Kind, mode: IsolationMode, limits: Limits | None = None) -> Zygote:
    """Return the process from which candidates of a kind's form are forked; the caller closes it.

    Args:
        kind: whose own limits hold for a program's answers.
        mode: of isolation.
        limits: of a score's process; a program's answers have the kind's, and there are no more of them
            than a trace asks for.

    Raises:
        IsolationError: the mode cannot be had on this machine.
    """
    if kind.form == "program":
        from ..sdk.isolation.program import program_zygote

        return program_zygote(kind, mode)
    from .isolation.lockstep import lockstep_zygote

    return lockstep_zygote(mode, limits)


def isolated_policy(name: str, source: str, kind: Kind, zygote: Zygote) -> Policy:
    """Return a source from outside as a policy, in the form of its kind; raises LanguageError."""
    if kind.form == "program":
        from .program_policy import IsolatedProgram

        return IsolatedProgram(name, source, kind, zygote)
    return IsolatedPolicy(name, source, kind, zygote)


def incumbent_policy(text: str, kind: Kind) -> Policy:
    """Return what ``--incumbent`` names.

    Args:
        text: ``baseline:NAME``, ``recorded``, or ``module:attribute`` of a hook; the module is
            imported, so it must be the service's own.
        kind: what is decided.

    Raises:
        ConfigurationError: it names nothing that can be replayed.
    """
    if text == RECORDED:
        return RecordedPolicy()
    if text.startswith(BASELINE):
        return baseline_policy(text.removeprefix(BASELINE), kind)
    hook = hook_at(text)
    if hook.kind.form == "program":
        from .program_policy import ProgramFunctionPolicy

        return ProgramFunctionPolicy(hook)
    return FunctionPolicy(hook)


def has_function(hook: Any) -> bool:
    """Return whether a hook is a decorated function; a cache's is not."""
    return callable(getattr(hook, "incumbent", None))


def hook_at(text: str) -> Any:
    """Import a hook named ``module:attribute``; raises ConfigurationError when there is none."""
    from importlib import import_module

    module, colon, attribute = text.partition(":")
    if not colon:
        raise ConfigurationError(
            f"{text!r} is no policy; give {BASELINE}NAME, {RECORDED} or module:attribute of a hook"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script, unlike ``python -m``, does not look here
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # the service's own module may raise anything
        raise ConfigurationError(
            f"cannot import {text!r} ({type(error).__name__}: {error}); "
            f"run where {module!r} can be imported"
        ) from error
    hook = getattr(found, "hook", found)
    if not hasattr(hook, "kind"):
        raise ConfigurationError(
            f"{text!r} is no hook; name a function decorated with @gnomon.hook, or a PolicyCache"
        )
    return hook


def source_of(path: Path) -> str:
    """Read a policy's source; raises ConfigurationError when that cannot be done.

    Lines may end as on any system. What a file may not be is endless: a pipe, a device, too long.
    """
    try:
        text = read_regular(path, _MOST_SOURCE).decode("utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read policy {path} ({error.strerror}); name its source file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"policy {path} is no UTF-8 text; name its source file") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
