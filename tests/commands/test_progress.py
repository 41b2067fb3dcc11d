"""Watching a search from a terminal, from a file and from a program; and stopping it."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from gnomon.commands import _progress
from gnomon.commands._progress import Paced, Stop, stopping, view, watched
from gnomon.sdk.errors import ConfigurationError


def glance(done: int, total: int = 100, **more: Any) -> Any:
    values = {"phase": "search", "stopping": False, "line": lambda: f"at {done}"}
    said = {"parts": lambda: ("best 1", "2 ok"), "to_json": lambda: {"done": done}}
    return SimpleNamespace(done=done, total=total, **(values | said | more))


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_with_each_tenth_and_every_ten_seconds() -> None:
    clock, out = Clock(), io.StringIO()
    paced = Paced(lambda each: each.line(), out, clock)
    for done in range(21):
        paced(glance(done))
    clock.now = 9.9
    paced(glance(21))
    clock.now = 10.0
    paced(glance(22))
    clock.now = 19.9
    paced(glance(23))
    assert out.getvalue().split("\n") == ["at 0", "at 10", "at 20", "at 22", ""]


def test_a_phase_and_a_stop_are_told_at_once() -> None:
    clock, out = Clock(), io.StringIO()
    paced = Paced(lambda each: each.line(), out, clock)
    paced(glance(1))
    paced(glance(2, stopping=True))
    paced(glance(3, phase="validation"))
    paced(glance(0, total=0))  # nothing to do is no division by zero
    assert out.getvalue().split() == ["at", "1", "at", "2", "at", "3", "at", "0"]


def test_json_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with watched("json") as report:
        report(glance(7))
    printed = capsys.readouterr()
    assert json.loads(printed.err) == {"done": 7}
    assert printed.out == ""


def test_none_says_nothing_and_lines_never_steer_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watched("none") as report:
        report(glance(7))
    assert capsys.readouterr().err == ""
    with watched("auto") as report:  # standard error is no terminal here
        report(glance(7, line=lambda: "\x1b[2Jboo"))
    assert capsys.readouterr().err == "7/100 \N{REPLACEMENT CHARACTER}[2Jboo\n"


def test_another_way_is_refused() -> None:
    said = "--progress 'loud': choose one of auto, lines"
    with pytest.raises(ConfigurationError, match=said), watched("loud"):
        raise AssertionError


def test_a_terminal_shows_a_bar_and_a_line_for_each_thing() -> None:
    shown = view(glance(50, parts=lambda: ("best \x1b[1m", "2 ok"))).split("\n")
    assert shown[0] == "━" * 15 + "╌" * 15 + " 50/100 search"
    assert shown[1:] == ["  best \N{REPLACEMENT CHARACTER}[1m", "  2 ok"]
    assert view(glance(500)).startswith("━" * 30 + " 500/100")


def test_the_live_view_is_drawn_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(_progress, "console", lambda **_: screen)
    drawn: list[int] = []
    monkeypatch.setattr(_progress, "view", lambda each: drawn.append(each.done) or "[b]text[/b]")
    clock = Clock()
    with watched("auto", clock) as report:
        for done in range(10):
            clock.now = 0.1 * done
            report(glance(done))
    assert drawn == [0, 3, 6, 9]
    assert "[b]text[/b]" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_the_first_signal_asks_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopping() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_before_the_search_asks_a_signal_ends_at_once() -> None:
    with stopping() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not stop()


def test_elsewhere_than_in_the_main_thread_nothing_is_heard() -> None:
    found: list[Stop] = []

    def work() -> None:
        with stopping() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not found[0]()
