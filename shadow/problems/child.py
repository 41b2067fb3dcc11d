"""Runs an evaluator on one program: executed as a script, with the standard library and nothing of Gnomon's.

The process that is executed only watches: it takes in whatever its child leaves behind, and ends all of
it when the child has ended or the host says so (SIGTERM). The child puts limits on itself, loads the
evaluator, asks it, and answers in lines of JSON on the one descriptor it inherits, which no program that it
starts gets to hold. Nobody is asked to believe those lines more than the evaluator.

    {"event": "ready", "layers": [...]}
    {"event": "stage", "stage": 1}                                before each stage
    {"event": "kept", "metrics": [...], ...}                      after each stage but the last
    {"event": "done", "metrics": [...], ...}                      or
    {"event": "raised", "where": "evaluator" | "program", "error": ..., "trace": ..., ...}
    {"event": "ended", "code": ...}                               from the watcher, where no answer came
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 36, 38
_SWEEP_S = 5.0
_MOST_METRICS, _MOST_NAME = 64, 80
_MOST_ARTIFACTS, _MOST_ARTIFACT, _MOST_TRACE = 32, 4096, 4096
_STAGES = ("evaluate_stage1", "evaluate_stage2", "evaluate_stage3")


def _beside(name: str) -> types.ModuleType:
    """Load a module that lies beside this script, under a name that no evaluator uses."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    return _loaded(f"_gnomon_{name}", path)


def _loaded(name: str, path: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


rules = _beside("rules")


class Answers:
    """The way back to the host.

    Args:
        descriptor: to write to.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def say(self, event: str, **values: Any) -> None:
        """Send one line; the host has gone where that fails, and this process ends with it."""
        line = json.dumps({"event": event} | values, allow_nan=False, separators=(",", ":"))
        data = line.encode("ascii") + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]


# The watcher.


def _prctl(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # not Linux
        return False


def _watch(child: int, answers: Answers) -> bool:
    """Wait for the child, end what it leaves behind, tell how it ended; return whether nothing is left."""
    code = 0
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            break
    ended = _sweep()
    with contextlib.suppress(OSError):
        answers.say("ended", code=code)
    return ended


def _sweep_and_leave(folder: str) -> None:
    """End all of it, and remove the evaluation's folder, for the host may be no more."""
    ended = _sweep()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0 if ended else 1)


def _sweep() -> bool:
    """Kill every process that came of the child, whose orphans come to this one; return whether all have ended."""
    deadline = time.monotonic() + _SWEEP_S
    while time.monotonic() < deadline:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        time.sleep(0.002)
    return False


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        path = f"/proc/self/task/{os.getpid()}/children"
        with open(path, encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    return []


# The child.


def _limit(settings: dict[str, Any], watcher: int) -> list[str]:
    """Put this process under limits; return the layers that hold."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    held = ["process", "environment", "descriptors"]
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: settings["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: settings["file_mb"] << 20,
        resource.RLIMIT_CPU: settings["cpu_s"],
        resource.RLIMIT_NPROC: settings["processes"],
    }
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (least, least))
    held.append("rlimits")
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        if os.getppid() != watcher:
            os._exit(1)
        held.append("parent_death")
    if _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        held.append("no_new_privs")
    return held


def _evaluate(settings: dict[str, Any], answers: Answers) -> None:
    """Load the evaluator, ask it about the program, and answer."""
    path = settings["evaluator"]
    where = "evaluator"
    kept: dict[str, Any] = {}
    try:
        sys.path.insert(0, os.path.dirname(path))
        _beside("shim").install()
        module = _loaded("evaluation_module", path)
        evaluate = functools.partial(module.evaluate, **settings["arguments"])
        _seed(settings["seed"])
        where = "program"
        kept = _asked(module, evaluate, settings, answers)
    except BaseException as error:  # noqa: BLE001 - the process's boundary: the host is told
        _flush()
        answers.say("raised", where=where, **_error(error), **_partial(error))
        return
    _flush()
    answers.say("done", **kept)


def _flush() -> None:
    """Let what was printed go before the answer, after which nobody listens."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()


def _seed(seed: int) -> None:
    """Give programs that forget to seed the same numbers every time."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


class _Stage(Exception):
    """A later stage raised; carries what the earlier ones said."""

    def __init__(self, kept: dict[str, Any]) -> None:
        super().__init__()
        self.kept = kept


def _asked(
    module: types.ModuleType,
    evaluate: Callable[[str], Any],
    settings: dict[str, Any],
    answers: Answers,
) -> dict[str, Any]:
    """Return the answer in plain values: of ``evaluate``, or of the stages as OpenEvolve runs them."""
    program, features = settings["program"], settings["features"]
    if not settings["cascade"] or not hasattr(module, _STAGES[0]):
        answers.say("stage", stage=1)
        return _plain(*_parts(evaluate(program)), (1, 1), features)
    metrics: dict[Any, Any] = {}
    artifacts: dict[Any, Any] = {}
    defined = [hasattr(module, name) for name in _STAGES]
    of = (defined + [False]).index(False)
    for number, name in enumerate(_STAGES[:of], 1):
        answers.say("stage", stage=number)
        try:
            found, more = _parts(getattr(module, name)(program))
        except BaseException as error:
            if number == 1:
                raise
            failed = metrics | {f"stage{number}_passed": 0.0}
            raise _Stage(_plain(failed, artifacts, (number - 1, of), features)) from error
        metrics = found if number == 1 else rules.merged(metrics, found)
        artifacts |= more
        kept = _plain(metrics, artifacts, (number, of), features)
        threshold = dict(enumerate(settings["thresholds"], 1)).get(number)
        if number == of or threshold is None or not rules.passes(metrics, threshold):
            return kept
        answers.say("kept", **kept)
    raise AssertionError("the last stage returns")


def _parts(result: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return metrics and artifacts of what an evaluator returned."""
    if isinstance(result, dict):
        return result, {}
    metrics, artifacts = getattr(result, "metrics", None), getattr(result, "artifacts", None)
    if isinstance(metrics, dict):
        return metrics, artifacts if isinstance(artifacts, dict) else {}
    raise TypeError(
        f"the evaluator returned {type(result).__name__}, and no dict of metrics or EvaluationResult"
    )


# Plain values: numbers that are finite, texts of bounded length.


def _plain(
    metrics: dict[Any, Any], artifacts: dict[Any, Any], stages: tuple[int, int], features: list[str]
) -> dict[str, Any]:
    fitness = rules.fitness(metrics, features)
    named = list(metrics.items())[:_MOST_METRICS]
    return {
        "fitness": _number(fitness),
        "stages": stages[0],
        "of": stages[1],
        "metrics": [[_name(n), _number(v)] for n, v in named if _number(v) is not None],
        "notes": [[_name(n), _text(v)] for n, v in named if _number(v) is None],
        "artifacts": [[_name(n), _text(v)] for n, v in list(artifacts.items())[:_MOST_ARTIFACTS]],
    }


def _number(value: Any) -> float | None:
    """Return a finite number, also of an array of one; None for flags, texts and all else."""
    if isinstance(value, str | bytes | bool) or type(value).__name__ in ("bool_", "bool"):
        return None
    with contextlib.suppress(
        Exception
    ):  # whatever a class of the candidate's does when it is asked
        made = float(value)
        if made - made == 0.0:
            return float(repr(made))
    return None


def _name(value: Any) -> str:
    return _text(value)[:_MOST_NAME]


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        value = bytes(value[: 4 * _MOST_ARTIFACT]).decode("utf-8", "replace")
    if not isinstance(value, str):
        try:
            value = str(value)
        except Exception as error:  # noqa: BLE001 - a class of the candidate's
            value = f"<{type(value).__name__} that raises {type(error).__name__}>"
    if len(value) <= _MOST_ARTIFACT:
        return str(value)
    half = _MOST_ARTIFACT // 2
    return f"{value[:half]} ... {len(value)} characters in all ... {value[-half:]}"


def _error(error: BaseException) -> dict[str, str]:
    cause = error.__cause__ or error if isinstance(error, _Stage) else error
    try:
        trace = "".join(traceback.format_exception(type(cause), cause, _below(cause)))
        said = "".join(traceback.format_exception_only(cause)).strip()
    except Exception:  # noqa: BLE001 - an exception whose own text raises
        trace, said = "", type(cause).__name__
    return {"error": _text(said)[:500], "trace": trace[-_MOST_TRACE:]}


def _below(error: BaseException) -> types.TracebackType | None:
    """Return where an exception came through, this script's own part left out."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None and at.tb_frame.f_code.co_filename == __file__:
        at = at.tb_next
    return at


def _partial(error: BaseException) -> dict[str, Any]:
    return error.kept if isinstance(error, _Stage) else {}


def main() -> None:
    """Fork: the child evaluates, this process watches it."""
    descriptor, settings = int(sys.argv[1]), json.loads(sys.argv[2])
    os.set_inheritable(descriptor, False)
    answers = Answers(descriptor)
    folder = os.path.dirname(settings["program"])
    signal.signal(signal.SIGTERM, lambda *_: _sweep_and_leave(folder))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # so that nothing is left where the host is killed
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    watcher = os.getpid()
    child = os.fork()
    if child:
        sys.exit(0 if _watch(child, answers) else 1)
    status = 1
    try:
        answers.say("ready", layers=_limit(settings, watcher))
        _evaluate(settings, answers)
        status = 0
    finally:
        os._exit(status)  # no thread and no handler of the program's own keeps it any longer


if __name__ == "__main__":
    main()
