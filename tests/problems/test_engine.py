"""Evaluations: what a program and its evaluator may do to each other, and who is blamed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gnomon
from gnomon.sdk.errors import ConfigurationError, SearchError
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.problems import process
from gnomon.shadow.problems.engine import FEEDBACK, ProblemEngine, ProblemOptions
from gnomon.shadow.problems.folder import Problem

from .conftest import EVALUATOR, PROGRAM, Write

FORGING = """import os
for n in range(3, 64):
  try: os.write(n, b'{"event": "done"}\\n')
  except OSError: pass
return 9.0"""
FLOODING = """import os
for n in range(3, 64):
  try:
    while True: os.write(n, b'x' * 65536)
  except OSError: pass"""
HANG = "open({flag!r}, 'w').close()\nwhile True: pass"


class Hung:
    """A clock that stands until a program says that it hangs, and then runs wild.

    Args:
        flag: file that the program makes.
    """

    def __init__(self, flag: Path) -> None:
        self.flag = flag
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e6 if self.flag.exists() else 0.0
        return self.now

    def hang(self, before: str = "") -> str:
        """Return the body of a program that hangs."""
        return before + HANG.format(flag=str(self.flag))


@pytest.fixture
def clock(tmp_path: Path) -> Hung:
    return Hung(tmp_path / "hung")


def answering(body: str) -> str:
    """Return a program whose function has this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"# EVOLVE-BLOCK-START\ndef answer():\n{lines}# EVOLVE-BLOCK-END\n"


def one(engine: ProblemEngine, body: str) -> Evaluation:
    return engine.submit(answering(body), "train").result()


@contextmanager
def opened(
    problem: Problem, clock: Callable[[], float] = time.monotonic, **options: Any
) -> Iterator[ProblemEngine]:
    with ProblemEngine(problem, ProblemOptions(**options), clock) as engine:
        yield engine


def alive(marker: str) -> list[str]:
    """Return the processes whose command line holds a text."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_bytes().decode():
                found.append(entry.name)
        except (OSError, UnicodeDecodeError):
            continue
    return found


def test_a_score_is_what_the_evaluator_says_turned_round(write: Write) -> None:
    with opened(write()) as engine:
        assert engine.initial.score == -1.5
        found = one(engine, "return 2.25")
        assert (found.status, found.score) == (Status.OK, -2.25)
        assert found.metrics == (("combined_score", 2.25),)
        assert set(engine.layers) >= {"process", "environment", "descriptors", "rlimits"}
        assert found.layers == engine.layers
        assert engine.short == ""


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("return 1 / 0", Status.FAULT, "ZeroDivisionError: division by zero"),
        ("return float('nan')", Status.FAULT, "no finite number"),
        ("return float('inf')", Status.FAULT, "no finite number"),
        ("return 'a'", Status.OK, ""),  # as the package: no number, so the mean of none
        ("raise SystemExit(3)", Status.FAULT, "SystemExit: 3"),
        ("raise KeyboardInterrupt", Status.FAULT, "KeyboardInterrupt"),
        ("import os; os._exit(3)", Status.DIED, "ended with code 3"),
        ("import os; os.abort()", Status.DIED, "ended by signal 6"),
        ("import os; os.kill(os.getppid(), 9); import time; time.sleep(9)", Status.DIED, "killed"),
        ("import os; os.killpg(0, 9)", Status.DIED, "ended by signal 9"),
        ("return [0] * (1 << 34)", Status.FAULT, "MemoryError"),
        ("open('big', 'wb').truncate(1 << 34)", Status.FAULT, "OSError"),
        ("raise OSError(28, 'No space left on device')", Status.EVALUATOR_ERROR, "No space left"),
        (FORGING, Status.FAULT, "wrote into the evaluator's answer"),
        (FLOODING, Status.FAULT, "wrote into the evaluator's answer"),
        ("def f(): return f()\nreturn f()", Status.FAULT, "RecursionError"),
    ],
)
def test_what_programs_do(write: Write, body: str, status: Status, said: str) -> None:
    with opened(write(), memory_mb=512) as engine:
        found = one(engine, body)
    assert found.status is status
    assert said in found.detail
    assert math.isnan(found.score) != (status is Status.OK)
    assert found.detail.isascii() and len(found.detail) <= 200 and len(found.feedback) <= FEEDBACK


@pytest.mark.parametrize(
    "before",
    ["", "import signal\nsignal.signal(15, signal.SIG_IGN)\n", "print('x' * (1 << 22))\n"],
)
def test_programs_that_hang_are_killed(write: Write, clock: Hung, before: str) -> None:
    with opened(write(), clock) as engine:
        found = one(engine, clock.hang(before))
    assert (found.status, found.detail) == (Status.TIMEOUT, "stage 1 took too long")


def test_whatever_a_program_starts_ends_with_it(write: Write, clock: Hung) -> None:
    marker = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    body = (
        "import os, subprocess, sys\n"
        f"command = [sys.executable, '-c', 'import time; time.sleep(99)', '{marker}']\n"
        "if os.fork() == 0:\n"
        "  subprocess.Popen(command, start_new_session=True)\n"
        "  os._exit(0)\n"
        "subprocess.Popen(command)\n"
    )
    with opened(write(), clock) as engine:
        assert one(engine, body + "return 2.0").score == -2.0
        assert alive(marker) == []
        assert one(engine, clock.hang(body)).status is Status.TIMEOUT
        assert alive(marker) == []


@pytest.mark.parametrize("sent", ["SIGKILL", "SIGSTOP"])
def test_nothing_is_left_where_a_program_turns_on_its_watcher(
    write: Write, clock: Hung, sent: str
) -> None:
    marker = f"left-behind-{os.getpid()}-{sent}"
    left = f"import time; time.sleep(600)  # {marker}"
    body = (
        "import os, signal, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {left!r}], start_new_session=True)\n"
        f"os.kill(os.getppid(), signal.{sent})\n"
    )
    with opened(write(), clock) as engine:
        found = one(engine, clock.hang(body))
    assert found.status is (Status.DIED if sent == "SIGKILL" else Status.TIMEOUT)
    assert not alive(marker)


LIES = {
    "another stage": {"event": "stage", "stage": 1},
    "endless stages": {"event": "stage", "stage": math.inf},
    "an endless code": {"event": "ended", "code": math.inf},
    "better isolation": {"event": "ready", "layers": ["perfect"]},
    "a long name": {
        "event": "done",
        "fitness": 9.0,
        "stages": 1,
        "of": 1,
        "metrics": [["a" * 10_000, 1.0]],
        "notes": [],
        "artifacts": [],
    },
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_in_the_evaluators_place_are_faults(write: Write, lie: str) -> None:
    line = json.dumps(LIES[lie]).encode() + b"\n"
    body = (
        "import os, time\n"
        "for n in range(3, 64):\n"
        f"  try: os.write(n, {line!r})\n"
        "  except OSError: pass\n"
        "time.sleep(600)"
    )
    with opened(write()) as engine:
        found = one(engine, body)
        assert (found.status, found.metrics) == (Status.FAULT, ())
        assert found.layers == engine.layers


def test_names_of_metrics_may_stand_in_a_log(write: Write) -> None:
    naming = "def evaluate(path):\n    return {'combined_score': 1.0, '\\ud800\\x1b[2J': 2.0}"
    with opened(write(evaluator=naming)) as engine:
        assert dict(engine.initial.metrics) == {"combined_score": 1.0, "??[2J": 2.0}


def test_nothing_is_left_where_we_are_killed(write: Write, tmp_path: Path) -> None:
    marker = f"left-{os.getpid()}-{time.monotonic_ns()}"
    body = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', '{marker}'], "
        "start_new_session=True)\nprint('begun', flush=True)\nwhile True: pass"
    )
    script = tmp_path / "host.py"
    script.write_text(
        "import sys\nfrom gnomon.shadow.problems.engine import ProblemEngine\n"
        "from gnomon.shadow.problems.folder import Problem\n"
        "engine = ProblemEngine(Problem.read(sys.argv[1]))\n"
        f"engine.submit({answering(body)!r}, 'train').result()\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(Path(gnomon.__file__).parents[1]),
        "TMPDIR": str(temporary),
    }
    command = [sys.executable, str(script), str(write().folder)]
    with subprocess.Popen(command, env=environment) as host:
        while not alive(marker):
            assert host.poll() is None
            time.sleep(0.02)
        host.kill()
    while alive(marker) or any(temporary.iterdir()):  # the test's own time-out ends it
        time.sleep(0.02)


def test_floods_of_output_are_cut(write: Write) -> None:
    body = "print('begin')\nfor _ in range(400): print('x' * 65536)\nprint('end')\nreturn 1 / 0"
    with opened(write()) as engine:
        found = one(engine, body)
    assert found.status is Status.FAULT
    assert len(found.feedback) <= FEEDBACK and "ZeroDivisionError" in found.feedback


def test_artifacts_are_cut_and_cleaned(write: Write) -> None:
    evaluator = EVALUATOR.replace(
        'return {"combined_score": load(path).answer()}',
        """from openevolve.evaluation_result import EvaluationResult
    class Odd:
        def __str__(self): raise RuntimeError
    return EvaluationResult(
        {"combined_score": load(path).answer(), "text": "t" * 999, 7: 1, "huge": 10 ** 400,
         "flag": True, "nan": float("nan"), "odd": Odd()},
        {"big": "a" * 10_000_000 + "z", "raw": b"\\x00\\xff", "place": path, "at": hex(id(path)),
         "bell": "\\x07\\x1b[31m", "odd": Odd()},
    )""",
    )
    with opened(write(evaluator=evaluator)) as engine:
        found = engine.initial
        again = engine.submit(PROGRAM + "\n", "train").result()
    assert dict(found.metrics) == {"combined_score": 1.5, "7": 1.0}
    assert len(found.feedback) <= FEEDBACK
    assert all(f"{name}:" in found.feedback for name in ("big", "raw", "place", "bell", "odd"))
    assert found.feedback == again.feedback  # neither folders nor addresses are in it
    assert not any(ord(c) < 32 and c not in "\n\t" for c in found.feedback)


def test_the_environment_holds_no_secrets(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("DATA_DIR", "/data")
    body = "import os\nraise ValueError(sorted(os.environ.items()))"
    with opened(write(), variables=("DATA_DIR",)) as engine:
        told = one(engine, body).feedback
    assert "sk-secret" not in told and "OPENAI" not in told
    names = process.environment(Path("/home"), ("DATA_DIR",), os.environ)
    assert names["DATA_DIR"] == "/data" and names["HOME"] == "/home"
    assert "OPENAI_API_KEY" not in names


def test_each_evaluation_has_a_folder_of_its_own(write: Write, tmp_path: Path) -> None:
    body = (
        "import os, tempfile\nopen('left', 'w').write('x')\n"
        "raise ValueError(os.listdir('.'), os.path.basename(os.getcwd()), tempfile.gettempdir())"
    )
    with opened(write()) as engine:
        first, second = one(engine, body), one(engine, body)
    assert "(['left'], 'work', 'work')" in first.detail
    assert first.feedback == second.feedback
    assert not (tmp_path / "problem" / "left").exists()


@pytest.mark.parametrize(
    ("evaluator", "said"),
    [
        ("raise ImportError('no such thing')", "ImportError: no such thing"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("x = 1", "has no attribute 'evaluate'"),
        ("def evaluate(path): return 1 / 0", "ZeroDivisionError"),
        ("def evaluate(path): return [1]", "the evaluator returned list"),
        ("def evaluate(path): return {'combined_score': float('nan')}", "no finite number"),
        ("import os; os._exit(5)", "ended with code 5"),
        ("def evaluate(): return {}", "TypeError"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_an_evaluator_that_does_not_work_is_not_the_programs_fault(
    write: Write, evaluator: str, said: str
) -> None:
    problem = write(evaluator=evaluator)
    with pytest.raises(ConfigurationError, match="does not work on its own") as caught:
        ProblemEngine(problem)
    assert said in str(caught.value) and "\n" not in str(caught.value)


REPORTING = "def evaluate(path):\n    return {{'combined_score': {score}, 'error': {said!r}}}"


def test_an_evaluator_that_catches_its_own_failure_is_found_at_once(write: Write) -> None:
    failing = write(evaluator=REPORTING.format(score=0.0, said="No module named 'jax'"))
    with pytest.raises(ConfigurationError, match="reports an error: No module named 'jax'"):
        ProblemEngine(failing)


@pytest.mark.parametrize(("score", "said"), [(0.5, "3 of 50 failed"), (0.0, ""), (0.0, None)])
def test_what_is_called_an_error_may_stand_beside_a_score(
    write: Write, score: float, said: str | None
) -> None:
    with opened(write(evaluator=REPORTING.format(score=score, said=said))) as engine:
        assert engine.initial.score == -score


@pytest.mark.parametrize("indent", ["", "def evaluate(path):\n  "])
def test_an_evaluator_that_hangs_is_found_at_once(write: Write, clock: Hung, indent: str) -> None:
    hanging = indent + clock.hang().replace("\n", "\n" + " " * 2 * bool(indent))
    with pytest.raises(ConfigurationError, match="took too long"):
        ProblemEngine(write(evaluator=hanging), clock=clock)


def test_no_process_is_no_fault_of_the_problem(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = write()
    monkeypatch.setattr("gnomon.shadow.problems.process.sys.executable", "/no/python")
    with pytest.raises(SearchError, match="no evaluation could be started"):
        ProblemEngine(problem)


def test_arguments_reach_the_evaluator(write: Write) -> None:
    given = "def evaluate(path, weight, names=()):\n    return {'combined_score': weight, 'n': len(names)}"
    problem = write(
        evaluator=given, config="evaluator: {evaluator_args: {weight: 0.5, names: [a, b]}}\n"
    )
    with ProblemEngine(problem) as engine:
        assert engine.initial.score == -0.5
        assert dict(engine.initial.metrics)["n"] == 2.0


def test_arguments_that_fit_no_function_are_found_at_once(write: Write) -> None:
    problem = write(config="evaluator: {evaluator_args: {weight: 2}}\n")
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'weight'"):
        ProblemEngine(problem)


STAGED = """
def evaluate_stage1(path):
    from evaluator import load
    return {"combined_score": load(path).answer()}
def evaluate_stage2(path):
    from evaluator import load
    load(path).second()
    return {"second": 1.0, "combined_score": 0.7}
"""


def staged(write: Write, first: str, second: str = "0.7") -> Problem:
    program = f"def answer(): return {first}\ndef second(): pass\n"
    return write(program, EVALUATOR + STAGED.replace("0.7", second))


@pytest.mark.parametrize("repeats", [1, 2])
def test_an_early_score_that_would_win_is_none(write: Write, repeats: int) -> None:
    with opened(staged(write, "0.6", "0.3"), repeats=repeats) as engine:
        assert engine.initial.score == -0.3
        early = engine.submit("def answer(): return 0.45", "train").result()
        worse = engine.submit("def answer(): return 0.25", "train").result()
    assert (early.status, early.metrics) == (Status.STOPPED, (("combined_score", 0.45),))
    assert math.isnan(early.score) and "stage 1 of 2" in early.detail + early.feedback
    assert (worse.status, worse.score) == (Status.OK, -0.25)


def test_later_stages_that_fail_give_no_score(write: Write, clock: Hung) -> None:
    with opened(staged(write, "0.6"), clock) as engine:
        assert (engine.initial.score, dict(engine.initial.metrics)["second"]) == (-0.7, 1.0)
        early = engine.submit("def answer(): return 0.45", "train").result()
        failed = engine.submit("def answer(): return 0.9", "train").result()
        body = clock.hang().replace("\n", "\n  ")
        hanging = f"def answer(): return 0.9\ndef second():\n  {body}\n"
        slow = engine.submit(hanging, "train").result()
    assert (early.status, early.score) == (Status.OK, -0.45)
    assert (failed.status, dict(failed.metrics)["stage2_passed"]) == (Status.FAULT, 0.0)
    assert (slow.status, dict(slow.metrics)) == (Status.TIMEOUT, {"combined_score": 0.9})


def test_an_initial_program_that_ends_early_is_compared_as_it_is(write: Write) -> None:
    with opened(staged(write, "0.3")) as engine:
        assert engine.initial.score == -0.3
        assert "ends at stage 1 of 2" in engine.short
        other = engine.submit("def answer(): return 0.4", "train").result()
        assert (other.status, other.score) == (Status.OK, -0.4)


def test_repeats_are_averaged_and_draws_repeat(write: Write) -> None:
    noisy = answering("import random\nreturn random.random()")
    with opened(write(), repeats=3) as engine:
        mean = engine.submit(noisy, "train").result()
    with opened(write(), repeats=1) as engine:
        once = engine.submit(noisy, "train").result()
        again = engine.submit(noisy, "train").result()
        other = engine.submit(noisy, "validation").result()
    assert once.score == again.score != other.score
    assert mean.score != once.score and mean.metrics == (("combined_score", -mean.score),)


def test_closing_ends_what_runs(write: Write) -> None:
    engine = ProblemEngine(write(), ProblemOptions(workers=1))
    flying = engine.submit(answering("import time\ntime.sleep(99)"), "train")
    waiting = engine.submit(answering("return 3.0"), "train")
    engine.close()
    engine.close()
    assert flying.cancelled() or flying.result().status is not Status.OK
    assert waiting.cancelled() or waiting.result().status is not Status.OK
    with pytest.raises(ConfigurationError, match="closed"):
        engine.submit(PROGRAM, "train")


def test_there_is_no_holdout(write: Write) -> None:
    with opened(write()) as engine, pytest.raises(ConfigurationError, match="no holdout"):
        engine.submit(PROGRAM, "holdout")


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"repeats": 0}, {"memory_mb": 1}])
def test_options_that_mean_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        ProblemOptions(**wrong)
