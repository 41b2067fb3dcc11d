"""Agents and people beside a search: tickets, files in the inbox, what becomes of them, whatever is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import ConfigurationError, LanguageError, TraceError
from gnomon.shadow.evaluation import Evaluation, Split, Status, Trial
from gnomon.shadow.search.authors import edits, inbox, telling
from gnomon.shadow.search.authors.inbox import FolderInbox, Ticket
from gnomon.shadow.search.authors.prompts import statement, templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.prompts.lessons import begun_with
from gnomon.shadow.search.authors.writers import Authors
from gnomon.shadow.search.authors.writing import Arm, Written
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import proposals, read_run
from gnomon.shadow.search.records import Assignment, Budget, Draft, Outcome, Record, Reply
from gnomon.shadow.search.results.result import EvolveResult
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import keyless

if TYPE_CHECKING:
    from .conftest import RankEngine

BUDGET = 24


def program(number: float) -> str:
    return (
        "import math\n\ndef score(inflight, ewma_ms):\n"
        f"    return {number} * math.log1p(inflight) + 0.6 * math.log1p(ewma_ms)\n"
    )


class Killed(BaseException):
    """Stands for a signal that nobody can handle."""


class Mortal:
    """An engine that dies with the whole search at one of its evaluations."""

    def __init__(self, engine: RankEngine, life: int) -> None:
        self.engine, self.life = engine, life
        self.layers = engine.layers

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        self.life -= 1
        if self.life < 0:
            raise Killed
        return self.engine.submit(source, split)

    def close(self) -> None:
        self.engine.close()


Run = Callable[..., EvolveResult | None]


@pytest.fixture
def run(rank_engine: type[RankEngine]) -> Run:
    """Searches in a folder, resuming what is there, for so many evaluations; None when that killed it."""

    def searched(
        folder: Path, life: int = 1_000, authors: Authors | None = None, **more: object
    ) -> EvolveResult | None:
        engine = Mortal(rank_engine(), life)
        resume = (folder / "log.jsonl").exists()
        options = Options(Budget(BUDGET), seed=3, resume=resume, **more)  # type: ignore[arg-type]
        try:
            who = authors or Authors(inbox=FolderInbox(folder))
            return evolve(load_balancer, engine, options, folder, authors=who)
        except Killed:
            return None
        finally:
            engine.close()

    return searched


def told_records(folder: Path) -> list[Record]:
    return [r for r in proposals(folder / "log.jsonl") if r.operator.startswith("told:")]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "inbox").glob("*"))


@pytest.fixture
def begun(run: Run, tmp_path: Path) -> Path:
    """The folder of a run that was killed in its middle."""
    folder = tmp_path / "run"
    assert run(folder, 12) is None
    return folder


def test_ask_prints_what_is_known_and_changes_nothing(begun: Path) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    asked = telling.ask(begun, "00000001")
    text = "\n".join(text for _, text in asked.prompt.messages)
    assert asked.source.strip() in text
    assert "load_balancer" in text
    assert asked.ticket in str(asked)
    assert json.loads(json.dumps(asked.as_json()))["ticket"] == asked.ticket
    assert telling.ask(begun, "00000001") == asked
    parents = {telling.ask(begun, f"{n:08x}").parent for n in range(20)}
    assert len(parents) > 1
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


def test_a_parent_may_be_named(begun: Path) -> None:
    wanted = next(r for r in proposals(begun / "log.jsonl") if r.outcome is Outcome.OK)
    asked = telling.ask(begun, "00000001", parent=wanted.program[:8])
    assert (asked.parent, asked.source) == (wanted.program, wanted.source)
    for name in ("ffffffffffff", wanted.program[:3]):
        with pytest.raises(ConfigurationError, match="names"):
            telling.ask(begun, "00000001", parent=name)


def test_what_is_told_takes_the_next_step_and_stays_in_the_log(begun: Path, run: Run) -> None:
    asked = telling.ask(begun, "0000000a")
    state = telling.tell(begun, asked.ticket, f"Mine:\n```python\n{program(1.7)}```\n", "ann")
    assert state.waits
    assert telling.told(begun, asked.ticket).waits
    assert "gnomon evolve --resume" in str(state)
    known = len(list(proposals(begun / "log.jsonl")))
    assert run(begun) is not None
    (record,) = told_records(begun)
    assert (record.author, record.source, record.outcome) == ("ann", program(1.7), Outcome.OK)
    assert (record.step, record.parents) == (known, (asked.parent,))
    assert files(begun) == []
    ended = telling.told(begun, asked.ticket)
    assert (ended.state, ended.score, ended.step) == ("ok", record.score, known)
    assert ended.scored
    assert f"score {record.score:.6g}" in str(ended)
    log = (begun / "log.jsonl").read_bytes()
    assert run(begun) is not None
    assert (begun / "log.jsonl").read_bytes() == log


def test_a_search_takes_it_while_it_runs(tmp_path: Path, rank_engine: type[RankEngine]) -> None:
    tickets: list[str] = []

    def at(source: str, time: int) -> None:
        if engine.calls.total() >= 8 and not tickets:
            asked = telling.ask(tmp_path, "00000001")
            telling.tell(tmp_path, asked.ticket, program(1.71))
            tickets.append(asked.ticket)

    engine = rank_engine(1, at)
    authors = Authors(inbox=FolderInbox(tmp_path))
    evolve(load_balancer, engine, Options(Budget(BUDGET)), tmp_path, authors=authors)
    engine.close()
    (record,) = told_records(tmp_path)
    assert record.operator == f"told:{tickets[0]}"
    assert record.outcome is Outcome.OK
    assert record.step < BUDGET


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("", "no program"),
        ("I could not.", "no program"),
        ("def other(x):\n    return x\n", "score"),
        ("import os\n\ndef score(noise):\n    return os.getpid()\n", "line 1"),
        ("def score(nothing):\n    return nothing\n", "nothing"),
        ("<<<<<<< SEARCH\nnowhere\n=======\nx\n>>>>>>> REPLACE\n", "do not stand in the program"),
        ("```python\ndef score(noise):", "cut"),
    ],
)
def test_what_is_no_policy_is_refused_at_once(begun: Path, answer: str, error: str) -> None:
    asked = telling.ask(begun, "00000001")
    with pytest.raises((ConfigurationError, LanguageError), match=error):
        telling.tell(begun, asked.ticket, answer)
    assert files(begun) == []
    assert telling.tell(begun, asked.ticket, program(1.3)).waits, "the ticket is still good"


def test_the_parent_itself_is_refused_and_a_diff_is_taken(begun: Path, run: Run) -> None:
    asked = telling.ask(begun, "00000001")
    with pytest.raises(ConfigurationError, match="unchanged"):
        telling.tell(begun, asked.ticket, asked.source)
    line = next(line for line in asked.source.split("\n") if "return" in line)
    diff = f"<<<<<<< SEARCH\n{line}\n=======\n{line} + 0.5\n>>>>>>> REPLACE\n"
    telling.tell(begun, asked.ticket, diff)
    run(begun)
    (record,) = told_records(begun)
    assert record.source == asked.source.replace(line, f"{line} + 0.5", 1)


def test_a_duplicate_counts_and_is_said_so(begun: Path, run: Run) -> None:
    tickets = [telling.ask(begun, f"0000000{n}").ticket for n in range(2)]
    for ticket in tickets:
        telling.tell(begun, ticket, program(1.9))
    run(begun)
    assert [telling.told(begun, ticket).state for ticket in tickets] == ["ok", "duplicate"]
    assert not telling.told(begun, tickets[1]).scored


@pytest.mark.parametrize("author", ["", "keyless", "a\nb", "x" * 61, "-x", "\x1b[0m"])
def test_an_author_has_a_name(begun: Path, author: str) -> None:
    ticket = telling.ask(begun, "00000001").ticket
    with pytest.raises(ConfigurationError, match="--author"):
        telling.tell(begun, ticket, program(1.3), author)


def test_tickets_are_good_for_one_run_and_one_program(
    begun: Path, run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert run(other, 12, window=4) is None
    ticket = telling.ask(other, "00000001").ticket
    with pytest.raises(ConfigurationError, match="of another run"):
        telling.tell(begun, ticket, program(1.3))
    with pytest.raises(ConfigurationError, match="of another run"):
        telling.told(begun, ticket)
    for text in ("", "ticket", ticket[:-1], ticket.upper() + "0", "x" * 10_000):
        with pytest.raises(ConfigurationError, match="is no ticket"):
            telling.tell(begun, text, program(1.3))
    mine = telling.ask(begun, "00000001").ticket
    with pytest.raises(ConfigurationError, match="nothing was told"):
        telling.told(begun, mine)
    telling.tell(begun, mine, program(1.3))
    with pytest.raises(ConfigurationError, match="told already"):
        telling.tell(begun, mine, program(1.4))
    run(begun)
    with pytest.raises(ConfigurationError, match="has ended"):
        telling.tell(begun, mine, program(1.5))
    with pytest.raises(ConfigurationError, match="has ended"):
        telling.ask(begun, "00000002")
    with pytest.raises(ConfigurationError, match="no log"):
        telling.ask(tmp_path / "nowhere", "00000001")
    assert [each.source for each in told_records(begun)] == [program(1.3)]


def test_told_again_once_the_first_is_in_the_log(begun: Path, run: Run) -> None:
    ticket = telling.ask(begun, "00000001").ticket
    telling.tell(begun, ticket, program(1.3))
    assert run(begun, 16) is None
    assert len(told_records(begun)) == 1
    assert files(begun) == []
    with pytest.raises(ConfigurationError, match="told already"):
        telling.tell(begun, ticket, program(1.4))


def test_of_many_tellers_at_once_one_is_taken_for_each_ticket(begun: Path, run: Run) -> None:
    tickets = [telling.ask(begun, f"0000000{n}").ticket for n in range(3)]
    start, taken = threading.Barrier(12), Counter[str]()

    def teller(number: int) -> None:
        ticket = tickets[number % 3]
        start.wait()
        with suppress(ConfigurationError):
            telling.tell(begun, ticket, program(1 + number / 16))
            taken[ticket] += 1

    threads = [threading.Thread(target=teller, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == dict.fromkeys(tickets, 1)
    assert files(begun) == sorted(f"{ticket}.json" for ticket in tickets)
    run(begun)
    assert Counter(r.operator for r in told_records(begun)) == {f"told:{t}": 1 for t in tickets}


def test_what_comes_too_late_is_said_so(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(folder, BUDGET) is None  # all evaluations asked for, none of the finalists
    ticket = telling.ask(folder, "00000001").ticket
    telling.tell(folder, ticket, program(1.3))
    assert run(folder) is not None
    state = telling.told(folder, ticket)
    assert "too late" in str(state)
    assert not state.waits


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("{run}-0000000000000000-00000001.json", b"{"),
        ("{run}-0000000000000000-00000001.json", b"[]"),
        ("{run}-0000000000000000-00000001.json", b'{"format": 1, "source": 3}'),
        (
            "{run}-0000000000000000-00000001.json",
            b'{"format": 2, "source": "", "parents": [], "author": "a"}',
        ),
        (
            "{run}-0000000000000000-00000001.json",
            b'{"format": 1, "source": "", "parents": [], "author": "keyless"}',
        ),
        (
            "{run}-0000000000000000-00000001.json",
            b'{"format": 1, "source": "", "parents": [1], "author": "a"}',
        ),
        ("{run}-0000000000000000-00000001.json", b" " * (inbox.MOST_BYTES + 1)),
        (
            "ffffffff-0000000000000000-00000001.json",
            b'{"format": 1, "source": "x", "parents": [], "author": "a"}',
        ),
        ("hint-ffffffff-0000000000000000.json", b'{"format": 1, "hint": "of another run"}'),
        ("hint-{run}-0000000000000000.json", b'{"format": 1, "hint": 7}'),
        ("notes.txt", b"hello"),
        (".told-abc.tmp", b"half"),
    ],
)
def test_files_that_are_no_business_of_the_run_do_no_harm(
    begun: Path, run: Run, name: str, body: bytes
) -> None:
    run_name = read_run(begun / "log.jsonl").run[:8]
    (begun / "inbox").mkdir(exist_ok=True)
    (begun / "inbox" / name.format(run=run_name)).write_bytes(body)
    assert run(begun) is not None
    assert told_records(begun) == []
    assert read_run(begun / "log.jsonl").hints == ()


def test_a_pipe_in_the_inbox_hangs_nobody(begun: Path, run: Run) -> None:
    run_name = read_run(begun / "log.jsonl").run[:8]
    (begun / "inbox").mkdir(exist_ok=True)
    os.mkfifo(begun / "inbox" / f"{run_name}-0000000000000000-00000001.json")
    assert run(begun) is not None


def test_a_program_outside_the_language_in_a_file_is_invalid_like_any(
    begun: Path, run: Run
) -> None:
    ticket = telling.ask(begun, "00000001").ticket
    inbox.put(begun, Ticket.parse(ticket), Draft("import os\n", "", (), "mallory"))
    run(begun)
    (record,) = told_records(begun)
    assert (record.outcome, record.author) == (Outcome.INVALID, "mallory")
    assert "line 1" in telling.told(begun, ticket).reason


# -- killed at any moment --------------------------------------------------------------------------------------


@settings(max_examples=4)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=6))
def test_nothing_told_is_lost_or_taken_twice_however_often_a_search_is_killed(
    tmp_path_factory: pytest.TempPathFactory,
    rank_engine: type[RankEngine],
    lives: list[tuple[int, bool]],
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    searched = run.__wrapped__(rank_engine)  # type: ignore[attr-defined]
    assert searched(folder, 8) is None
    told: list[str] = []
    for number, (life, crash) in enumerate(lives):
        ticket = telling.ask(folder, f"{number:08x}").ticket
        telling.tell(folder, ticket, program(1 + number / 7))
        telling.hint(folder, f"hint {number}")
        told.append(ticket)
        kept = {path: path.read_bytes() for path in (folder / "inbox").iterdir()}
        if searched(folder, life) is not None:
            break
        if crash:  # what the log holds by now was not removed from the inbox
            for path, body in kept.items():
                path.write_bytes(body)
    searched(folder)
    taken = Counter(each.operator.removeprefix("told:") for each in told_records(folder))
    assert max(taken.values(), default=1) == 1
    late = [ticket for ticket in told if ticket not in taken]
    assert all(telling.told(folder, ticket).state == "too late" for ticket in late)
    hints = [text for _, text in read_run(folder / "log.jsonl").hints]
    assert len(hints) == len(set(hints))
    whole = (folder / "log.jsonl").read_bytes()
    assert searched(folder) is not None
    assert (folder / "log.jsonl").read_bytes() == whole


SCRIPT = """
import sys
from pathlib import Path
from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.evaluation import Evaluation, Status
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.authors.inbox import FolderInbox
from gnomon.shadow.search.records import Budget, digest
from gnomon.shadow.search.authors.writers import Authors
from concurrent.futures import Future

class Engine:
    layers = ()
    def submit(self, source, split, trial=None):
        done = Future()
        done.set_result(Evaluation(Status.OK, int(digest(source)[:8], 16) / 2**32, (0.5,)))
        return done

folder = Path(sys.argv[1])
print("begins", flush=True)
options = Options(Budget(60), strategy="published", wait=True, resume=(folder / "log.jsonl").exists())
evolve(load_balancer, Engine(), options, folder, authors=Authors(inbox=FolderInbox(folder)))
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "begins\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


# -- hints -----------------------------------------------------------------------------------------------------


class Scripted:
    """A writer that answers with a program that depends on the prompt, and keeps the prompts."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def submit(self, assignment: Assignment) -> Future[Reply]:
        self.prompts.append(assignment.brief.prompt.messages[1][1])
        luck = random.Random(assignment.brief.prompt.digest)
        source, error = edits.read(program(round(luck.uniform(1, 2), 2)), assignment)
        future: Future[Reply] = Future()
        future.set_result(Reply(source, error))
        return future

    def close(self) -> None: ...


class Flat:
    def values(self) -> dict[str, float]:
        return {"one": 1.0}

    def submitted(self, arm: str) -> None: ...

    def told(self, arm: str, reward: float, cost: float | None = None) -> None: ...


def test_a_hint_is_in_all_later_prompts_also_of_a_resumed_run(run: Run, tmp_path: Path) -> None:
    prompts = Prompts(templates.load(), statement.of_space(Space(load_balancer)))
    folder = tmp_path / "run"

    def go(life: int) -> Scripted:
        writer = Scripted()
        makers = ((1.0, Written([Arm("one")], prompts, Flat())), *keyless())
        run(folder, life, Authors(makers, writer, FolderInbox(folder)))
        return writer

    assert all("be bold" not in text for text in go(12).prompts)
    assert telling.hint(folder, " be\n bold ") == "be bold"
    telling.hint(folder, "be bold")
    assert len(files(folder)) == 1
    middle = go(4).prompts
    assert middle
    assert all("- be bold" in text for text in middle)
    telling.hint(folder, "and quick")
    last = go(1_000).prompts
    assert last
    assert all("- be bold\n- and quick" in text for text in last)
    assert [text for _, text in read_run(folder / "log.jsonl").hints] == ["be bold", "and quick"]
    assert files(folder) == []


def test_a_run_is_resumed_with_the_lessons_that_it_began_with(run: Run, tmp_path: Path) -> None:
    about = statement.of_space(Space(load_balancer))
    folder = tmp_path / "run"

    def go(life: int, *said: str) -> EvolveResult | None:
        known = begun_with(folder)
        prompts = Prompts(templates.load(), about, lessons=said if known is None else known)
        written = Written([Arm("one")], prompts, Flat())
        makers = ((1.0, written), *keyless())
        settings = {"written": written.header()}
        return run(folder, life, Authors(makers, Scripted(), FolderInbox(folder), settings))

    assert begun_with(folder) is None
    assert go(12, "no pile-ups") is None
    assert begun_with(folder) == ("no pile-ups",)
    assert go(1_000, "refused meanwhile", "no pile-ups") is not None


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 1_001, "a\0b", "\x1b[2J"])
def test_a_hint_says_something(begun: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="a hint of"):
        telling.hint(begun, text)


def test_hints_and_tickets_of_a_log_that_was_edited_are_refused(begun: Path) -> None:
    log = begun / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b"peak_ewma", b"peak_ewmb", 1))
    with pytest.raises(TraceError, match="edited"):
        telling.hint(begun, "x")


def test_a_run_that_waits_for_agents_is_killed_and_goes_on(
    tmp_path: Path, process: Callable[[], subprocess.Popen[str]]
) -> None:
    """Alone with its agents: SIGKILL while it waits, twice, and every program is in the log once."""
    from gnomon import api

    child = process()
    until_seeds = _awaited(tmp_path)
    for number in range(3):
        ticket = until_seeds(number)
        api.tell(tmp_path, ticket, program(1 + number / 7))
        if number < 2:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child = process()
        assert not api.told(tmp_path, ticket, wait_s=60).waits
    taken = Counter(each.operator for each in told_records(tmp_path))
    assert len(taken) == 3
    assert set(taken.values()) == {1}


def _awaited(folder: Path) -> Callable[[int], str]:
    """Return what asks as soon as the run has a log to ask from."""

    def asked(number: int) -> str:
        pause = threading.Event()
        while True:
            try:
                return telling.ask(folder, f"{number:08x}").ticket
            except (ConfigurationError, TraceError) as error:
                assert "no log" in str(error) or "no header yet" in str(error)
            pause.wait(0.05)

    return asked


# -- a folder instead of a trace -------------------------------------------------------------------------------

PROGRAM = """\
import sys

# EVOLVE-BLOCK-START
def run(x):
    return x + 1.5
# EVOLVE-BLOCK-END
"""


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    """A folder in OpenEvolve's form."""
    folder = tmp_path / "problem"
    folder.mkdir()
    (folder / "initial_program.py").write_text(PROGRAM)
    (folder / "evaluator.py").write_text(
        "def evaluate(path):\n    return {'combined_score': 1.0}\n"
    )
    (folder / "config.yaml").write_text("prompt:\n  system_message: Make it small.\n")
    return folder


class Short:
    """An engine that dies, and before that likes short programs."""

    layers: tuple[str, ...] = ()

    def __init__(self, life: int) -> None:
        self.life = life

    def submit(self, source: str, split: Split, trial: Trial | None = None) -> Future[Evaluation]:
        self.life -= 1
        if self.life < 0:
            raise Killed
        done: Future[Evaluation] = Future()
        done.set_result(Evaluation(Status.OK, float(len(source)), (1.0,)))
        return done

    def close(self) -> None: ...


def test_a_search_of_a_folder_asks_and_is_told(problem: Path, tmp_path: Path) -> None:
    from gnomon.shadow.problems.folder import Problem
    from gnomon.shadow.problems.space import ProblemSpace

    space, folder = ProblemSpace(Problem.read(problem)), tmp_path / "run"
    subject = {"problem": space.problem.digest}

    def go(life: int) -> None:
        resume = (folder / "log.jsonl").exists()
        options = Options(Budget(20), subject=subject, resume=resume)
        with suppress(Killed):
            evolve(space, Short(life), options, folder, authors=Authors(inbox=FolderInbox(folder)))

    go(8)
    with pytest.raises(ConfigurationError, match="name it with --problem"):
        telling.ask(folder, "00000001")
    asked = telling.ask(folder, "00000001", problem=problem)
    text = asked.prompt.messages[1][1]
    assert "Make it small." in text
    assert "EVOLVE-BLOCK-START" in text
    assert "higher is better" in text
    with pytest.raises(ConfigurationError, match="only what stands between"):
        changed = asked.source.replace("import sys", "import os")
        telling.tell(folder, asked.ticket, changed, problem=problem)
    assert asked.parts()[-1].endswith(f"{asked.ticket} FILE --problem {problem}")
    telling.tell(folder, asked.ticket, "```python\ndef run(x):\n    return 7\n```", problem=problem)
    go(1_000)
    (record,) = told_records(folder)
    state = telling.told(folder, asked.ticket)
    assert state.score == -record.score  # as the evaluator counts
    assert state.best is not None and state.best >= state.score
    assert record.outcome is Outcome.OK
    assert "return 7" in record.source
    assert record.source.startswith("import sys\n\n# EVOLVE-BLOCK-START\n")
    (problem / "initial_program.py").write_text(PROGRAM.replace("1.5", "2.5"))
    with pytest.raises(ConfigurationError, match="has ended|is not what"):
        telling.ask(folder, "00000002", problem=problem)
