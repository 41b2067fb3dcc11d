"""The exporter's accounting is exact whatever the receiver does, and the caller is never held up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from random import Random
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as pb_grpc

from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.accounting import Account
from gnomon.sdk.telemetry.export import Limits, _by_type, _cut
from gnomon.sdk.telemetry.retry import STATUS_DETAILS, Backoff, retry_delay, retry_status
from gnomon.sdk.telemetry.settings import Settings

from .fakes import FakeHook, decision, outcome

Answer = Callable[[grpc.ServicerContext], pb.ExportLogsServiceResponse]


def accept(_: grpc.ServicerContext) -> pb.ExportLogsServiceResponse:
    return pb.ExportLogsServiceResponse()


def partial(rejected: int) -> Answer:
    def answer(_: grpc.ServicerContext) -> pb.ExportLogsServiceResponse:
        response = pb.ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = rejected
        response.partial_success.error_message = "some were bad"
        return response

    return answer


def refuse(code: grpc.StatusCode, retry_s: float | None = None) -> Answer:
    def answer(context: grpc.ServicerContext) -> pb.ExportLogsServiceResponse:
        if retry_s is not None:
            details = retry_status(code.value[0], "later", retry_s)
            context.set_trailing_metadata(((STATUS_DETAILS, details),))
        context.abort(code, "scripted")
        raise AssertionError("abort returns")

    return answer


class Scripted(pb_grpc.LogsServiceServicer):
    """OpenTelemetry's own servicer, answering by a script; after its end it accepts."""

    def __init__(self, script: list[Answer], then: Answer = accept) -> None:
        self.script, self.then = list(script), then
        self.requests: list[bytes] = []
        self.metadata: dict[str, Any] = {}
        self._lock = threading.Lock()

    def Export(self, request: Any, context: grpc.ServicerContext) -> pb.ExportLogsServiceResponse:
        with self._lock:
            self.requests.append(request.SerializeToString())
            self.metadata = dict(context.invocation_metadata())
            answer = self.script.pop(0) if self.script else self.then
        return answer(context)


@contextmanager
def serving(servicer: Scripted) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_LogsServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(5)


def sink_for(target: str, timeout_s: float = 5.0, **limits: int) -> OtlpSink:
    made = Settings(target, timeout_s=timeout_s)
    return OtlpSink(settings=made, limits=Limits(**limits), rng=Random(1))


def sent(sink: OtlpSink, n: int, wait_s: float = 20.0) -> Account:
    """Write n decisions, close, and return the account after checking its sum."""
    sink.write(FakeHook(), [decision(i) for i in range(n)])
    sink.close(wait_s)
    return settled(sink)


def settled(sink: OtlpSink) -> Account:
    account = sink.account()
    assert account.recorded == account.acknowledged + account.dropped + account.unknown
    assert account.pending == 0
    return account


def test_acknowledged() -> None:
    servicer = Scripted([])
    with serving(servicer) as target:
        account = sent(sink_for(target, batch=10), 25)
    assert account.acknowledged == 25
    assert sorted(_count(request) for request in servicer.requests) == [5, 10, 10]


def test_retries_send_the_same_bytes() -> None:
    script = [refuse(grpc.StatusCode.UNAVAILABLE), refuse(grpc.StatusCode.ABORTED)]
    servicer = Scripted([*script, refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, 0.01)])
    with serving(servicer) as target:
        account = sent(sink_for(target), 3)
    assert account.acknowledged == 3
    assert len(servicer.requests) == 4
    assert len(set(servicer.requests)) == 1


def test_partial_success_counts_what_was_rejected() -> None:
    with serving(Scripted([partial(4)])) as target:
        account = sent(sink_for(target), 10)
    assert (account.acknowledged, account.dropped) == (6, 4)
    assert account.reasons == {"rejected": 4}


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED]
)
def test_a_refusal_is_final(code: grpc.StatusCode) -> None:
    servicer = Scripted([], then=refuse(code))
    with serving(servicer) as target:
        account = sent(sink_for(target), 3)
    assert account.reasons == {f"refused:{code.name}": 3}
    assert len(servicer.requests) == 1


def test_exhausted_without_retry_info_is_final() -> None:
    servicer = Scripted([], then=refuse(grpc.StatusCode.RESOURCE_EXHAUSTED))
    with serving(servicer) as target:
        assert sent(sink_for(target), 3).dropped == 3
    assert len(servicer.requests) == 1


def test_nobody_there_is_dropped_and_said_so() -> None:
    account = sent(sink_for("127.0.0.1:1", timeout_s=0.3), 3)
    assert account.reasons == {"unreachable": 3}


@contextmanager
def stuck_after(sink_limits: dict[str, int], first: int) -> Iterator[OtlpSink]:
    """Yield a sink whose receiver holds its first request, of ``first`` records, for ever."""
    release = threading.Event()

    def stuck(context: grpc.ServicerContext) -> pb.ExportLogsServiceResponse:
        release.wait(20)
        return accept(context)

    servicer = Scripted([], then=stuck)
    with serving(servicer) as target:
        sink = sink_for(target, timeout_s=60.0, senders=1, **sink_limits)
        sink.write(FakeHook(), [decision(i) for i in range(first)])
        _until(lambda: bool(servicer.requests))
        yield sink
        release.set()


def test_a_stuck_receiver_leaves_the_rest_unknown_and_never_blocks_the_caller() -> None:
    with stuck_after({"batch": 10, "backlog": 30}, 10) as sink:
        started = time.monotonic()
        for start in range(10, 100, 10):
            sink.write(FakeHook(), [decision(start + i) for i in range(10)])
        assert time.monotonic() - started < 10.0  # far less than one time-out
        sink.close(0.1)
    account = settled(sink)
    assert (account.recorded, account.acknowledged, account.unknown) == (100, 0, 10)
    assert account.reasons == {"backlog full": 60, "closed": 30}


def test_flushing_gives_up_at_its_time_out() -> None:
    with stuck_after({}, 3) as sink:
        sink.flush(0.05)
        assert sink.account().pending == 3
        sink.close(0.05)
    assert settled(sink).unknown == 3


def test_after_closing_everything_is_dropped() -> None:
    sink = sink_for("127.0.0.1:1")
    sink.close()
    sink.write(FakeHook(), [decision(0)])
    assert settled(sink).reasons == {"closed": 1}


def test_a_record_that_cannot_be_encoded_costs_only_itself() -> None:
    with serving(Scripted([])) as target:
        sink = sink_for(target)
        bad: Any = decision(1, features=("x",))
        sink.write(FakeHook(), [decision(0), bad, decision(2)])
        sink.close(10.0)
    account = settled(sink)
    assert (account.acknowledged, dict(account.reasons)) == (2, {"not encodable": 1})


_CODES = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
]
_answers = st.one_of(
    st.just(accept),
    st.integers(0, 4).map(partial),
    st.builds(refuse, st.sampled_from(_CODES), st.none() | st.just(0.0)),
)


@settings(max_examples=15)
@given(st.lists(_answers, max_size=8), st.integers(1, 12), st.integers(1, 5))
def test_the_sum_is_right_for_every_script(script: list[Answer], n: int, batch: int) -> None:
    with serving(Scripted(script, then=accept)) as target:
        account = sent(sink_for(target, batch=batch, timeout_s=2.0), n)
    assert account.recorded == n


def test_resource_and_headers_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    servicer = Scripted([])
    with serving(servicer) as target:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{target}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Team=shop%20a")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
        sent(OtlpSink(), 1)
    message = pb.ExportLogsServiceRequest.FromString(servicer.requests[0])
    found = {a.key: a.value.string_value for a in message.resource_logs[0].resource.attributes}
    assert found["service.name"] == "checkout"
    assert found["deployment.environment.name"] == "test"
    assert found["service.instance.id"] == FakeHook().process_id
    assert servicer.metadata["x-team"] == "shop a"


def test_a_child_forked_after_gRPC_was_used_drops_and_counts() -> None:
    """gRPC would freeze it; the parent goes on, and nothing of it is sent twice."""
    servicer = Scripted([])
    with serving(servicer) as target:
        code = _forking_program(target)
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    counts = sorted(eval(line) for line in done.stdout.splitlines())
    assert counts == [("child", 7, 0, {"forked": 7}), ("parent", 8, 8, {})]
    assert sum(map(_count, servicer.requests)) == 8


def _forking_program(target: str) -> str:
    folder = os.path.dirname(__file__)
    return f"""
import os, sys
sys.path.insert(0, {folder!r})
from fakes import FakeHook, decision
from gnomon.sdk.telemetry import OtlpSink
sink = OtlpSink("http://{target}")
def report(who):
    sink.close(20)
    account = sink.account()
    print((who, account.recorded, account.acknowledged, dict(account.reasons)), flush=True)
sink.write(FakeHook(), [decision(i) for i in range(5)])
sink.flush(20)
pid = os.fork()
if not pid:
    sink.write(FakeHook(process_id="1" * 16), [decision(i) for i in range(7)])
    report("child")
    os._exit(0)
_, status = os.waitpid(pid, 0)
sink.write(FakeHook(), [decision(i) for i in range(3)])
report("parent")
sys.exit(status)
"""


def test_retry_info_is_what_google_rpc_says() -> None:
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    status = Status.FromString(retry_status(8, "später", 1.25))
    info = RetryInfo()
    assert (status.code, status.message) == (8, "später")
    assert status.details[0].Unpack(info)
    assert info.retry_delay.ToTimedelta().total_seconds() == 1.25


@given(st.floats(0.0, 10_000.0))
def test_retry_info_round_trip(delay_s: float) -> None:
    metadata = (("other", "x"), (STATUS_DETAILS, retry_status(14, "later", delay_s)))
    read = retry_delay(metadata)
    assert read is not None
    assert abs(read - delay_s) < 2e-9 * max(1.0, delay_s)


@given(st.binary(max_size=80))
def test_retry_info_from_anybody_is_harmless(data: bytes) -> None:
    delay = retry_delay(((STATUS_DETAILS, data),))
    assert delay is None or delay >= 0.0


@given(st.integers(0, 100))
def test_backoff_stays_in_its_bounds(seed: int) -> None:
    backoff = Backoff(Random(seed), 0.1, 2.0)
    delays = [backoff.next() for _ in range(12)]
    assert all(0.0 <= delay <= min(2.0, 0.1 * 2**i) for i, delay in enumerate(delays))


def _count(request: bytes) -> int:
    message = pb.ExportLogsServiceRequest.FromString(request)
    return sum(len(s.log_records) for r in message.resource_logs for s in r.scope_logs)


def _until(condition: Callable[[], bool], wait_s: float = 120.0) -> None:
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_loss_is_said_once_per_cause(caplog: pytest.LogCaptureFixture) -> None:
    sink = OtlpSink("http://127.0.0.1:9", settings=None)
    sink.close(0.1)
    for _ in range(3):
        sink.write(FakeHook(), [decision(0)])
    assert [
        record.getMessage() for record in caplog.records if "closed" in record.getMessage()
    ] == ["records for 127.0.0.1:9 are dropped (closed)"]


@given(st.lists(st.integers(0, 40)), st.integers(1, 100))
def test_requests_are_cut_by_size_and_lose_nothing(sizes: list[int], most: int) -> None:
    encoded = [bytes(size) for size in sizes]
    parts = list(_cut(encoded, most))
    assert [each for part in parts for each in part] == encoded
    for part in parts:
        assert sum(map(len, part[:-1])) < most
    for part in parts[:-1]:
        assert sum(map(len, part)) >= most


def test_records_of_one_type_lie_side_by_side_in_their_order() -> None:
    made = [decision(i) for i in range(3)]
    ends = [outcome(each) for each in made]
    mixed = [made[0], ends[0], made[1], ends[1], made[2], ends[2]]
    assert _by_type(mixed) == [*made, *ends]
    assert _by_type(made) is made


def test_one_bad_record_does_not_cost_its_neighbours() -> None:
    """Not a record at all, wrong types, and what cannot be packed: each counted, the others sent."""
    servicer = Scripted([])
    with serving(servicer) as address:
        sink = OtlpSink(settings=Settings(address, gzip=False))
        bad: Any = [decision(1, features=("x",)), ("no", "record"), decision(2, unit=3)]
        sink.write(FakeHook(), [decision(0), *bad, outcome(decision(0))])
        sink.flush()
        account = sink.account()
        sink.close()
    assert (account.recorded, account.acknowledged, account.dropped) == (5, 2, 3)
    assert dict(account.reasons) == {"not encodable": 3}
