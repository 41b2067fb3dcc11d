"""The closed loop, stage by stage: what ``gnomon demo`` runs."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..policies.rollout.client import RolloutClient
from ..sdk import keys
from ..sdk.errors import ConfigurationError
from . import candidates, live, offline
from .judge import judge
from .plan import DemoPlan
from .processes import Processes
from .run import DemoExit, Run
from .screen import Screen
from .stack import Stack

MARK = ".gnomon-demo"


def run(plan: DemoPlan, folder: Path, screen: Screen) -> tuple[DemoExit, dict[str, Any]]:
    """Run the demo; leaves everything in ``folder``; returns how it ended and all figures.

    Raises:
        ConfigurationError: the folder holds something that no run of the demo left there.
        UnavailableError: a process of the demo did not start, or died.
    """
    _make_empty(folder)
    keys.save(keys.generate(), folder / "keys", "publisher", "publisher")
    keys.save(keys.generate(), folder / "keys", "rollout", "rollout")
    with Processes(folder / "logs") as processes:
        this = Run(plan, folder, screen, Stack(plan, folder, processes))
        this.summary["plan"] = asdict(plan)
        started = time.monotonic()
        _null(this) if plan.null else _full(this)
        live.finish(this)
        this.summary["seconds"] = round(time.monotonic() - started, 1)
    ended = judge(this.summary)
    this.summary["ended"] = ended.name.lower()
    return ended, this.summary


def _make_empty(folder: Path) -> None:
    """Empty the folder of an earlier run; never touch anything else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigurationError(
            f"{folder} holds files that no demo left there; choose another --out"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _full(this: Run) -> None:
    live.start(this)
    live.capture(this)
    if not offline.fidelity(this):
        this.screen.bad("The simulator is not trusted, so nothing is searched or shipped.")
        return
    found = offline.search(this)
    verdict, path = offline.gates(this, found)
    offline.refusals(this)
    if verdict.decision != "accepted":
        this.screen.bad(f"Nothing is shipped; the incumbent stays. {verdict.summary}")
        return
    with RolloutClient(this.stack.control_plane) as client:
        this.stack.start_load()
        first = live.canary(this, client, path, "first")
        this.stack.stop_load()
        if first.state != "STABLE":
            this.screen.bad(f"The canary ended {first.state}. The incumbent stays.")
            return
        second, second_path = offline.second(this, first)
        if second.decision != "accepted":
            this.screen.bad("The second policy is not accepted, so nothing is shipped.")
            return
        live.wrong_now(this, client, second_path)


def _null(this: Run) -> None:
    """An equal policy goes through the full canary past the gates; it must not be promoted."""
    live.start(this)
    live.capture(this)
    _, path = offline.verify(this, candidates.EQUAL, "first")
    with RolloutClient(this.stack.control_plane) as client:
        this.stack.start_load()
        shipped = live.canary(this, client, path, "first", override="null run of the demo")
        this.stack.stop_load()
    promoted = shipped.state == "STABLE"
    this.summary["null"] = {"promoted": promoted, "state": shipped.state}
    (this.screen.bad if promoted else this.screen.good)(
        f"An equal policy ended {shipped.state}: {'promoted' if promoted else 'not promoted'}."
    )
