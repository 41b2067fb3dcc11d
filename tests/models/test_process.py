"""The models' process from outside: it dies, hangs, speaks nonsense, and every call ends all the same."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import pytest

from gnomon.shadow.models import process as process_module
from gnomon.shadow.models.calls import Result
from gnomon.shadow.models.chat import Request
from gnomon.shadow.models.keys import environment
from gnomon.shadow.models.process import ModelProcess

from .server import Hang, Say, serving

REQUEST = Request("m", "compatible", (("user", "hello"),), None, 64, 0, "http://127.0.0.1:9/v1")

READY = "import json, os, sys\nprint(json.dumps({'ready': True}), flush=True)\n"
ANSWER = """
for line in sys.stdin:
    job = json.loads(line)
    if job['request']['seed'] != 13:
        print(json.dumps({'id': job['id'], 'error': f"pid {os.getpid()}", 'attempts': 1, 'doubtful': 0}),
              flush=True)
"""


def python(code: str) -> ModelProcess:
    return ModelProcess(environment(()), command=(sys.executable, "-c", code))


def ended(future: Future[Result]) -> Result:
    return future.result(60.0)


def at(base: str, seed: int = 0) -> Request:
    return Request("m", "compatible", (("user", "hello"),), None, 64, seed, base)


def pid(result: Result) -> int:
    return int(result.error.removeprefix("pid "))


def test_one_process_takes_all_calls_and_ends_with_close() -> None:
    process = python(READY + ANSWER)
    pids = {pid(ended(process.ask(REQUEST, 30.0))) for _ in range(5)}
    process.close()
    assert len(pids) == process.started == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids.pop(), 0)
    assert ended(process.ask(REQUEST, 30.0)) == Result(None, "the models' process is closed")


def test_one_that_died_is_started_again() -> None:
    process = python(READY + ANSWER)
    first = pid(ended(process.ask(REQUEST, 30.0)))
    asked = process.ask(Request(**{**REQUEST.as_json(), "seed": 13}), 30.0)
    os.kill(first, signal.SIGKILL)
    assert ended(asked) == Result(None, "the models' process ended", 1, 1)
    assert pid(ended(process.ask(REQUEST, 30.0))) != first
    process.close()
    assert process.started == 2


@pytest.mark.parametrize(
    ("code", "words", "doubtful"),
    [
        ("", "ended", 0),
        ("raise SystemExit(3)", "ended", 0),
        ("import json; print(json.dumps({'broken': 'no such library'}))", "no such library", 0),
        (READY + "sys.stdin.readline()", "ended", 1),
        (READY + "sys.stdin.readline(); print('what?', flush=True)", "said what is no result", 1),
        (READY + "sys.stdin.readline(); print('[1]', flush=True)", "said what is no result", 1),
        (READY + "sys.stdin.readline(); print('x' * 20_000_000)", "said what is no result", 1),
    ],
)
def test_calls_of_a_process_of_no_use_end(code: str, words: str, doubtful: int) -> None:
    process = python(code)
    result = ended(process.ask(REQUEST, 30.0))
    process.close()
    assert result.answer is None
    assert words in result.error
    assert result.doubtful == doubtful


def test_a_command_that_is_not_there() -> None:
    process = ModelProcess({}, command=("/nowhere/python",))
    assert ended(process.ask(REQUEST, 1.0)) == Result(
        None, "the models' process cannot be started: No such file or directory"
    )
    process.close()


def test_a_call_that_does_not_end_costs_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_GRACE_S", 0.05)
    process = python(READY + ANSWER)
    stuck = Request(**{**REQUEST.as_json(), "seed": 13})
    first = pid(ended(process.ask(REQUEST, 30.0)))
    slow, overdue = process.ask(stuck, 30.0), process.ask(stuck, 0.01)
    assert ended(overdue) == Result(None, "no answer within 0.01 s", 1, 1)
    assert pid(ended(process.ask(REQUEST, 30.0))) != first  # a fresh one
    assert not slow.done()  # the first one lives as long as it has calls
    os.kill(first, 0)
    process.close()
    assert ended(slow).error == "the models' process closed"
    assert process.started == 2


def test_a_retired_process_ends_with_its_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_GRACE_S", 0.05)
    process = python(READY + ANSWER)
    first = pid(ended(process.ask(REQUEST, 30.0)))
    ended(process.ask(Request(**{**REQUEST.as_json(), "seed": 13}), 0.01))
    process.close()  # waits for its end
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_one_that_is_stopped_is_killed_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even its pipe is read: writing to it waits, and ends with the process."""
    monkeypatch.setattr(process_module, "_GRACE_S", 0.05)
    process = python(READY + ANSWER)
    first = pid(ended(process.ask(REQUEST, 30.0)))
    os.kill(first, signal.SIGSTOP)
    large = Request(**{**REQUEST.as_json(), "messages": (("user", "x" * 1_000_000),)})
    assert ended(process.ask(large, 0.1)).error == "no answer within 0.1 s"
    process.close()


def test_the_real_process_gives_up_on_a_server_that_hangs_and_goes_on() -> None:
    process = ModelProcess(environment(()))
    with serving(lambda body, _: Hang() if body["seed"] == 13 else Say("fine")) as server:
        hanging = process.ask(at(server.base, 13), 0.3)
        fine = [process.ask(at(server.base, seed), 30.0) for seed in range(3)]
        assert [ended(each).answer is not None for each in fine] == [True] * 3
        assert "no answer within" in ended(hanging).error
    process.close()
    assert process.started == 1  # the loop of attempts ended by itself


def test_its_environment_is_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "s3cret-of-somebody-else")
    out = tmp_path / "environment"
    process = python(f"import os; open({str(out)!r}, 'w').write(repr(dict(os.environ)))")
    ended(process.ask(REQUEST, 30.0))
    process.close()
    assert "s3cret" not in out.read_text()


KILLED = """
import os, signal, sys
from gnomon.shadow.models.chat import Request
from gnomon.shadow.models.keys import environment
from gnomon.shadow.models.process import ModelProcess

process = ModelProcess(environment(()))
request = Request("m", "compatible", (("user", "hello"),), None, 64, 0, sys.argv[1])
process.ask(request, 1000.0)
print(process._current._popen.pid, flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_a_search_that_was_killed() -> None:
    """Nobody is left who holds keys and waits for an answer."""
    with serving([Hang()]) as server:
        search = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.base],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert search.stdout is not None
        worker = int(search.stdout.readline())
        assert server.asked.wait(60.0)
        descriptor = os.pidfd_open(worker)
        search.communicate("now\n")
        assert search.returncode == -signal.SIGKILL
        ready, _, _ = select.select([descriptor], [], [], 60.0)  # readable: it has ended
        os.close(descriptor)
        assert ready


CLOSED = """
import ctypes, sys
from gnomon.shadow.models.worker import main

code = main()  # its input has ended
print(code, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), file=sys.stderr)  # 3: PR_GET_DUMPABLE
"""


def test_no_other_process_of_the_user_reads_its_environment() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr.split() == ["0", "0"]
