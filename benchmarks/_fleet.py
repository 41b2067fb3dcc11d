"""A real ``gnomon serve`` and a fleet of clients in processes of their own, for benchmarks and tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.errors import GnomonError
from gnomon.sdk.language import check

HOOK = "fleet.pick"
#: In live shadow until told otherwise, with a lease that is not renewed while something is measured.
RAMP = Ramp(shadow_decisions=10_000_000, lease_s=600.0)
PATIENCE_S = 60.0
_HERE = Path(__file__).resolve().parent
_QUIET = {**os.environ, "GRPC_VERBOSITY": "NONE"}


class Ack(NamedTuple):
    """What a client noted: its number, the epoch, what it was, and when on the monotonic clock."""

    number: int
    epoch: int
    what: str
    at_ns: int


@dataclass
class Plane:
    """A control plane in a process of its own.

    Attributes:
        folder: of its keys and its state.
        process: as long as it runs.
        address: that it listens on, the same in every life.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    address: str = "127.0.0.1:0"

    def start(self) -> None:
        """Make keys at the first start, serve, and wait until it listens."""
        for name in ("publisher", "rollout"):
            if not (self.folder / f"{name}.pem").exists():
                keys.save(keys.generate(), self.folder, name, name)
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "gnomon", "serve", "--listen", self.address]
        command += ["--state", str(self.folder / "state"), "--ready-file", str(ready)]
        command += ["--rollout-key", str(self.folder / "rollout.pem")]
        command += ["--publisher-key", str(self.folder / "publisher.pub")]
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=_QUIET)
        until(ready.exists, "the control plane listens", 30.0)
        self.address = ready.read_text().strip()

    def kill(self) -> None:
        """End it without a word."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as an operator does."""
        self._end(signal.SIGTERM)

    def cpu_s(self) -> float:
        """Return the processor time that this life has used."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return its resident bytes."""
        return int(self._proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def ship(self, client: RolloutClient, constant: int = 0) -> str:
        """Ship a policy, its source told apart by a constant; return the rollout's id."""
        publisher = keys.load_private(self.folder / "publisher.pem")
        source = f"def score(ewma_ms):\n    return ewma_ms + {constant}\n"
        program = check(source, load_balancer.input_names)
        bundle = build_bundle(program, HOOK, load_balancer, "0" * 64, {})
        rollout_key = keys.load_public(self.folder / "rollout.pub")
        plan = build_plan(RAMP, bundle, load_balancer, rollout_key, time.time_ns())
        envelope = dsse.sign(dsse.BUNDLE_TYPE, bundle, publisher)
        return client.create(envelope, sign_plan(plan, publisher), "fleet").id

    def _proc(self, name: str) -> str:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None


@dataclass(frozen=True)
class Shape:
    """How a fleet is made: clients, processes they run in, and what each does.

    Attributes:
        clients, processes: how many.
        hooks: of each client.
        verify: of so many clients one verifies.
        report_s: between two reports of a client; 0 for none.
        bare: whether they only answer bytes with bytes.
    """

    clients: int
    processes: int = 2
    hooks: int = 1
    verify: int = 10
    report_s: float = 0.0
    bare: bool = False


class Fleet:
    """Clients in several processes.

    Args:
        address: of their control plane.
        publisher: file of the public key that they pin.
        shape: how many, and what they do.
        first: number of the first client.
    """

    def __init__(self, address: str, publisher: Path, shape: Shape, first: int = 0) -> None:
        self.shape = shape
        each = shape.clients // shape.processes
        self._processes = [
            self._start(address, publisher, first + number * each, each)
            for number in range(shape.processes)
        ]

    def collect(self) -> list[Ack]:
        """Return what all clients noted since the last call."""
        return [Ack(*one) for answer in self._ask("collect") for one in answer]

    def epochs(self) -> dict[int, int]:
        """Return the epoch that every client acknowledged last."""
        return {int(k): v for answer in self._ask("state") for k, v in answer.items()}

    def break_one(self) -> None:
        """Have one client report that it took the candidate back."""
        self._say(self._processes[0], "break")

    def stop(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            with process:  # waits, and closes its pipes
                pass

    def _start(self, address: str, publisher: Path, first: int, count: int) -> Any:
        shape = self.shape
        command = [sys.executable, str(_HERE / "_clients.py"), "--address", address]
        command += ["--publisher", str(publisher), "--first", str(first), "--count", str(count)]
        command += ["--hooks", str(shape.hooks), "--verify", str(shape.verify)]
        command += ["--report-s", str(shape.report_s), *(["--bare"] if shape.bare else [])]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_QUIET
        )

    def _ask(self, command: str) -> Iterator[Any]:
        for process in self._processes:
            self._say(process, command)
        for process in self._processes:
            yield json.loads(cast("IO[str]", process.stdout).readline())

    def _say(self, process: Any, command: str) -> None:
        process.stdin.write(command + "\n")
        process.stdin.flush()


@contextmanager
def control_plane(folder: Path) -> Iterator[Plane]:
    """Run a control plane, and end whichever life of it there is."""
    folder.mkdir(parents=True, exist_ok=True)
    plane = Plane(folder)
    plane.start()
    try:
        yield plane
    finally:
        plane.kill()


@contextmanager
def fleet(plane: Plane, shape: Shape, first: int = 0) -> Iterator[Fleet]:
    """Run clients against a control plane."""
    made = Fleet(plane.address, plane.folder / "publisher.pub", shape, first)
    try:
        yield made
    finally:
        made.stop()


def until(holds: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something holds; raises SystemExit, naming it, where it does not in time."""
    end = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"waited {patience_s:.0f} s in vain: {what}")
        time.sleep(0.05)


def acknowledged(client: RolloutClient, epoch: int, clients: int) -> bool:
    """Return whether the control plane has so many connected processes, all on an epoch."""
    try:
        seats = [seat for seat in client.clients(HOOK) if seat.connected]
    except GnomonError:
        return False
    return len(seats) == clients and all(seat.epoch == epoch for seat in seats)


def order(client: RolloutClient, rollout: str, action: str) -> int:
    """Give an order and return the epoch that it led to."""
    return int(client.act(rollout, action, "fleet", "measured").epoch)


def latencies_ms(acks: list[Ack], since_ns: int, epoch: int) -> list[float]:
    """Return, sorted, how long after a moment each client had acknowledged an epoch."""
    first: dict[int, int] = {}
    for ack in acks:
        if ack.what == "ack" and ack.epoch == epoch:
            first.setdefault(ack.number, ack.at_ns)
    return sorted((at - since_ns) / 1e6 for at in first.values())
