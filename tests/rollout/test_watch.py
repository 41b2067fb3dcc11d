"""The screen of ``gnomon rollout watch``: fixed states, any size, and a control plane that goes away."""

from __future__ import annotations

import io
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gnomon.commands import _watch
from gnomon.commands._board import Allowed, View, lines
from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.sdk.errors import UnavailableError
from gnomon.shadow.report.rollouts import Rollout
from gnomon.v1 import policy_pb2, rollouts_pb2

from .test_server import QUICK, Running, shipped

SECOND = 1_000_000_000
NOW = 1_764_331_387 * SECOND
ALLOWED = Allowed((0.5, 1.0), 8, 60, 0.025, 0.025, 1000, 60.0, "120:89c0257be383")


def rollout(state: str, **fields: Any) -> rollouts_pb2.Rollout:
    """Return a rollout that came to a state 75 seconds ago."""
    evidence = rollouts_pb2.Evidence(
        pairs=9,
        points=[rollouts_pb2.PairPoint(pair=1, stable=52.0, candidate=45.0)],
        incomplete=1,
        log_e_better=math.log(12.0),
        log_e_worse=math.log(0.2),
        effect=policy_pb2.Interval(estimate=-0.121, low=-0.3, high=math.inf),
        stable_mean=52.04,
        candidate_mean=45.77,
        shadow_decisions=620,
        shadow_diverged=41,
        guardrails=[
            rollouts_pb2.GuardrailStatus(
                name="failures",
                log_e_fine=math.log(3.0),
                log_e_worse=math.log(0.5),
                stable=0.001,
                candidate=0.0015,
            )
        ],
    )
    steps = [
        ("DRAFT", "SHADOW", "shipped", 400),
        ("SHADOW", state, "live shadow: 1000 decisions", 75),
    ]
    told = {"weight": 0.5, "epoch": 5, "attempt": 1, "acked": 2, "clients": 2} | fields
    return rollouts_pb2.Rollout(
        id="r-38d12de6b023",
        hook="router.pick",
        state=rollouts_pb2.State.Value(state),
        candidate="906858a1cd2e36d42cdb",
        stable="incumbent",
        evidence=evidence,
        transitions=[
            rollouts_pb2.Transition(
                **{"from": rollouts_pb2.State.Value(before)},
                to=rollouts_pb2.State.Value(after),
                cause=cause,
                actor="gnomon",
                time_unix_ns=NOW - ago * SECOND,
            )
            for before, after, cause, ago in steps
        ],
        **told,
    )


def client(instance: str, **fields: Any) -> rollouts_pb2.Client:
    known = {"service": "router", "cell": "a", "epoch": 5, "connected": True} | fields
    return rollouts_pb2.Client(instance=instance, **known)


CLIENTS = (client("aaaaaaaaaaaa"), client("bbbbbbbbbbbb", cell="b", epoch=4, last_error="no"))


def view(state: str = "CANARY", clients: Any = CLIENTS, **fields: Any) -> View:
    return View(Rollout.of(rollout(state, **fields)), NOW, ALLOWED, clients)


def text(shown: View, width: int = 80, height: int = 24) -> str:
    return "\n".join(line for line, _ in lines(shown, width, height))


CANARY = """\
rollout r-38d12de6b023 of router.pick   12:03:07 UTC

CANARY, 1 min 15 s in it, weight 0.5 (step 1 of 2)
attempt 1, epoch 5; candidate 906858a1cd2e36d4 against incumbent
waits for 8 pairs at this weight and the evidence below; at most 60 pairs

live shadow  620 decisions, 41 diverged, 0 bad
pairs        9 count, 1 left out
better       █████████████░░░░░░░ 12 of 40
worse        ░░░░░░░░░░░░░░░░░░░░ 0.2 of 40
effect       -12.1%  [-30.0%, open]; means 45.77, stable 52.04
failures     ██████░░░░░░░░░░░░░░ fine 3 of 40; 0.0015, stable 0.001
             ░░░░░░░░░░░░░░░░░░░░ worse 0.5 of 40
processes    2 of 2 run epoch 5; 2 cells
  router bbbbbbbb b epoch 4 no
  router aaaaaaaa a epoch 5
history
  12:01:52 SHADOW -> CANARY: live shadow: 1000 decisions (gnomon)
  11:56:27 DRAFT -> SHADOW: shipped (gnomon)
ledger 120:89c0257be383; Ctrl-C stops watching, not the rollout"""


def test_a_canary_as_it_is_shown_at_80_by_24() -> None:
    assert text(view()) == CANARY


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("SHADOW", "waits for live shadow: 620 of 1000 decisions"),
        ("FULL", "waits for the end of the soak: 0 s to go"),
        ("HOLD", "waits for an order: gnomon rollout resume"),
        ("STABLE", "waits for nothing: it is stable"),
        ("ABORTED", "waits for an order: gnomon rollout retry"),
    ],
)
def test_every_state_says_what_ends_it(state: str, says: str) -> None:
    assert says in text(view(state))


def test_without_the_ledger_no_limit_is_made_up() -> None:
    shown = text(replace(view(), allowed=Allowed()))
    assert "of 40" not in shown and "ledger not read" in shown
    assert "█" not in shown, "a bar without a limit would say something"
    assert "waits for the evidence below" in shown


def test_a_retry_needs_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "12 of 80" in text(view(attempt=2)), "half the level of the first attempt"


def test_a_lost_control_plane_is_said_above_everything() -> None:
    shown = text(replace(view(), lost="control plane 127.0.0.1:7400 does not answer"))
    assert shown.splitlines()[1].startswith("control plane lost, trying again: control plane 127")


def test_what_others_wrote_steers_no_terminal() -> None:
    nasty = client("\x1b[2Jabcdef", last_error="one\ntwo\x07\x1b]0;x")
    shown = text(view(clients=(nasty,)))
    assert "\x1b" not in shown and "\x07" not in shown
    assert "one two" in shown


@given(
    st.integers(1, 200), st.integers(1, 70), st.integers(0, 90), st.sampled_from(["HOLD", "CANARY"])
)
def test_the_screen_always_fits(width: int, height: int, processes: int, state: str) -> None:
    shown = lines(view(state, [client(f"{n:08x}") for n in range(processes)]), width, height)
    assert len(shown) <= height
    assert all(len(line) <= width and "\n" not in line for line, _ in shown)


def test_what_is_wrong_is_listed_first_and_the_rest_is_counted() -> None:
    many = [client(f"{n:08x}") for n in range(50)] + [client("ffffffff", connected=False)]
    shown = text(view(clients=many))
    assert "  router ffffffff a epoch 5 gone" in shown
    assert "more" in shown and len(shown.splitlines()) <= 24


def test_the_board_draws_itself_at_the_terminals_size() -> None:
    board = _watch.Board(lambda: NOW)
    out = io.StringIO()
    console = Console(file=out, width=40, height=10, force_terminal=True, color_system=None)
    console.print(board)
    assert "waiting for the control plane" in out.getvalue()


@pytest.fixture
def running(tmp_path: Path, publisher: Any) -> Iterator[Running]:
    settings = ServerSettings(
        "127.0.0.1:0", tmp_path / "state", publisher.rollout, (publisher.key.public_key(),)
    )
    made = Running(settings)
    yield made
    made.stop()


class Shown:
    """Remembers what it was told; the first time it ends the control plane's stream."""

    def __init__(self, at_first: Any) -> None:
        self.states: list[str] = []
        self.lost_for: list[str] = []
        self._at_first = at_first

    def show(self, found: rollouts_pb2.Rollout, client: RolloutClient) -> None:
        self.states.append(rollouts_pb2.State.Name(found.state))
        at_first, self._at_first = self._at_first, None
        if at_first:
            at_first()

    def lost(self, why: str) -> None:
        self.lost_for.append(why)


def test_a_control_plane_that_goes_away_is_waited_for(
    running: Running, tmp_path: Path, publisher: Any
) -> None:
    with RolloutClient(running.address) as client:
        shipped(client, publisher, replace(QUICK, shadow_decisions=10**9))
    again: list[Running] = []
    settings = replace(running.plane.settings, listen=running.address, state=tmp_path / "state")

    def come_back(seconds: float) -> None:
        del seconds
        if not again:
            again.append(Running(settings))
            with RolloutClient(running.address) as client:
                client.act("", "abort", "op", "enough")

    shown = Shown(running.stop)
    running.stop, stop = lambda: None, running.stop  # type: ignore[method-assign]
    shown._at_first = stop
    try:
        ended = _watch.followed("", running.address, shown, come_back)  # type: ignore[arg-type]
    finally:
        for made in again:
            made.stop()
    assert ended.state == "ABORTED"
    assert shown.states[0] == "SHADOW" and shown.states[-1] == "ABORTED"
    assert len(shown.lost_for) == 1


def test_a_control_plane_that_never_was_is_an_error() -> None:
    with pytest.raises(UnavailableError):
        _watch.followed("", "127.0.0.1:1", Shown(None))  # type: ignore[arg-type]


def test_the_board_asks_for_processes_and_ledger(running: Running, publisher: Any) -> None:
    board = _watch.Board()
    with RolloutClient(running.address) as client:
        shipped(client, publisher, replace(QUICK, shadow_decisions=1000))
        board.show(client.get(), client)
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True, color_system=None)
    console.print(board)
    assert "live shadow: 0 of 1000 decisions" in out.getvalue()
    assert "ledger " in out.getvalue() and "not read" not in out.getvalue()
    board.lost("gone fishing")
    console.print(board)
    assert "trying again: gone fishing" in out.getvalue()


def shown(terminal: int, text: bytes) -> bytes:
    """Return what is written to a terminal until a text is there; fails where nothing more comes."""
    seen, deadline = b"", time.monotonic() + 120.0
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 65536)
    return seen


def test_ctrl_c_leaves_the_terminal_as_it_was(running: Running, publisher: Any) -> None:
    """On a real pseudo-terminal: the other screen is entered and left, and one line says why."""
    import pty

    with RolloutClient(running.address) as client:
        shipped(client, publisher, replace(QUICK, shadow_decisions=10**9))
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "gnomon", "rollout", "watch"]
    command += ["--control-plane", running.address]
    watching = subprocess.Popen(
        command, stdin=secondary, stdout=secondary, stderr=secondary, start_new_session=True
    )
    os.close(secondary)
    seen = shown(primary, b"live shadow")
    watching.send_signal(signal.SIGINT)
    seen += shown(primary, b"rollout goes on")
    assert watching.wait(60) == 3
    os.close(primary)
    assert (
        seen.index(b"\x1b[?1049h") < seen.rindex(b"\x1b[?1049l") < seen.index(b"stopped watching")
    )
    assert b"Traceback" not in seen


def test_units_are_counted_in_looks_and_a_due_verdict_is_said() -> None:
    found = rollout("CANARY")
    del found.evidence.points[:]
    assert Rollout.of(found).evidence.counted == "looks"
    assert Rollout.of(rollout("CANARY")).evidence.counted == "pairs"
    status = rollouts_pb2.UpkeepStatus(notice="the workload has moved: queue")
    assert "a fresh verdict (gnomon rollout reverified)" in text(view("STABLE", upkeep=status), 120)
