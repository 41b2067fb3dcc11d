"""``gnomon ask``, ``tell``, ``told``, ``hint`` and ``prompts`` as an agent in a shell uses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gnomon import api
from gnomon.cli import app
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial
from gnomon.shadow.search.authors.edits import MOST_ANSWER
from gnomon.shadow.search.authors.inbox import FolderInbox
from gnomon.shadow.search.authors.prompts.templates import PARTS
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import read_run
from gnomon.shadow.search.records import Budget, digest

MINE = "def score(inflight, weight):\n    return (inflight + 2) / weight\n"


class Drawn:
    """An engine whose scores are drawn from the program's digest."""

    layers: tuple[str, ...] = ()

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        done: Future[Evaluation] = Future()
        score = int(digest(source)[:8], 16) / 2**32
        done.set_result(Evaluation(Status.OK, score, (score,), feedback="worst at night"))
        return done

    def close(self) -> None: ...


Search = Callable[[int], None]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Searches in the folder ``run`` until so many programs are in its log; 0 goes to the end."""
    folder = tmp_path / "run"

    def searched(count: int) -> None:
        log = folder / "log.jsonl"
        options = Options(Budget(30), resume=log.exists())
        authors = Authors(inbox=FolderInbox(folder))

        def stop() -> bool:
            return bool(count) and log.exists() and log.read_bytes().count(b"\n") > count

        evolve(load_balancer, Drawn(), options, folder, authors=authors, stop=stop)

    searched(8)
    return searched


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line beside the run."""
    monkeypatch.chdir(tmp_path)

    def called(*args: str, typed: bytes = b"") -> Result:
        return CliRunner().invoke(app, [*args], input=typed)

    return called


Call = Callable[..., Result]


def test_an_agent_asks_writes_and_tells(search: Search, call: Call) -> None:
    asked = json.loads(call("ask", "run", "--json").stdout)
    assert [each["role"] for each in asked["messages"]] == ["system", "user"]
    assert asked["source"].strip() in asked["messages"][1]["content"]
    assert "| worst at night" in asked["messages"][1]["content"]
    Path("mine.py").write_text(MINE)
    told = call("tell", "run", asked["ticket"], "mine.py", "--author", "claude")
    assert told.exit_code == 0
    assert "waiting" in told.stdout
    assert call("told", "run", asked["ticket"]).exit_code == 3
    search(0)
    found = call("told", "run", asked["ticket"], "--json")
    assert found.exit_code == 0
    state = json.loads(found.stdout)
    assert (state["state"], state["feedback"]) == ("ok", "worst at night")
    (record,) = [r for r in read_run(Path("run/log.jsonl")).records if r.author == "claude"]
    assert record.source == MINE
    assert state["score"] == record.score


def test_a_prompt_is_printed_with_what_to_do_next(search: Search, call: Call) -> None:
    printed = call("ask", "run").stdout
    ticket = printed.rstrip().split("gnomon tell run ")[1].split()[0]
    assert "# Your task" in printed
    assert call("tell", "run", ticket, "-", typed=f"```python\n{MINE}```".encode()).exit_code == 0
    again = call("tell", "run", ticket, "-", typed=MINE.encode())
    assert again.exit_code == 2
    assert "told already" in again.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * 10_000_000, "longer than|more than"),
        (b"\xff\xfe", "no UTF-8"),
        (b"", "empty|no program"),
        (b"import os\n\ndef score(noise):\n    return noise\n", "line 1"),
        (b"# Dear reader\n\nprose\n", "no program"),
        (b"def score(noise):\n    return noise\0\n", "NUL"),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_what_cannot_be_taken_is_refused_in_one_line(
    search: Search, call: Call, content: bytes, words: str, typed: bool
) -> None:
    ticket = json.loads(call("ask", "run", "--json").stdout)["ticket"]
    Path("mine.py").write_bytes(content)
    ended = call("tell", "run", ticket, "-" if typed else "mine.py", typed=content)
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert len(ended.stderr.strip().split("\n")) == 1
    assert any(word in ended.stderr for word in words.split("|"))
    assert not list(Path("run/inbox").glob("*")) if Path("run/inbox").exists() else True


@pytest.mark.parametrize(
    "line",
    [
        "ask nowhere",
        "ask run --parent 123",
        "ask run --prompts nowhere",
        "tell run x mine.py",
        "tell run {ticket} nowhere.py",
        "tell run {ticket} .",
        "told run {ticket}",
        "told run x",
        "hint nowhere words",
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(search: Search, call: Call, line: str) -> None:
    Path("mine.py").write_text(MINE)
    ticket = api.ask("run").ticket
    ended = call(*line.format(ticket=ticket).split())
    assert ended.exit_code == 2
    assert len(ended.stderr.strip().split("\n")) == 1


def test_a_program_without_a_score_ends_with_1(search: Search, call: Call) -> None:
    for number in ("00000001", "00000002"):
        api.tell("run", api.ask("run", number=number).ticket, MINE)
    search(0)
    codes = [call("told", "run", api_ticket("run", n)).exit_code for n in range(2)]
    assert codes == [0, 1]


def api_ticket(folder: str, index: int) -> str:
    records = read_run(Path(folder, "log.jsonl")).records
    return [r.operator.removeprefix("told:") for r in records if r.operator.startswith("told:")][
        index
    ]


def test_waiting_ends_with_the_outcome_or_the_time(search: Search, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ticket = api.ask(folder).ticket
    api.tell(folder, ticket, MINE)
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 5.0 and read_run(folder / "log.jsonl").final is None:
            search(0)

    assert api.told(folder, ticket, wait_s=3.0, clock=lambda: now[0], sleep=sleep).waits
    assert now[0] == pytest.approx(3.0)
    assert api.told(folder, ticket, wait_s=60.0, clock=lambda: now[0], sleep=sleep).scored
    assert now[0] < 10.0


def test_a_hint_is_kept(search: Search, call: Call) -> None:
    assert call("hint", "run", "mind the evening").stdout == "from now on: mind the evening\n"
    search(0)
    assert [text for _, text in read_run(Path("run/log.jsonl")).hints] == ["mind the evening"]


def test_templates_are_written_changed_and_used(search: Search, call: Call) -> None:
    assert call("prompts", "mine").stdout.split() == [f"mine/{part}.j2" for part in PARTS]
    Path("mine/task.j2").write_text("Do {{ task.mode }} as you like.")
    assert "Do change as you like." in call("ask", "run", "--prompts", "mine").stdout
    Path("mine/task.j2").write_text("{{ nothing }}")
    ended = call("ask", "run", "--prompts", "mine")
    assert ended.exit_code == 2
    assert "mine/task.j2" in ended.stderr
    assert call("prompts", "mine").exit_code == 2


def test_a_file_is_named_or_a_text_is_given(search: Search, tmp_path: Path) -> None:
    folder, path = tmp_path / "run", tmp_path / "mine.py"
    path.write_text(MINE)
    assert api.tell(folder, api.ask(folder).ticket, path).waits
    with pytest.raises(ConfigurationError, match=r"none\.py"):
        api.tell(folder, api.ask(folder).ticket, "none.py")
    with pytest.raises(ConfigurationError, match=f"longer than {MOST_ANSWER} bytes"):
        path.write_text("#" * (MOST_ANSWER + 1))
        api.tell(folder, api.ask(folder).ticket, path)
