"""``gnomon evolve --model``: from the command line to the log, with a scripted endpoint at the other end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from gnomon.commands import evolve as command
from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.sink import StoreSink
from gnomon.recorder.store import TraceStore
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import KEYLESS, Outcome

from ..search.test_evolve import captured
from .conftest import SECRET
from .server import Say, Server, Status, Step, serving
from .test_run import NAME, of_models, program

FOLDERS = Path(__file__).resolve().parents[1] / "problems" / "folders"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace store with 600 decisions."""
    folder = tmp_path_factory.mktemp("traces")
    sink = StoreSink(TraceStore(folder), "router")
    sink.write(
        SimpleNamespace(process_id="00" * 8, name="router.pick", kind=load_balancer),
        captured(600, 1),
    )
    sink.close()
    return folder


def evolve(*words: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["evolve", "--progress", "none", *map(str, words)])


def on(server: Server, *words: object) -> tuple[object, ...]:
    return ("--model", f"{NAME}@{server.base}", "--key-env", "TEST_MODEL_KEY", *words)


def holders() -> set[str]:
    """Return the command lines of all processes of this machine that were started with the key."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = SECRET.encode() in (process / "environ").read_bytes()
            command_line = (process / "cmdline").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if held:
            found.add(command_line.replace(b"\0", b" ").decode())
    return found


def test_models_write_for_a_trace(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEST_MODEL_KEY", SECRET)
    money = ("--price", f"{NAME}=1,4", "--max-cost", "0.5", "--max-tokens", "512")
    words = (
        "--traces",
        store,
        "--hook",
        "router.pick",
        "--budget",
        "16",
        "--out",
        tmp_path / "run",
    )
    held: set[str] = set()

    def script(body: dict[str, Any], _: int) -> Step:
        held.update(holders())
        return program(body)

    with serving(script) as server:
        found = evolve(*words, *on(server, *money), "--json")
        seen = list(server.seen)
    assert found.exit_code in (0, 1), found.output
    assert "$1 in, $4 out per million tokens" in found.stderr
    records = list(proposals(tmp_path / "run" / "log.jsonl"))
    answers = of_models(records)
    assert len(answers) == len(seen) > 0
    assert all(record.cost is not None and record.cost > 0.0 for record in answers)
    assert sum(record.cost or 0.0 for record in answers) <= 0.5
    assert {record.author for record in records} == {KEYLESS, NAME}
    (system, user) = (message["content"] for message in seen[0].body["messages"])
    assert "inflight" in system + user
    assert seen[0].headers["authorization"] == f"Bearer {SECRET}"
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in found.output + found.stderr
    assert held
    assert all("gnomon.shadow.models.worker" in each for each in held), held
    assert list((tmp_path / ".gnomon" / "models").glob("??/*.json"))


def test_models_write_for_a_problem_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = FOLDERS / "valley"
    source = (folder / "initial_program.py").read_text()
    words = ("--problem", folder, "--budget", "6", "--out", tmp_path / "run", "--seed", "1")
    with serving([Say(f"```python\n{source}```")]) as server:
        found = evolve(*words, "--model", f"{NAME}@{server.base}", "--model-share", "0.9")
        assert found.exit_code in (0, 1), found.output
        assert server.seen
    answers = of_models(list(proposals(tmp_path / "run" / "log.jsonl")))
    assert {record.outcome for record in answers} <= {Outcome.DUPLICATE, Outcome.UNANSWERED}
    assert "price unknown" in found.stderr
    assert f"spent: unknown dollars ({len(answers)} answers without a price)" in found.stdout


def test_a_model_that_does_not_answer_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--problem", FOLDERS / "valley", "--budget", "10", "--out", tmp_path / "run")
    with serving([Status(401, {}, "no such key")]) as server:
        found = evolve(*words, *on(server), "--json")
    assert found.exit_code in (0, 1), found.output
    told = json.loads(found.stdout)
    assert told["bill"]["dollars"] == 0.0
    diagnosis = " ".join(told["diagnosis"])
    assert f"a model that does not answer: {NAME}" in diagnosis
    assert "no such key" in diagnosis
    assert "it was left alone, and keyless search went on" in diagnosis


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-cost", "5"), "--max-cost means nothing without --model"),
        (("--prompts", "x"), "--prompts means nothing without --model"),
        (("--key-env", "X"), "--key-env means nothing without --model"),
        (("--model", "acme/x", "--max-cost", "5"), "nobody knows what acme/x costs"),
        (("--model", "acme/x", "--max-cost", "-1"), "--max-cost -1.0: give dollars, from 0 on"),
        (("--model", "acme/x", "--max-cost", "nan"), "--max-cost nan: give dollars, from 0 on"),
        (("--model", "acme/x", "--price", "y=1,1"), "--price of y, which is no --model"),
        (("--model", "acme/x", "--key-env", "y=KEY"), "--key-env of y, which is no --model"),
        (("--model", "openai-compatible:x"), "has no address"),
        (("--model", "acme/x", "--model-timeout", "0"), "not within 1 and 3600 seconds"),
        (("--model", "acme/x", "--model-share", "1"), "above 0 and below 1"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], said: str) -> None:
    found = evolve("--traces", "nowhere", *words)
    assert found.exit_code == 2
    assert said in found.stderr
