"""The two kinds of processes of these tests, started, stopped, killed and read."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle, bundle_digest
from gnomon.sdk.language import check
from gnomon.v1 import policy_pb2, rollouts_pb2

HERE = Path(__file__).parent
HOOK = "faults.pick"
PATIENCE_S = 30.0
#: What each policy reads, and which backend it therefore picks; the function picks 0.
POLICIES = {"ewma_ms": 1, "inflight": 2, "weight": 3}
#: Faults in every decision here, since one backend has nothing in flight.
FAULTY = "def score(weight, inflight):\n    return weight / inflight\n"
#: Live shadow for ever: nothing moves but by orders.
STILL = Ramp(
    weights=(0.5, 1.0),
    block_s=0.4,
    burn_in_s=0.05,
    skew_s=0.02,
    min_pairs=6,
    max_pairs=2000,
    shadow_decisions=10**9,
    shadow_rate=1.0,
    soak_s=3600.0,
    lease_s=3.0,
)
#: Straight into the canary, and no verdict for long.
CANARY = replace(STILL, shadow_decisions=0, min_pairs=2000, max_pairs=4000)
CANDIDATE = POLICIES["weight"]
LEASE_NS = round(CANARY.lease_s * 1e9)
#: All the way, as fast as the statistics let it.
QUICK = replace(STILL, shadow_decisions=20, max_pairs=60, soak_s=1.5)


def until(holds: Callable[[], Any], what: str = "", patience_s: float = PATIENCE_S) -> Any:
    """Wait for a condition and return what it gave."""
    end = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < end, f"did not happen in time: {what or holds}"
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Keys:
    """A publisher's and a control plane's key, on disk."""

    folder: Path
    publisher: Ed25519PrivateKey
    rollout: Ed25519PrivateKey

    @classmethod
    def made(cls, folder: Path) -> Keys:
        made = cls(folder, keys.generate(), keys.generate())
        keys.save(made.publisher, folder, "publisher", "publisher")
        keys.save(made.rollout, folder, "rollout", "rollout")
        return made

    def bundle(self, feature: str) -> policy_pb2.Envelope:
        """Return the signed policy that picks the backend with the least of a feature."""
        source = FAULTY if feature == "faulty" else f"def score({feature}):\n    return {feature}\n"
        program = check(source, load_balancer.input_names)
        payload = build_bundle(program, HOOK, load_balancer, "e" * 64, {})
        return dsse.sign(dsse.BUNDLE_TYPE, payload, self.publisher)

    def ship(
        self, client: RolloutClient, feature: str, ramp: Ramp, stable: str = "incumbent"
    ) -> rollouts_pb2.Rollout:
        """Ship a policy; return its rollout."""
        bundle = self.bundle(feature)
        public, now = self.rollout.public_key(), time.time_ns()
        plan = build_plan(ramp, bundle.payload, load_balancer, public, now, stable=stable)
        return client.create(bundle, sign_plan(plan, self.publisher), "ci")

    def digest(self, feature: str) -> str:
        """Return a policy's digest."""
        return bundle_digest(self.bundle(feature).payload)


class Process:
    """A child that is a Python program; ``prefix`` is a command that starts it."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self.prefix: tuple[str, ...] = ()
        self.child: subprocess.Popen[bytes] | None = None

    def _start(self, command: list[str], environ: dict[str, str], clock: Path | None) -> None:
        wrapper = [str(HERE / "skewed.py"), str(clock)] if clock else []
        command = [*self.prefix, sys.executable, *wrapper, *command]
        with self.errors.open("ab") as errors:
            self.child = subprocess.Popen(command, env=os.environ | environ, stderr=errors)

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        if self.child is not None:
            self.child.kill()
            self.child.wait(PATIENCE_S)

    def stop(self) -> int:
        """Let it end in order and return its exit status."""
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(PATIENCE_S)

    def limit_files(self, size: int) -> None:
        """Let no file of it grow beyond a size; -1 lifts that again."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, hard))

    def said(self) -> str:
        """Return what it wrote to standard error."""
        return self.errors.read_text() if self.errors.exists() else ""


class Plane(Process):
    """``gnomon serve`` on a state folder."""

    def __init__(self, made: Keys, folder: Path, clock: Path | None = None) -> None:
        super().__init__(folder / "plane.err")
        self.state = folder / "state"
        self._ready = folder / "ready"
        self.clock = clock
        self._keys = made.folder
        self.address = ""

    def launch(self) -> None:
        """Start it and do not wait."""
        self._ready.unlink(missing_ok=True)
        command = ["-m", "gnomon", "serve", "--listen", "127.0.0.1:0", "--state", str(self.state)]
        command += ["--ready-file", str(self._ready)]
        command += ["--rollout-key", str(self._keys / "rollout.pem")]
        command += ["--publisher-key", str(self._keys / "publisher.pub")]
        self._start(command, {}, self.clock)

    def start(self) -> str:
        """Start it and return its address once it listens."""
        self.launch()
        assert self.child is not None
        child = self.child
        until(lambda: self._ready.exists() or child.poll() is not None, "the control plane starts")
        assert child.poll() is None, self.said()
        self.address = self._ready.read_text()
        return self.address

    def refused(self) -> str:
        """Start it where it must not; return what it said."""
        self.errors.unlink(missing_ok=True)
        self.launch()
        assert self.child is not None
        assert self.child.wait(PATIENCE_S) == 2, self.said()
        return self.said()


class Service(Process):
    """``service.py`` with a log of what it ran."""

    def __init__(self, made: Keys, folder: Path, name: str, clock: Path | None = None) -> None:
        super().__init__(folder / f"{name}.err")
        self.name = name
        self.log = folder / f"{name}.jsonl"
        self.state = folder / name
        self._clock = clock
        self._keys = made.folder

    def start(self, address: str, **environ: str) -> None:
        """Start it and wait until it decides."""
        seen = len(self.lines("decided"))
        told = {
            "FAULTS_LOG": str(self.log),
            "GNOMON_CONTROL_PLANE": address,
            "GNOMON_PUBLISHER_KEYS": str(self._keys / "publisher.pub"),
            "GNOMON_STATE_DIR": str(self.state),
            "GNOMON_SERVICE": "faults",
        }
        self._start([str(HERE / "service.py")], told | environ, self._clock)
        until(lambda: len(self.lines("decided")) > seen, "the service decides")

    def lines(self, kind: str = "") -> list[dict[str, Any]]:
        """Return what it wrote down, of one kind or all."""
        return [line for line in self._lines() if kind in ("", line["kind"])]

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self.log.exists():
            return
        for line in self.log.read_bytes().split(b"\n"):
            if line:
                yield json.loads(line)

    def picks(self, since: int = 0) -> set[int]:
        """Return what was picked by decisions that began after a monotonic time."""
        return {row["pick"] for row in self.lines("decided") if row["first"] > since}

    def comes_to(self, *picks: int, what: str = "") -> int:
        """Wait for a second without other picks than these, longer than two blocks; return its start."""
        asked = time.monotonic_ns()

        def settled() -> int:
            rows = [row for row in self.lines("decided") if row["first"] > asked]
            wrong = [row["last"] for row in rows if row["pick"] not in picks]
            since = max(wrong, default=asked)
            good = rows and rows[-1]["last"] - since > 1_000_000_000
            return since if good else 0

        return int(until(settled, what or f"{self.name} picks {picks}"))


def newest(client: RolloutClient, rollout: str, *states: str) -> rollouts_pb2.Rollout:
    """Wait for a rollout to be in one of some states."""
    return until(
        lambda: (
            found
            if rollouts_pb2.State.Name((found := client.get(rollout)).state) in states
            else None
        ),
        f"{rollout} comes to {states}",
    )
