"""Processes that decide as one: one asks, all answer alike, and whatever goes wrong all fall back."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gnomon.sdk.assignment import Assignment
from gnomon.sdk.configure import _deciding
from gnomon.sdk.hook import hook
from gnomon.sdk.language import check_program
from gnomon.sdk.programs import calls
from gnomon.sdk.programs.group import share
from gnomon.sdk.programs.questions import question_of
from gnomon.sdk.programs.sockets import SocketGroup
from gnomon.sdk.records import Decision

from .conftest import Kept
from .jobs import BEYOND, FAULTY, LONGEST, jobs, kind_of

WORK = [3.0, 1.0, 2.0]
SIZE = 3


class Meeting:
    """What the ranks of a test share: a barrier, and a place for one message and for votes."""

    def __init__(self, size: int = SIZE) -> None:
        self.barrier = threading.Barrier(size)
        self.message: bytes | None = None
        self.votes: list[bool] = []


class Rank:
    """One rank in a thread of its own; ``lost`` spoils what it hears."""

    def __init__(self, meeting: Meeting, rank: int, lost: Callable[[bytes], bytes] = bytes) -> None:
        self.rank, self.size = rank, SIZE
        self._meeting = meeting
        self._lost = lost

    def broadcast(self, data: bytes | None, timeout_s: float) -> bytes:
        if data is not None:
            self._meeting.message = data
        self._meeting.barrier.wait(timeout_s)
        assert self._meeting.message is not None
        return self._lost(self._meeting.message)

    def agree(self, ok: bool, timeout_s: float) -> bool:
        self._meeting.votes.append(ok)
        self._meeting.barrier.wait(timeout_s)
        return all(self._meeting.votes)


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    found: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        found[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    return found


def came_to(found: Any) -> Any:
    """Return what a rank came to, without what it knows of why."""
    assert bool(found.why) is not found.agreed
    return found.outputs, found.agreed


def shared(outputs: Any, asked: list[Any], lost: Callable[[bytes], bytes] = bytes) -> list[Any]:
    """Return what each rank comes to; the last one hears through ``lost``."""
    meeting = Meeting()
    ranks = [Rank(meeting, i, lost if i == SIZE - 1 else bytes) for i in range(SIZE)]
    assert jobs.program is not None
    contract = jobs.program

    def call(i: int) -> Callable[[], Any]:
        question = question_of(jobs, asked[i]) if asked[i] is not None else None
        given = outputs if i == 0 else None
        return lambda: came_to(share(ranks[i], contract, question, given, 5.0))

    return in_threads([call(i) for i in range(SIZE)])


ASKED = (WORK, 2, [0, 0, 0])


def test_all_get_what_rank_0_gives() -> None:
    answer = {"machine": [0, 1, 1]}
    assert shared(answer, [ASKED] * SIZE) == [(answer, True)] * SIZE
    assert shared(None, [ASKED] * SIZE) == [(None, True)] * SIZE


def garbled(message: bytes) -> bytes:
    return message[:-3]


def unheard(message: bytes) -> bytes:
    raise TimeoutError("nothing came")


@pytest.mark.parametrize("lost", [garbled, unheard])
def test_where_one_did_not_hear_all_fall_back(lost: Callable[[bytes], bytes]) -> None:
    found = shared({"machine": [0, 1, 1]}, [ASKED] * SIZE, lost)
    assert found == [(None, False)] * SIZE


@pytest.mark.parametrize("other", [None, (WORK, 3, [0, 0, 0]), (WORK[:2], 2, [0, 0])])
def test_where_one_was_asked_something_else_all_fall_back(other: Any) -> None:
    found = shared({"machine": [0, 1, 1]}, [ASKED, ASKED, other])
    assert found == [(None, False)] * SIZE


def test_a_rank_that_is_gone_is_not_waited_for_for_ever() -> None:
    meeting = Meeting()
    assert jobs.program is not None
    question = question_of(jobs, ASKED)
    found = share(Rank(meeting, 0), jobs.program, question, {"machine": [0, 1, 1]}, 0.05)
    assert came_to(found) == (None, False)
    assert "rank 0 was not heard" in found.why


@pytest.mark.parametrize(
    ("source", "answer", "detail"),
    [(LONGEST, [0, 1, 1], ""), (BEYOND, [1, 1, 1], "violation:in_range")],
)
def test_every_rank_of_a_service_answers_alike(
    source: str, answer: list[int], detail: str, kept: Kept
) -> None:
    meeting = Meeting()
    ranks = [marked(Rank(meeting, i), f"group.{i}") for i in range(SIZE)]
    assert jobs.program is not None
    program: Any = check_program(source, jobs.program)
    for rank in ranks:
        rank.hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    assert in_threads([lambda rank=rank: rank(WORK, 2) for rank in ranks]) == [answer] * SIZE
    (made,) = kept.of(Decision)  # of rank 0 alone
    assert made.detail == detail
    assert [rank.hook.follows for rank in ranks] == [False, True, True]
    assert ranks[0].hook in _deciding()
    assert not {rank.hook for rank in ranks[1:]} & {*_deciding()}  # delivery leaves them alone
    counters = [rank.hook.counters for rank in ranks]
    assert [each["followed"] for each in counters] == [0, 1, 1]
    assert [each["collective"] for each in counters] == [0, 0, 0]


def test_a_group_that_does_not_agree_falls_back_together(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = Meeting()
    ranks = [marked(Rank(meeting, i), f"group.{i}") for i in range(SIZE)]
    assert jobs.program is not None
    program: Any = check_program(LONGEST, jobs.program)
    for rank in ranks:
        rank.hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    asked = [(WORK, 2), (WORK, 2), ([3.0, 1.0, 2.5], 2)]
    calls = [lambda rank=rank, one=one: rank(*one) for rank, one in zip(ranks, asked, strict=True)]
    assert in_threads(calls) == [[1, 1, 1]] * SIZE
    (made,) = kept.of(Decision)
    assert (made.reason, made.detail) == ("fallback", "collective")
    assert [rank.hook.counters["collective"] for rank in ranks] == [1, 1, 1]
    assert "'group.2': the group fell back together: rank 0 was asked another" in caplog.text


def test_where_one_rank_cannot_use_the_answer_all_fall_back(kept: Kept) -> None:
    def broken(rows: Any) -> Any:
        raise ValueError("no memory on this GPU")

    meeting = Meeting()
    ranks = [
        marked(Rank(meeting, i), f"group.{i}", answer=broken if i == 1 else None)
        for i in range(SIZE)
    ]
    assert jobs.program is not None
    program: Any = check_program(LONGEST, jobs.program)
    ranks[0].hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    assert in_threads([lambda rank=rank: rank(WORK, 2) for rank in ranks]) == [[1, 1, 1]] * SIZE
    assert [made.detail for made in kept.of(Decision)] == ["collective"]


def test_a_call_that_falls_back_twice_over_is_one_fallback(kept: Kept) -> None:
    meeting = Meeting()
    unlucky = Rank(meeting, 1, unheard)
    ranks = [marked(unlucky if i == 1 else Rank(meeting, i), f"group.{i}") for i in range(SIZE)]
    assert jobs.program is not None
    program: Any = check_program(FAULTY, jobs.program)
    ranks[0].hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    assert in_threads([lambda rank=rank: rank(WORK, 2) for rank in ranks]) == [[1, 1, 1]] * SIZE
    counters = ranks[0].hook.counters
    assert (counters["collective"], counters["faults"], counters["fallbacks"]) == (1, 0, 1)


class Silent:
    """A rank whose peers are not there: every step takes all its time."""

    rank, size = 1, 2

    def __init__(self) -> None:
        self.asked = 0
        self.there = False

    def broadcast(self, data: bytes | None, timeout_s: float) -> bytes:
        self.asked += 1
        return self._waited(timeout_s) or bytes(16)

    def agree(self, ok: bool, timeout_s: float) -> bool:
        self._waited(timeout_s)
        return True

    def _waited(self, timeout_s: float) -> None:
        if not self.there:
            time.sleep(timeout_s)
            raise TimeoutError("nothing came")


def test_a_group_that_stays_silent_is_not_waited_for_for_ever(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A rank whose hook was switched off must not cost the others half a minute a call."""
    monkeypatch.setattr(calls, "MARGIN_S", 0.01)
    group = Silent()
    rank = marked(group, "group.silent", kind=kind_of(deadline_s=0.01))
    for there in (False, False, True, False, False, False, False, True):
        group.there = there
        assert rank(WORK, 2) == [1, 1, 1]
    assert group.asked == 6  # the third of a row was the last
    assert rank.hook.counters["collective"] == 7
    assert caplog.text.count("not waited for any more, until") == 1
    rank.hook.begin_again()  # as when it is configured anew
    assert rank(WORK, 2) == [1, 1, 1]
    assert group.asked == 7


def marked(group: Any, name: str, kind: Any = jobs, **more: Any) -> Any:
    @hook(
        name, kind=kind, item_features=lambda question: (len(question.work),), group=group, **more
    )
    def assign(work: Any, machines: int) -> list[int]:
        return [machines - 1] * len(work)

    return assign


@pytest.fixture
def groups() -> Iterator[list[SocketGroup]]:
    """Ranks that are connected."""
    pairs = [socket.socketpair() for _ in range(SIZE - 1)]
    first = SocketGroup(0, SIZE, [near for near, _ in pairs])
    found = [first, *(SocketGroup(i + 1, SIZE, [far]) for i, (_, far) in enumerate(pairs))]
    yield found
    for each in found:
        each.close()


def steps(groups: list[SocketGroup], votes: list[bool], timeout_s: float = 5.0) -> list[Any]:
    def both(i: int) -> Any:
        heard = groups[i].broadcast(b"map" * 100_000 if i == 0 else None, timeout_s)
        return len(heard), groups[i].agree(votes[i], timeout_s)

    return in_threads([lambda i=i: both(i) for i in range(len(groups))])


def test_sockets_carry_what_rank_0_gives_and_whether_all_agree(groups: list[SocketGroup]) -> None:
    for _ in range(3):
        assert steps(groups, [True] * SIZE) == [(300_000, True)] * SIZE
        assert steps(groups, [True, False, True]) == [(300_000, False)] * SIZE


def test_a_rank_that_hangs_makes_the_others_fall_back_and_is_in_step_later(
    groups: list[SocketGroup],
) -> None:
    assert jobs.program is not None
    question, contract = question_of(jobs, ASKED), jobs.program
    answer = {"machine": [0, 1, 1]}

    def call(i: int, timeout_s: float = 5.0) -> Any:
        given = answer if i == 0 else None
        return came_to(share(groups[i], contract, question, given, timeout_s))

    assert in_threads([lambda: call(0, 0.2), lambda: call(1, 0.2)]) == [(None, False)] * 2
    assert call(2) == (None, False)  # late for that call: what it is told is that nobody agreed
    assert in_threads([lambda i=i: call(i) for i in range(SIZE)]) == [(answer, True)] * SIZE


class Interrupted(BaseException):
    """As a signal's handler raises it."""


def interrupted(group: SocketGroup, where: str) -> None:
    """Make a call that ends somewhere in its midst."""
    if where == "ask":
        return
    with contextlib.suppress(OSError):  # without any time it ends where it would have waited
        group.broadcast(b"late" if group.rank == 0 else None, 0.2 if where == "vote" else 0.0)


@pytest.mark.parametrize(
    ("rank", "where"),
    [(0, "ask"), (0, "broadcast"), (0, "vote"), (1, "broadcast"), (1, "vote")],
)
@pytest.mark.parametrize("times", [1, 2])
def test_after_a_rank_was_interrupted_the_group_is_in_step_again(
    groups: list[SocketGroup], rank: int, where: str, times: int
) -> None:
    assert jobs.program is not None
    contract = jobs.program
    answer = {"machine": [0, 1, 1]}

    def call(i: int, number: int, timeout_s: float) -> Any:
        question = question_of(jobs, ([3.0, 1.0, 2.0 + number], 2, [0, 0, 0]))
        given = answer if i == 0 else None
        return came_to(share(groups[i], contract, question, given, timeout_s))

    others = [i for i in range(SIZE) if i != rank]
    for number in range(times):
        away = [lambda: interrupted(groups[rank], where)]
        found = in_threads([*away, *(lambda i=i, n=number: call(i, n, 0.2) for i in others)])
        assert found[1:] == [(None, False)] * len(others)
    found = []
    for number in range(times, times + 3):
        found = in_threads([lambda i=i, n=number: call(i, n, 2.0) for i in range(SIZE)])
        assert found in ([(None, False)] * SIZE, [(answer, True)] * SIZE)  # never some of them
    assert found == [(answer, True)] * SIZE


def test_rank_0_tells_the_others_that_it_was_interrupted(
    kept: Kept, groups: list[SocketGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for an answer that will not come, and the next call is answered by the program."""
    ranks = [marked(group, f"group.{i}") for i, group in enumerate(groups)]
    assert jobs.program is not None
    program: Any = check_program(LONGEST, jobs.program)
    ranks[0].hook.install(Assignment(1, "full", candidate=program, candidate_digest="c" * 64))
    guard = ranks[0].hook._arms.candidate
    ask = guard.ask

    def interrupt(question: Any) -> Any:
        monkeypatch.setattr(guard, "ask", ask)
        raise Interrupted

    monkeypatch.setattr(guard, "ask", interrupt)

    def first() -> Any:
        with contextlib.suppress(Interrupted):
            return ranks[0](WORK, 2)

    begin = time.monotonic()
    others = [lambda rank=rank: rank(WORK, 2) for rank in ranks[1:]]
    assert in_threads([first, *others]) == [None, *[[1, 1, 1]] * (SIZE - 1)]
    assert time.monotonic() - begin < 2.0 * jobs.deadline_s
    assert in_threads([lambda rank=rank: rank(WORK, 2) for rank in ranks]) == [[0, 1, 1]] * SIZE
    counters = ranks[0].hook.counters
    assert (counters["raised"], counters["collective"]) == (1, 0)


def test_a_rank_that_went_makes_the_others_fall_back(groups: list[SocketGroup]) -> None:
    groups[2].close()
    assert jobs.program is not None
    question, contract = question_of(jobs, ASKED), jobs.program
    answer = {"machine": [0, 1, 1]}
    calls = [
        lambda i=i: came_to(share(groups[i], contract, question, answer if i == 0 else None, 0.3))
        for i in (0, 1)
    ]
    assert in_threads(calls) == [(None, False)] * 2


def test_a_rank_that_lies_about_its_vote_takes_neither_memory_nor_time() -> None:
    near, far = socket.socketpair()
    first = SocketGroup(0, 2, [near])
    far.sendall(struct.pack("<QI", 3, 200 << 20) + bytes(1000))  # and never the rest
    begin = time.monotonic()
    first.broadcast(b"map", 5.0)
    assert not first.agree(True, 5.0)
    assert time.monotonic() - begin < 4.0
    first.close()
    far.close()


def test_a_socket_for_every_peer() -> None:
    with pytest.raises(ValueError, match="rank 0 of 3 has 0 sockets"):
        SocketGroup(0, 3, [])
