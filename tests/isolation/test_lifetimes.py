"""Processes that are stopped, killed, orphaned or short of something: nothing hangs, leaks or outlives its host."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gnomon.sdk.errors import IsolationError
from gnomon.sdk.isolation import zygote as host_side
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.status import Status
from gnomon.sdk.isolation.zygote import CandidateStopped, Fork, Zygote

from ..conftest import ROOT
from .driving import LENGTH, attack, raw_zygote

MODES = pytest.mark.parametrize("mode", ["strict", "process"])
LOOPS = "def attack():\n    while True:\n        pass\n"
NOTHING = "def attack():\n    return ''\n"


def pid_of(fork: Fork) -> int:
    """Return the process id behind a fork's handle."""
    lines = Path(f"/proc/self/fdinfo/{fork._handle}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def status_of(pid: int) -> dict[str, str]:
    """Return what ``/proc`` says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def begin(fork: Fork, source: str) -> None:
    """Have a fork execute a program, and do not wait."""
    fork.send(LENGTH.pack(len(source)) + source.encode())


def gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has waited for counts."""
    try:
        return status_of(pid)["State"].startswith(("Z", "X"))
    except (FileNotFoundError, ProcessLookupError):
        return True


def soon(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Return whether something comes to hold within some time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def forked(zygote: Zygote) -> Iterator[Fork]:
    fork = zygote.fork()
    try:
        yield fork
    finally:
        fork.kill()


# --- what a fork is born with -------------------------------------------------------------------------


def test_a_fork_shares_no_memory_that_it_could_write_or_execute(strict: Zygote) -> None:
    with forked(strict) as fork:
        maps = Path(f"/proc/{pid_of(fork)}/maps").read_text().splitlines()
    rights = [line.split()[1] for line in maps]
    assert rights and not [each for each in rights if "w" in each and ("s" in each or "x" in each)]


@MODES
def test_a_fork_leaves_no_dump_and_goes_before_the_service(
    request: pytest.FixtureRequest, mode: str
) -> None:
    with forked(request.getfixturevalue(mode)) as fork:
        pid = pid_of(fork)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        assert (
            Path(f"/proc/{pid}/environ").stat().st_uid == 0
        )  # of nobody's, when it cannot be dumped
        limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [
        ["0", "0"]
    ]


def test_a_fork_has_no_capability_and_can_gain_none(strict: Zygote) -> None:
    with forked(strict) as fork:
        said = status_of(pid_of(fork))
    held = {name: int(said[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert set(held.values()) == {0} and "capabilities" in strict.layers
    assert said["NoNewPrivs"] == "1" and said["Seccomp"] == "2"


def test_capabilities_go_although_the_host_asked_to_keep_them_over_a_change_of_user() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has capabilities to keep")
    keeping = """
        import ctypes, sys
        libc = ctypes.CDLL(None)
        assert libc.prctl(28, 4, 0, 0, 0) == 0  # SECBIT_NO_SETUID_FIXUP
        from tests.isolation.driving import raw_zygote
        from tests.isolation.test_lifetimes import pid_of, status_of
        from gnomon.sdk.isolation.layers import Limits
        with raw_zygote("strict", Limits()) as zygote:
            print(status_of(pid_of(zygote.fork()))["CapEff"])
    """
    assert int(_elsewhere(keeping), 16) == 0


def test_signals_that_the_host_blocks_are_not_blocked_inside() -> None:
    blocked = {signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        with raw_zygote("strict", Limits()) as zygote, forked(zygote) as fork:
            assert int(status_of(pid_of(fork))["SigBlk"], 16) == 0
            assert int(status_of(zygote.pid)["SigBlk"], 16) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_service_of_real_time_lends_that_to_no_candidate() -> None:
    def urgent() -> None:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    try:
        urgent()
    except PermissionError:
        pytest.skip("this user may not be of real time")
    try:
        with raw_zygote("process", Limits()) as zygote, forked(zygote) as fork:
            policies = {os.sched_getscheduler(pid) for pid in (zygote.pid, pid_of(fork))}
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    assert policies == {os.SCHED_OTHER}


def test_handles_are_not_inherited_by_what_the_service_executes(strict: Zygote) -> None:
    with forked(strict) as fork:
        assert not os.get_inheritable(fork._handle)
        assert not fork._connection.get_inheritable()


def test_terminals_do_not_reach_it(strict: Zygote) -> None:
    with forked(strict) as fork:
        own = {os.getsid(0)}
        assert not own & {os.getsid(strict.pid), os.getsid(pid_of(fork))}


# --- what is stopped -------------------------------------------------------------------------------------


@MODES
def test_a_stopped_fork_is_late_and_killed(request: pytest.FixtureRequest, mode: str) -> None:
    fork = request.getfixturevalue(mode).fork()
    pid = pid_of(fork)
    signal.pidfd_send_signal(fork._handle, signal.SIGSTOP)
    begin(fork, NOTHING)
    with pytest.raises(CandidateStopped) as stopped:
        fork.message()
    assert stopped.value.status is Status.TIMEOUT
    assert soon(lambda: gone(pid))


def test_a_stopped_clean_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its late answer must not be taken for the answer to another request."""
    monkeypatch.setattr(host_side, "_FORK_S", 0.3)
    with raw_zygote("process", Limits()) as zygote:
        os.kill(zygote.pid, signal.SIGSTOP)
        with pytest.raises(IsolationError, match=r"did not fork within 0\.3 s and was killed"):
            zygote.fork()
        assert zygote.ended(5.0)
        with pytest.raises(IsolationError, match="has ended"):
            zygote.fork()


def test_a_wait_for_a_fork_that_a_signal_ends_mixes_up_nothing() -> None:
    """As in a notebook: the answer that comes too late must not be given to the next request."""

    class Interrupted(BaseException):
        pass

    def handler(*_: object) -> None:
        raise Interrupted

    with raw_zygote("process", Limits()) as zygote:
        os.kill(zygote.pid, signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(Interrupted):
                zygote.fork()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert zygote.ended(5.0)
        with pytest.raises(IsolationError, match="has ended"):
            zygote.fork()


# --- what dies -------------------------------------------------------------------------------------------


def test_a_dead_clean_process_is_our_own_fault() -> None:
    with raw_zygote("strict", Limits()) as zygote:
        zygote._process.kill()
        with pytest.raises(IsolationError, match="has ended"):
            zygote.fork()


@MODES
def test_a_fork_dies_with_its_clean_process(mode: str) -> None:
    with raw_zygote(mode, Limits(frame_s=20.0)) as zygote, forked(zygote) as fork:
        pid = pid_of(fork)
        begin(fork, LOOPS)
        zygote._process.kill()
        assert zygote.ended(5.0) and soon(lambda: gone(pid))
        with pytest.raises(CandidateStopped, match="ended"):
            fork.message(seconds=5.0)


_HOST = """
    import os, signal, sys, time
    from tests.isolation.driving import raw_zygote
    from tests.isolation.test_lifetimes import LOOPS, NOTHING, begin, pid_of
    from gnomon.sdk.isolation.layers import Limits
    zygote = raw_zygote({mode!r}, Limits())
    forks = [zygote.fork() for _ in range(3)]
    begin(forks[0], LOOPS)
    signal.pidfd_send_signal(forks[1]._handle, signal.SIGSTOP)
    sibling = os.fork()  # as of a server that forks workers: it holds the host's connections, too
    if sibling == 0:
        time.sleep(60)
        os._exit(0)
    print(zygote._empty.name, sibling, zygote.pid, *map(pid_of, forks), flush=True)
    time.sleep(60)
"""


@MODES
def test_nothing_outlives_a_host_that_is_killed(mode: str) -> None:
    """A fork that loops, one that is stopped and one that waits, and the clean process."""
    script = _on_its_path(_HOST).replace("{mode!r}", repr(mode))
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    folder, sibling, *inside = host.stdout.readline().split()
    try:
        host.kill()
        host.wait()
        assert soon(lambda: all(gone(int(pid)) for pid in inside))
        assert not gone(int(sibling))  # so that it was not the connection that ended them
        assert soon(lambda: not Path(folder).exists())
    finally:
        os.kill(int(sibling), signal.SIGKILL)
        host.stdout.close()


def test_dead_forks_do_not_pile_up(strict: Zygote) -> None:
    for _ in range(20):
        with forked(strict):
            pass
    with forked(strict):
        children = Path(f"/proc/{strict.pid}/task/{strict.pid}/children").read_text().split()
    assert len(children) <= 3  # the last ones that nobody has asked after yet


def test_a_host_that_has_dropped_its_rights_since_can_still_kill() -> None:
    """As a server that starts as root and serves as somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root has rights to drop")
    dropping = """
        import os
        from tests.isolation.driving import raw_zygote
        from tests.isolation.test_lifetimes import LOOPS, begin, gone, pid_of, soon
        from gnomon.sdk.isolation.layers import Limits
        zygote = raw_zygote("process", Limits(frame_s=0.3))
        fork = zygote.fork()
        begin(fork, LOOPS)
        pid = pid_of(fork)
        os.setresuid(1234, 1234, 1234)
        fork.kill()
        print(soon(lambda: gone(pid)))
        zygote.close()
    """
    assert _elsewhere(dropping) == "True"


# --- what is not as it should be -----------------------------------------------------------------------


_FRAMES = {
    "half a head, then silence": ("os.write(FD, b'\\x05')\n    while True: pass", "timeout"),
    "half a head, then the end": ("os.write(FD, b'\\x05')\n    os._exit(0)", "died"),
    "a body that is cut": ("os.write(FD, b'\\x05\\x10\\0\\0\\0x')\n    os._exit(0)", "died"),
    "a body too long": ("os.write(FD, b'\\x05\\xff\\xff\\xff\\xff')\n    return ''", "died"),
    "no such message": ("os.write(FD, b'\\x77\\0\\0\\0\\0')\n    return ''", "died"),
    "more than is read": ("os.write(FD, b'\\x05\\1\\0\\0\\0x' * 10**6)\n    return ''", "result"),
}


@pytest.mark.parametrize("what", _FRAMES)
def test_frames_that_are_none_are_the_candidates_fault(strict: Zygote, what: str) -> None:
    does, status = _FRAMES[what]
    how, text = attack(strict, f"import os\ndef attack():\n    {does}\n")
    assert how == status and text in ("", "x")
    assert attack(strict, NOTHING) == ("result", "")


# --- what is short ------------------------------------------------------------------------------------


@contextmanager
def _at_most(which: int, count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _next_descriptor() -> int:
    """Return the lowest number that is free: a limit there leaves room for none."""
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    return free


def test_a_host_out_of_descriptors_is_told_so_and_loses_none(strict: Zygote) -> None:
    holes = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # no gaps below
    before = _open_files()
    try:
        for spare in range(4):  # for the socket's two ends, then for the handle
            with (
                _at_most(resource.RLIMIT_NOFILE, _next_descriptor() + spare),
                pytest.raises(IsolationError) if spare < 2 else _either(),
            ):
                strict.fork().kill()
            assert _open_files() == before
        with _at_most(resource.RLIMIT_NOFILE, _next_descriptor()), pytest.raises(IsolationError):
            raw_zygote("strict", Limits())
    finally:
        for hole in holes:
            os.close(hole)
    assert attack(strict, NOTHING) == ("result", "")


@contextmanager
def _either() -> Iterator[None]:
    try:
        yield
    except IsolationError as error:
        assert "cannot fork" in str(error)


def test_an_interpreter_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a server that embeds Python."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(IsolationError, match="executed from '/no/such/python'"):
        raw_zygote("process", Limits())


def test_a_fork_with_fewer_layers_than_were_tried_is_not_handed_out() -> None:
    with raw_zygote("process", Limits()) as zygote:
        zygote.layers = (*zygote.layers, "seccomp")
        with pytest.raises(IsolationError, match="did not lock itself in: seccomp held before"):
            zygote.fork()


def test_signals_do_not_disturb_a_wait(strict: Zygote) -> None:
    """System calls that a signal interrupts are taken up again, deadlines and all."""
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        assert attack(strict, LOOPS)[0] == "timeout"
        assert attack(strict, NOTHING) == ("result", "")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert len(heard) > 10


def _on_its_path(script: str) -> str:
    """Return a script that finds the tests, wherever it runs and however safe its path is."""
    return f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{textwrap.dedent(script)}"


def _elsewhere(script: str) -> str:
    """Return what a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _on_its_path(script)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
