"""Policies of program form that can be replayed: trusted sources, isolated ones, a service's own function."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..sdk.errors import ConfigurationError
from ..sdk.isolation.program import ProgramProcess
from ..sdk.kind import Kind
from ..sdk.language import check_program
from ..sdk.programs.questions import lists, outputs_of, question_of
from .policy import Policy, Tier
from .programs import Asking, Outputs, asking, drive_program, run_program
from .simulators.base import Replay, Simulator
from .traces.trace import Trace

if TYPE_CHECKING:
    from ..sdk.isolation.zygote import Zygote


class ProgramPolicy(Policy):
    """A trusted source in program form, in this process.

    Raises:
        LanguageError: the source lies outside the language.
    """

    tier: Tier = "plain Python"

    def __init__(self, name: str, source: str, kind: Kind) -> None:
        self.name = name
        self.source = source
        self._kind = kind
        assert kind.program is not None, "a kind of program form"
        self._program = check_program(source, kind.program)

    @cached_property
    def _decide(self) -> Any:
        return self._program.bind(self._kind.host)

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay in this process; raises CandidateError when the program faults."""
        return self.replays(simulator, trace, calibration, (seed,))[0]

    def replays(
        self, simulator: Simulator, trace: Trace, calibration: Any, seeds: Sequence[int]
    ) -> list[Replay]:
        """Replay once per seed; raises CandidateError when the program faults."""
        answer = Asking(self._kind, lambda question: self._decide(*question.terms.values()))
        return run_program(answer, (simulator.stream(trace, calibration, seed) for seed in seeds))


class IsolatedProgram(Policy):
    """A source from outside: it answers in a process that sees nothing but questions.

    Args:
        name: for tables.
        source: in program form.
        kind: what is decided.
        zygote: clean process to fork from.

    Raises:
        LanguageError: the source lies outside the language.
    """

    tier: Tier = "out of process"

    def __init__(self, name: str, source: str, kind: Kind, zygote: Zygote) -> None:
        kind.checked(source)
        self.name = name
        self.source = source
        self._kind = kind
        self._zygote = zygote
        self.layers = zygote.layers

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay with the candidate's process."""
        return self.replays(simulator, trace, calibration, (seed,))[0]

    def replays(
        self, simulator: Simulator, trace: Trace, calibration: Any, seeds: Sequence[int]
    ) -> list[Replay]:
        """Replay once per seed; raises CandidateError when the candidate failed."""
        streams = (simulator.stream(trace, calibration, seed) for seed in seeds)
        with ProgramProcess(self._zygote, self.source, self._kind) as process:
            return run_program(asking(process, self._kind), streams)


class ProgramFunctionPolicy(Policy):
    """The function behind a hook of program form, called with the questions of a replay.

    State that it keeps anywhere is shared by all replays and never reset.

    Args:
        hook: the hook, or the decorated function.

    Raises:
        ConfigurationError: the function cannot be called with a question alone.
    """

    tier: Tier = "plain Python"

    def __init__(self, hook: Any) -> None:
        self._hook = getattr(hook, "hook", hook)
        self.name = "incumbent"
        self._kind: Kind = self._hook.kind
        self._remedy = "use --incumbent baseline:NAME instead"
        self._names = self._callable_with()

    @property
    def function(self) -> Any:
        """The function that is called, as the service wrote it."""
        return self._hook.incumbent

    def replay(self, simulator: Simulator, trace: Trace, calibration: Any, seed: int) -> Replay:
        """Replay by calling the function for every decision."""
        replay: Replay = drive_program(simulator.stream(trace, calibration, seed), self._answer)
        return replay

    def _callable_with(self) -> list[str]:
        """Return the arguments that the function takes; refuse one that needs anything else."""
        name, parameters = self._hook.name, self._hook.signature.parameters
        if inspect.iscoroutinefunction(self.function):
            raise ConfigurationError(f"hook {name!r} is asynchronous; {self._remedy}")
        known = [each for each in self._kind.question_type._fields if each in parameters]
        more = [
            each.name
            for each in parameters.values()
            if each.name not in known
            and each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        if more or self._hook.spec.question is not None or self._hook.spec.answer is not None:
            needs = ", ".join(more) or "its own question= or answer="
            raise ConfigurationError(
                f"the function of hook {name!r} needs {needs} besides a question of kind "
                f"{self._kind.name!r}; {self._remedy}"
            )
        return known

    def _answer(self, arguments: tuple[Any, ...]) -> Outputs:
        asked = question_of(self._kind, arguments).asked
        try:
            result = self.function(**{name: getattr(asked, name) for name in self._names})
            return {name: lists(rows) for name, rows in outputs_of(self._kind, result).items()}
        except Exception as error:
            raise ConfigurationError(
                f"the function of hook {self._hook.name!r} does not work on questions of a replay "
                f"({type(error).__name__}: {error}); {self._remedy}"
            ) from error
