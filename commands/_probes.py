"""What `gnomon doctor` asks the machine: every question behind one object, so that a test can answer."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.channel import Peer
from ..sdk.errors import UnavailableError

if TYPE_CHECKING:
    import grpc

#: How long a peer may take to answer, in seconds.
PATIENCE_S = 2.0
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)


@dataclass(frozen=True, slots=True)
class ClockState:
    """What can be told of the clocks.

    Attributes:
        resolution_s: of the monotonic clock.
        backwards: whether it went back between two readings.
        synchronised: whether the kernel takes the wall clock for synchronised; None where it does
            not tell.
        error_s: most that the kernel takes it to be wrong by.
        step_s: by which the wall clock ran away from the monotonic one while it was looked at.
    """

    resolution_s: float
    backwards: bool
    synchronised: bool | None
    error_s: float
    step_s: float


class _Timex(ctypes.Structure):
    """The head of the kernel's ``struct timex`` on a 64-bit machine, and room for its rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True)
class Machine:
    """The machine as a doctor sees it.

    Attributes:
        environ: variables.
        system: ``platform.system()`` and ``platform.machine()``.
        python: implementation and version.
        requirements: of the installed package, as in its metadata; with its own version first.
        version: of an installed distribution; None where it is not installed.
        free_bytes: below a folder.
        writable: whether files can be made in a folder, or in the nearest one above that exists.
        clock: state of the clocks.
        isolation: layers that a strict sandbox holds here; raises IsolationError.
        reach: waits until a control plane's connection stands; raises UnavailableError.
        reach_otlp: the same for an OTLP endpoint, as the variables say.
        forked: whether this process was forked after gRPC was used.
    """

    environ: Mapping[str, str]
    system: tuple[str, str]
    python: tuple[str, tuple[int, ...]]
    requirements: Callable[[], tuple[str, list[str]]]
    version: Callable[[str], str | None]
    free_bytes: Callable[[Path], int]
    writable: Callable[[Path], bool]
    clock: Callable[[], ClockState]
    isolation: Callable[[], tuple[str, ...]]
    reach: Callable[[Peer], None]
    reach_otlp: Callable[[str, Mapping[str, str]], None]
    forked: Callable[[], bool]


def this_machine(environ: Mapping[str, str] | None = None) -> Machine:
    """Return the machine that this process runs on."""
    from ..sdk.forking import grpc_usable

    return Machine(
        environ=os.environ if environ is None else environ,
        system=(platform.system(), platform.machine()),
        python=(platform.python_implementation(), tuple(sys.version_info[:3])),
        requirements=_requirements,
        version=_version,
        free_bytes=lambda folder: shutil.disk_usage(standing(folder)).free,
        writable=lambda folder: os.access(standing(folder), os.W_OK | os.X_OK),
        clock=_clock,
        isolation=_isolation,
        reach=_reach,
        reach_otlp=_reach_otlp,
        forked=lambda: not grpc_usable(),
    )


def standing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _requirements() -> tuple[str, list[str]]:
    try:
        return metadata.version("gnomon"), metadata.requires("gnomon") or []
    except metadata.PackageNotFoundError:  # run from its sources
        return "not installed", []


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _clock(sleep: Callable[[float], None] = time.sleep) -> ClockState:
    wall, steady = time.time_ns(), time.monotonic_ns()
    sleep(0.05)
    later, elapsed = time.time_ns(), time.monotonic_ns() - steady
    synchronised, error_s = _kernel()
    return ClockState(
        resolution_s=time.get_clock_info("monotonic").resolution,
        backwards=elapsed < 0,
        synchronised=synchronised,
        error_s=error_s,
        step_s=abs(later - wall - elapsed) / 1e9,
    )


def _kernel() -> tuple[bool | None, float]:
    """Return whether the kernel takes its clock for synchronised, and within how many seconds."""
    state = _Timex()
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):  # no such call on this system
        return None, 0.0
    if answer < 0:
        return None, 0.0
    return not state.status & _UNSYNCHRONISED, state.maxerror / 1e6


def _isolation() -> tuple[str, ...]:
    from ..sdk.isolation.probe import layers_here

    return layers_here()


def _reach(peer: Peer) -> None:
    from ..sdk.channel import open_channel

    _wait(open_channel(peer), peer.address)


def _reach_otlp(endpoint: str, environ: Mapping[str, str]) -> None:
    from ..sdk.telemetry.delivery import open_channel
    from ..sdk.telemetry.settings import read_settings

    settings = read_settings(environ, endpoint)
    _wait(open_channel(settings), settings.target)


def _wait(channel: grpc.Channel, address: str) -> None:
    """Wait for a connection, TLS included; raises UnavailableError when it does not come about."""
    import grpc

    try:
        grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
    except grpc.FutureTimeoutError as error:
        raise UnavailableError(f"{address} does not answer within {PATIENCE_S:g} s") from error
    finally:
        channel.close()
