"""Settings of this process, from arguments and from the environment."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .errors import ConfigurationError
from .limits import Limits, check_limits
from .spec import check_name

if TYPE_CHECKING:
    from .hook import Hook
    from .records import Record


class Sink(Protocol):
    """Where records go; called by the drainer's thread only.

    It may have a ``name``, for messages and metrics, and an ``account()`` that returns an
    :class:`~gnomon.Account`; without one, what ``write`` returned from counts as acknowledged.
    """

    def write(self, hook: Hook, records: Sequence[Record]) -> None:
        """Take records of one hook; may raise, and is then counted as a failed write."""

    def flush(self, timeout_s: float) -> object:
        """Hand on what waits, within a time."""

    def close(self, timeout_s: float) -> object:
        """Hand on what waits, within a time, and release what is held; nothing is written after."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks that Gnomon reads.

    Attributes:
        time_ns: Unix time.
        monotonic_ns: for budgets and leases.
        cpu_ns: CPU time of the calling thread.
    """

    time_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    cpu_ns: Callable[[], int] = time.thread_time_ns


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``gnomon.configure`` was told.

    Attributes:
        service: name of the service; empty leaves it to OpenTelemetry's resource.
        control_plane: ``host:port``; empty for none.
        otlp_endpoint: where records go over OTLP; empty for none.
        publisher_keys: public key files whose bundles may run here.
        cell: name of the group of processes that share state.
        state_dir: where last-known-good policies are kept.
        sample: share of time windows that is recorded.
        window_s: length of such a window.
        flush_interval_s: between two rounds of the drainer.
        ring_size: records of one hook that may wait.
        min_epoch: lowest manifest epoch that is accepted, of all hooks or by hook.
        disabled: whether all hooks stay off.
        isolation: of policies in program form: ``strict``, or ``process`` where that cannot be had.
        kill: hooks whose policies may not decide; an empty name stands for all.
        limits: when a program is taken back in this process.
        clock: the clocks.
        seed: of exploration, noise and live shadow; None draws one.
    """

    service: str = ""
    control_plane: str = ""
    otlp_endpoint: str = ""
    publisher_keys: tuple[Path, ...] = ()
    cell: str = "default"
    state_dir: Path = Path(".gnomon")
    sample: float = 1.0
    window_s: float = 10.0
    flush_interval_s: float = 0.5
    ring_size: int = 16384
    min_epoch: int | Mapping[str, int] = 0
    disabled: bool = False
    isolation: str = "strict"
    kill: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.sample <= 1.0:
            raise ConfigurationError(f"sample is {self.sample}; it must lie in 0 to 1")
        for name in ("window_s", "flush_interval_s", "ring_size"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.isolation not in ("strict", "process"):
            raise ConfigurationError(
                f"isolation is {self.isolation!r}; it must be 'strict' or 'process'"
            )
        check_limits(self.limits, "configure")
        for least in (self.least_epoch, *self.least_epochs.values()):
            if least < 0:
                raise ConfigurationError(f"min_epoch is {least}; it must be 0 or more")

    @property
    def least_epoch(self) -> int:
        """Lowest epoch that is accepted, of all hooks."""
        return self.min_epoch if isinstance(self.min_epoch, int) else 0

    @property
    def least_epochs(self) -> Mapping[str, int]:
        """Lowest epoch that is accepted, by hook."""
        return {} if isinstance(self.min_epoch, int) else self.min_epoch

    def generator(self, purpose: str) -> random.Random:
        """Return a generator of its own for one purpose."""
        return random.Random() if self.seed is None else random.Random(f"{self.seed} {purpose}")


def from_environment(environ: Mapping[str, str] | None = None) -> dict[str, object]:
    """Return the settings that the environment holds, by field name.

    Raises ConfigurationError when a variable is not of its type.
    """
    environ = os.environ if environ is None else environ
    found: dict[str, object] = {}
    for variable, (name, convert) in VARIABLES.items():
        text = environ.get(variable, "").strip()
        if text and name not in found:
            found[name] = _converted(variable, text, convert)
    return found


def _converted(variable: str, text: str, convert: Callable[[str], object]) -> object:
    try:
        return convert(text)
    except ValueError as error:
        raise ConfigurationError(f"{variable} is {text!r}: {error}; correct or unset it") from error


_ON, _OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _flag(text: str) -> bool:
    flag = text.lower()
    if flag not in (*_ON, *_OFF):
        raise ValueError(f"not one of {', '.join((*_ON, *_OFF))}")
    return flag in _ON


def _killed(text: str) -> tuple[str, ...]:
    """Return the names of hooks that are killed: all of them, none, or those named."""
    if text.lower() in (*_ON, *_OFF):
        return ("",) if text.lower() in _ON else ()
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        try:
            check_name(name)
        except ConfigurationError as error:
            raise ValueError(f"{error}; or 1 for all hooks") from error
    return names


def _epochs(text: str) -> int | dict[str, int]:
    """Return a number for all hooks, or numbers by hook: ``41``, or ``router.pick=41,cache=7``."""
    if "=" not in text:
        return _epoch(text)
    found = {}
    for part in text.split(","):
        name, _, epoch = part.strip().partition("=")
        try:
            check_name(name)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        found[name] = _epoch(epoch)
    return found


def _epoch(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"{text!r} is no epoch, write 41, or router.pick=41,cache=7")
    return int(text)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part.strip()) for part in text.split(",") if part.strip())


#: Field of :class:`Settings` and its type, by variable.
VARIABLES: dict[str, tuple[str, Callable[[str], object]]] = {
    "GNOMON_DISABLED": ("disabled", _flag),
    "GNOMON_CONTROL_PLANE": ("control_plane", str),
    "GNOMON_STATE_DIR": ("state_dir", Path),
    "GNOMON_PUBLISHER_KEYS": ("publisher_keys", _paths),
    "GNOMON_CELL": ("cell", str),
    "GNOMON_SAMPLE": ("sample", float),
    "GNOMON_MIN_EPOCH": ("min_epoch", _epochs),
    "GNOMON_ISOLATION": ("isolation", str),
    "GNOMON_KILL": ("kill", _killed),
    # The one for logs goes first: OpenTelemetry lets it win.
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": ("otlp_endpoint", str),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otlp_endpoint", str),
    "OTEL_SERVICE_NAME": ("service", str),
}
