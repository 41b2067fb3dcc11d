"""Whatever receiver, network and service do: acknowledged records are there, dropped ones are not.

The receiver keeps, per attempt, what its script says, and tells the truth or loses its answer; the test
knows every batch, so that it can ask of each whether its fate is true.
"""

from __future__ import annotations

import threading
from collections import Counter
from concurrent import futures
from contextlib import ExitStack
from random import Random
from typing import Any

import grpc
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.accounting import Account
from gnomon.sdk.telemetry.delivery import METHOD, Batch, Fate
from gnomon.sdk.telemetry.export import Limits
from gnomon.sdk.telemetry.retry import STATUS_DETAILS, retry_status
from gnomon.sdk.telemetry.settings import Settings

from ..fakes import FakeHook, decision
from .receivers import Request, Response, logs_of, sequence
from .test_receivers import relaying

_TIMEOUT_S = 0.3
_CODES = [
    *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED),
    *(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.OUT_OF_RANGE),
    *(grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL),
]
_FINAL = [
    *(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED),
    *(grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED),
    *(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED),
]


class Scripted(grpc.GenericRpcHandler):
    """Keeps and answers, attempt by attempt, as it is told; accepts after the end of its script.

    Attributes:
        script: (what, argument) of the attempts to come.
        kept: how often each record was kept.
    """

    def __init__(self) -> None:
        self.script: list[tuple[str, Any]] = []
        self.kept: Counter[int] = Counter()
        self.release = threading.Event()
        self._lock = threading.Lock()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return (
            grpc.unary_unary_rpc_method_handler(self.export) if details.method == METHOD else None
        )

    def export(self, data: bytes, context: Any) -> bytes:
        with self._lock:
            what, argument = self.script.pop(0) if self.script else ("accept", None)
        numbers = [sequence(log) for log in logs_of(Request.FromString(data))]
        if what in ("accept", "kept, then", "kept, late", "kept, garbage"):
            self._keep(numbers)
        if what in ("kept, then", "refused"):
            context.abort(argument, "scripted")
        if what == "come later":
            details = retry_status(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "later", argument)
            context.set_trailing_metadata(((STATUS_DETAILS, details),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "scripted")
        if what in ("kept, late", "late"):
            self.release.wait(2 * _TIMEOUT_S)
            if what == "late":
                self._keep(numbers)
        if what == "kept, garbage":
            return argument
        if what == "partial":
            rejected = min(argument, len(numbers))
            self._keep(numbers[: len(numbers) - rejected])
            response = Response()
            response.partial_success.rejected_log_records = rejected
            return response.SerializeToString()
        return b""

    def _keep(self, numbers: list[int]) -> None:
        with self._lock:
            self.kept.update(numbers)


_attempts = st.one_of(
    st.tuples(st.just("accept"), st.none()),
    st.tuples(st.just("kept, then"), st.sampled_from(_CODES)),
    st.tuples(st.just("refused"), st.sampled_from([*_CODES, *_FINAL])),
    st.tuples(st.just("come later"), st.sampled_from([0.0, 0.01, 5.0])),
    st.tuples(st.sampled_from(["kept, late", "late"]), st.none()),
    st.tuples(st.just("kept, garbage"), st.sampled_from([b"\xff", b"nonsense", b"\x08\x07"])),
    st.tuples(st.just("partial"), st.integers(0, 6)),
)


class Accounts(RuleBasedStateMachine):
    """One sink against one receiver, with a relay between that can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.receiver = Scripted()
        # left last, when every answer has been given
        pool = self.stack.enter_context(futures.ThreadPoolExecutor(8))
        server = grpc.server(pool, handlers=(self.receiver,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.stack.callback(lambda: server.stop(None).wait(5))
        address, self.relay = self.stack.enter_context(relaying(f"127.0.0.1:{port}"))
        self.sink = OtlpSink(
            settings=Settings(address, timeout_s=_TIMEOUT_S),
            limits=Limits(backlog=60, batch=4),
            rng=Random(1),
        )
        self.fates: list[tuple[list[int], Fate]] = []
        self.deliver, self.sink._fate = self.sink._fate, self.delivering  # type: ignore[method-assign]
        self.next = 0
        self.before: Account = self.sink.account()

    def delivering(self, batch: Batch, within_s: float) -> Fate:
        fate = self.deliver(batch, within_s)
        numbers = [sequence(log) for log in logs_of(Request.FromString(batch.payload))]
        self.fates.append((numbers, fate))
        return fate

    @rule(n=st.integers(1, 30))
    def decide(self, n: int) -> None:
        self.write(n)

    def write(self, n: int) -> None:
        self.sink.write(FakeHook(), [decision(self.next + i) for i in range(n)])
        self.next += n

    @rule(attempts=st.lists(_attempts, min_size=1, max_size=6))
    def tell(self, attempts: list[tuple[str, Any]]) -> None:
        self.script(attempts)

    def script(self, attempts: list[tuple[str, Any]]) -> None:
        self.receiver.script.extend(attempts)

    @rule(
        first=st.sampled_from(_CODES),
        second=st.sampled_from(_FINAL).map(lambda code: ("refused", code)) | _attempts,
    )
    def change_its_mind(self, first: grpc.StatusCode, second: tuple[str, Any]) -> None:
        """Keep a batch, say otherwise, and judge anew when it comes again."""
        self.script([("kept, then", first), second])
        self.write(2)

    @rule()
    def cut(self) -> None:
        self.relay.cut()

    @rule(passing=st.booleans())
    def part(self, passing: bool) -> None:
        """Let nobody through any more, or let them again."""
        self.relay.passing = passing
        if not passing:
            self.relay.cut()

    @rule(timeout_s=st.sampled_from([0.0, 0.05, 5.0]))
    def flush(self, timeout_s: float) -> None:
        self.sink.flush(timeout_s)

    @invariant()
    def numbers_only_grow_and_add_up(self) -> None:
        now = self.sink.account()
        assert now.recorded == self.next
        assert now.pending >= 0
        assert now.recorded == now.acknowledged + now.dropped + now.unknown + now.pending
        for name in ("acknowledged", "dropped", "unknown"):
            assert getattr(now, name) >= getattr(self.before, name)
        self.before = now

    def teardown(self) -> None:
        try:
            self.sink.close(0.5)
            account = self.sink.account()
            self.receiver.release.set()
            for thread in self.sink._threads:
                thread.join(5)
        finally:
            self.stack.close()  # all handlers have come back: nothing is kept any more
        self.check(account)

    def check(self, account: Account) -> None:
        kept = set(self.receiver.kept)
        assert account.pending == 0
        assert (
            account.recorded
            == self.next
            == account.acknowledged + account.dropped + account.unknown
        )
        assert account.acknowledged <= len(kept) <= account.acknowledged + account.unknown
        sent = {number for numbers, _ in self.fates for number in numbers}
        assert kept <= sent
        for numbers, fate in self.fates:
            there = len(kept.intersection(numbers))
            assert len(numbers) == fate.acknowledged + fate.dropped + fate.unknown
            assert fate.acknowledged <= there <= len(numbers) - fate.dropped


def test_every_fate_is_true() -> None:
    run_state_machine_as_test(
        Accounts, settings=settings(max_examples=40, stateful_step_count=10, deadline=None)
    )


@pytest.mark.soak
def test_every_fate_is_true_over_and_over() -> None:
    run_state_machine_as_test(
        Accounts, settings=settings(max_examples=400, stateful_step_count=25, deadline=None)
    )
