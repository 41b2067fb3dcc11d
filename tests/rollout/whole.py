"""Real processes for a test of the whole: keys on disk, a control plane, and services that follow it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.shipping import Ramp, build_plan, sign_plan
from gnomon.sdk import dsse, keys
from gnomon.sdk.bundle import build_bundle
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check
from gnomon.v1 import rollouts_pb2

PATIENCE_S = 60.0
_ENDED = (rollouts_pb2.STABLE, rollouts_pb2.ABORTED, rollouts_pb2.HOLD)


def wait(look: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Return once there is something to see."""
    end = time.monotonic() + patience_s
    while not look():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


class Whole:
    """A control plane that can be killed, on keys of its own, and the services that follow it.

    Args:
        folder: of keys and state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.address = folder, "127.0.0.1:0"
        for name in ("publisher", "rollout"):
            keys.save(keys.generate(), folder, name, name)
        self.publisher = keys.load_private(folder / "publisher.pem")
        self.services: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        """Start the control plane; again on the address that it had."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        words = ["serve", "--listen", self.address, "--state", self.folder / "state"]
        words += ["--rollout-key", self.folder / "rollout.pem", "--ready-file", ready]
        words += ["--publisher-key", self.folder / "publisher.pub"]
        self.plane = subprocess.Popen(
            [sys.executable, "-m", "gnomon", *map(str, words)], stderr=subprocess.DEVNULL
        )
        try:
            wait(ready.exists)
        except AssertionError:
            self.plane.kill()
            raise
        self.address = ready.read_text().strip()

    def restart(self) -> None:
        """Kill the control plane, and start it again."""
        self.plane.kill()
        self.plane.wait(10)
        self.start()

    def serve(self, code: str, *arguments: str) -> None:
        """Start one more process of a service."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={
                "GNOMON_CONTROL_PLANE": self.address,
                "GNOMON_PUBLISHER_KEYS": str(self.folder / "publisher.pub"),
                "GNOMON_STATE_DIR": str(self.folder / f"service-{len(self.services)}"),
            },
        )
        self.services.append(process)

    def score(self, client: RolloutClient, hook: str, kind: Kind, score: str, ramp: Ramp) -> str:
        """Ship a policy of one expression over one of the kind's inputs; return the rollout's id."""
        name = next(each for each in kind.input_names if each in score)
        program = check(f"def score({name}):\n    return {score}\n", kind.input_names)
        return self.ship(client, build_bundle(program, hook, kind, "0" * 64, {}), kind, ramp)

    def ship(self, client: RolloutClient, bundle: bytes, kind: Kind, ramp: Ramp) -> str:
        """Ship a bundle and return the rollout's id."""
        rollout_key = keys.load_public(self.folder / "rollout.pub")
        plan = build_plan(ramp, bundle, kind, rollout_key, time.time_ns())
        envelope = dsse.sign(dsse.BUNDLE_TYPE, bundle, self.publisher)
        return client.create(envelope, sign_plan(plan, self.publisher), "test").id

    def stop(self) -> None:
        """End all processes; the services must end well."""
        for service in self.services:
            service.terminate()
        try:
            assert [service.wait(10) for service in self.services] == [0] * len(self.services)
        finally:
            self.plane.terminate()
            self.plane.wait(10)


def ended(
    client: RolloutClient, rollout: str, patience_s: float = PATIENCE_S
) -> rollouts_pb2.Rollout:
    """Return a rollout once it is decided, or as it stands when nobody waits any longer."""
    end = time.monotonic() + patience_s
    while (found := client.get(rollout)).state not in _ENDED and time.monotonic() < end:
        time.sleep(0.2)
    return found
