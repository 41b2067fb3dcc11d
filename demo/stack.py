"""The live system of the demo: backends, two routers, recorder, control plane, load."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .plan import DemoPlan
from .processes import Processes
from .traffic import Traffic, read_traffic

HOOK = "router.pick"
SERVICE = "router"
CELL = "demo"
WORKERS = 2


class Stack:
    """Every process of the demo, and how to steer them.

    Args:
        plan: of the run.
        folder: everything is written below it.
        processes: that own the children.
    """

    def __init__(self, plan: DemoPlan, folder: Path, processes: Processes) -> None:
        self._plan = plan
        self._processes = processes
        self.folder = folder
        self.store = folder / "traces"
        self.keys = folder / "keys"
        self.state = folder / "control-plane"
        self.late = folder / "late.jsonl"
        self.control_plane = ""
        self._ready = folder / "ready"
        self._routers: list[str] = []
        self._backends: dict[str, str] = {}
        self._loads = 0

    def start(self) -> None:
        """Start everything but the load; returns when all of it answers."""
        self._ready.mkdir(parents=True, exist_ok=True)
        self._start_backends()
        recorder = self._start_recorder()
        self.control_plane = self._start_control_plane()
        self._start_routers(recorder)

    def logs(self) -> list[Path]:
        """Return the generator's logs, oldest first."""
        return [self.folder / f"requests-{number}.jsonl" for number in range(self._loads)]

    def start_load(self) -> None:
        """Begin to send."""
        plan = self._plan
        log = self.folder / f"requests-{self._loads}.jsonl"
        seed = plan.seed * 1000 + 500 + self._loads
        command = [f"{__package__}.generator", "--rate", str(plan.rate), "--seed", str(seed)]
        for url in self._routers:
            command += ["--url", url]
        command += ["--log", str(log), "--late", str(self.late)]
        command += ["--block-ns", str(plan.block_ns), "--lag-ms", str(plan.lag_ms)]
        self._processes.start("generator", *command)
        self._loads += 1

    def stop_load(self) -> None:
        """End the load; requests under way are answered first."""
        self._processes.stop("generator")

    def degrade(self, factor: float) -> str:
        """Make the first backend slower by a factor; return its name."""
        name = self._plan.backends[0].name
        url = f"{self._backends[name]}degrade?factor={factor}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60):
            return name

    def wait(self, seconds: float, progress: Callable[[float], None]) -> None:
        """Let time pass while watching that all processes live.

        Args:
            seconds: to wait.
            progress: called several times a second with the share that has passed.
        """
        start = time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            self._processes.check()
            progress(passed / seconds)
            time.sleep(min(0.2, seconds - passed))
        progress(1.0)

    def traffic(self) -> Traffic:
        """Return all requests so far."""
        return read_traffic(*self.logs())

    def late_share(self) -> float:
        """Return the share of blocks, from the first request to the last, with a late generator."""
        at = self.traffic().at_ns
        blocks = max((int(at[-1]) - int(at[0])) // self._plan.block_ns, 1) if len(at) else 1
        late = self.late.read_text().count("\n") if self.late.exists() else 0
        return late / blocks

    def check(self) -> None:
        """Raise UnavailableError when a process has died."""
        self._processes.check()

    def pause(self, seconds: float) -> None:
        """Let a moment pass."""
        time.sleep(seconds)

    def _start_backends(self) -> None:
        for number, spec in enumerate(self._plan.backends):
            command = [f"{__package__}.backend", "--service-ms", str(spec.service_ms)]
            command += ["--slots", str(spec.slots), "--ready", str(self._ready / spec.name)]
            command += ["--seed", str(self._plan.seed * 1000 + number)]
            command += ["--spells"] if spec.spells else []
            self._processes.start(spec.name, *command)
        for spec in self._plan.backends:
            port = self._processes.ready(spec.name, self._ready / spec.name)
            self._backends[spec.name] = f"http://127.0.0.1:{port}/"

    def _start_recorder(self) -> str:
        ready = self._ready / "recorder"
        command = ("gnomon", "record", "--store", str(self.store), "--listen", "127.0.0.1:0")
        self._processes.start("recorder", *command, "--ready-file", str(ready))
        return self._processes.ready("recorder", ready)

    def _start_control_plane(self) -> str:
        ready = self._ready / "control-plane"
        command = ["gnomon", "serve", "--state", str(self.state), "--listen", "127.0.0.1:0"]
        command += ["--rollout-key", str(self.keys / "rollout.pem")]
        command += ["--publisher-key", str(self.keys / "publisher.pub")]
        self._processes.start("control-plane", *command, "--ready-file", str(ready))
        return self._processes.ready("control-plane", ready)

    def _start_routers(self, recorder: str) -> None:
        backends = [
            {"name": spec.name, "url": self._backends[spec.name], "weight": spec.weight}
            for spec in self._plan.backends
        ]
        env = {
            "OTEL_SERVICE_NAME": SERVICE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{recorder}",
            "GNOMON_CONTROL_PLANE": self.control_plane,
            "GNOMON_PUBLISHER_KEYS": str(self.keys / "publisher.pub"),
            "GNOMON_STATE_DIR": str(self.folder / "service-state"),
            "GNOMON_CELL": CELL,
            "PYTHONUNBUFFERED": "1",
        }
        module = "router_null" if self._plan.null else "router"
        command = (
            f"{__package__}.{module}",
            "--workers",
            str(WORKERS),
            "--ready",
            str(self._ready),
        )
        env = {key: value for key, value in {**os.environ, **env}.items()}
        self._processes.start("router", *command, "--backends", json.dumps(backends), env=env)
        for worker in range(WORKERS):
            port = self._processes.ready("router", self._ready / f"router-{worker}")
            self._routers.append(f"http://127.0.0.1:{port}/")
