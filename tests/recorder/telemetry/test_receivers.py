"""To opentelemetry-proto's own servicers, with threads and with asyncio: settings arrive, answers are understood."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import grpc
import pytest

from gnomon.sdk.telemetry import OtlpSink, export
from gnomon.sdk.telemetry.accounting import Account
from gnomon.sdk.telemetry.delivery import METHOD, Batch, Courier, Fate
from gnomon.sdk.telemetry.export import Limits
from gnomon.sdk.telemetry.settings import Settings

from ..fakes import FakeHook, decision
from .receivers import (
    Authority,
    Receiver,
    Request,
    Response,
    accept,
    refusal,
    sequence,
    serving,
    serving_aio,
    until,
)

Serve = Callable[..., Any]
both = pytest.mark.parametrize("serve", [serving, serving_aio])


def sink_for(settings: Settings, **limits: int) -> OtlpSink:
    return OtlpSink(settings=settings, limits=Limits(**limits), rng=Random(1))


def sent(settings: Settings, n: int = 10, wait_s: float = 20.0, **limits: int) -> Account:
    """Write n decisions and close; the account's sum is checked."""
    sink = sink_for(settings, **limits)
    sink.write(FakeHook(), [decision(i) for i in range(n)])
    sink.close(wait_s)
    account = sink.account()
    assert account.recorded == n == account.acknowledged + account.dropped + account.unknown
    assert account.pending == 0
    return account


@both
@pytest.mark.parametrize("gzip", [True, False])
def test_compression_and_headers(serve: Serve, gzip: bool) -> None:
    receiver = Receiver()
    with serve(receiver) as target:
        headers = (("authorization", "Bearer x"), ("x-team", "shop a"))
        account = sent(Settings(target, gzip=gzip, headers=headers), 500)
    assert account.acknowledged == 500
    assert {sequence(log) for log in receiver.logs} == set(range(500))
    assert receiver.metadata["authorization"] == "Bearer x"
    assert receiver.metadata["x-team"] == "shop a"


def test_compressed_requests_are_smaller_on_the_wire() -> None:
    sizes = {gzip: _bytes_sent(gzip) for gzip in (True, False)}
    assert sizes[True] < sizes[False] / 3


def _bytes_sent(gzip: bool) -> int:
    """Return how many bytes of a request cross a relay on their way to a receiver."""
    receiver = Receiver()
    with serving(receiver) as target, relaying(target) as (address, relay):
        assert sent(Settings(address, gzip=gzip), 1_000).acknowledged == 1_000
    return relay.sent


class Relay:
    """Passes connections on and counts.

    Attributes:
        sent: bytes that went to the receiver.
        open: sockets in use.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.sent = 0
        self.open: list[socket.socket] = []
        self.passing = True
        self.listener = socket.create_server(("127.0.0.1", 0))

    def run(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.passing:
                near.close()
                continue
            far = socket.create_connection(self._target)
            self.open += (near, far)
            for pair in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, with whatever is under way."""
        for each in self.open:
            each.close() if each.fileno() < 0 else _reset(each)
        self.open.clear()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        try:
            while data := source.recv(65536):
                if counts:
                    self.sent += len(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                each.close()


def _reset(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    each.close()


@contextmanager
def relaying(target: str) -> Iterator[tuple[str, Relay]]:
    """Run a relay in front of a receiver; yield its address and itself."""
    relay = Relay(target)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{relay.listener.getsockname()[1]}", relay
    finally:
        # closing alone does not wake an accept()
        relay.listener.shutdown(socket.SHUT_RDWR)
        relay.listener.close()
        relay.cut()
        thread.join(5)


@both
def test_tls_and_mutual_tls(serve: Serve) -> None:
    ours, theirs = Authority(), Authority("others")
    credentials = grpc.ssl_server_credentials([ours.pair()], ours.pem, require_client_auth=True)
    receiver = Receiver()
    with serve(receiver, credentials) as target:
        target = target.replace("127.0.0.1", "localhost")
        key, certificate = ours.pair("router")
        mutual = Settings(
            target,
            secure=True,
            certificate=ours.pem,
            client_key=key,
            client_certificate=certificate,
        )
        assert sent(mutual).acknowledged == 10
        assert receiver.peer["x509_common_name"] == [b"router"]
        # Refusals: no certificate of its own, one of another authority, a receiver nobody vouches for.
        for settings in (
            Settings(target, secure=True, certificate=ours.pem, timeout_s=0.4),
            Settings(
                target,
                secure=True,
                certificate=ours.pem,
                timeout_s=0.4,
                **dict(zip(("client_key", "client_certificate"), theirs.pair(), strict=True)),
            ),
            Settings(target, secure=True, certificate=theirs.pem, timeout_s=0.4),
            Settings(target, timeout_s=0.4),
        ):
            account = sent(settings)
            assert (account.acknowledged, len(receiver.requests)) == (0, 1)


@both
def test_partial_success(serve: Serve) -> None:
    def some(request: Request, _: Any) -> Response:
        response = Response()
        response.partial_success.rejected_log_records = 3
        response.partial_success.error_message = "three were bad"
        return response

    with serve(Receiver(some)) as target:
        account = sent(Settings(target))
    assert (account.acknowledged, dict(account.reasons)) == (7, {"rejected": 3})


@both
def test_a_warning_without_rejections_is_a_success(serve: Serve) -> None:
    def warns(_: Request, __: Any) -> Response:
        response = Response()
        response.partial_success.error_message = "deprecated"
        return response

    with serve(Receiver(warns)) as target:
        assert sent(Settings(target)).acknowledged == 10


@pytest.mark.parametrize("rejected", [-5, 11, 2**62])
def test_senseless_rejections_keep_the_sum(rejected: int) -> None:
    def some(_: Request, __: Any) -> Response:
        response = Response()
        response.partial_success.rejected_log_records = rejected
        return response

    with serving(Receiver(some)) as target:
        account = sent(Settings(target))
    assert account.acknowledged == (10 if rejected < 0 else 0)


@pytest.mark.parametrize(
    ("code", "retry_s", "attempts"),
    [
        (grpc.StatusCode.UNAVAILABLE, None, 3),
        (grpc.StatusCode.UNAVAILABLE, 0.01, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.01, 3),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, None, 1),
        (grpc.StatusCode.INVALID_ARGUMENT, None, 1),
        (grpc.StatusCode.PERMISSION_DENIED, 0.01, 1),
    ],
)
def test_what_is_sent_again(code: grpc.StatusCode, retry_s: float | None, attempts: int) -> None:
    """As OTLP has it; what is final is dropped, by its code."""
    left = [refusal(code, retry_s), refusal(code, retry_s)]

    def answer(request: Request, context: Any) -> Response:
        return (left.pop() if left else accept)(request, context)

    receiver = Receiver(answer)
    with serving(receiver) as target:
        account = sent(Settings(target))
    assert len(receiver.requests) == attempts
    if attempts == 1:
        assert dict(account.reasons) == {f"refused:{code.name}": 10}
    else:
        assert account.acknowledged == 10
        assert len({request.SerializeToString() for request in receiver.requests}) == 1


def test_a_server_is_waited_for_as_long_as_it_asks() -> None:
    receiver = Receiver(refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 60.0))
    with serving(receiver) as target:
        account = sent(Settings(target, timeout_s=1.0))
    assert dict(account.reasons) == {"refused:RESOURCE_EXHAUSTED": 10}
    assert len(receiver.requests) == 1  # it would be past the deadline


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL])
def test_a_failure_over_there_is_unknown(code: grpc.StatusCode) -> None:
    with serving(Receiver(refusal(code))) as target:
        assert sent(Settings(target)).unknown == 10


@both
def test_an_answer_that_never_comes_is_unknown_at_the_deadline(serve: Serve) -> None:
    release = threading.Event()

    def never(_: Request, __: Any) -> Response:
        release.wait(20)
        return Response()

    receiver = Receiver(never)
    with serve(receiver) as target:
        assert sent(Settings(target, timeout_s=0.3)).unknown == 10
        release.set()


def test_a_slow_answer_within_the_deadline_counts() -> None:
    def slow(request: Request, context: Any) -> Response:
        threading.Event().wait(0.3)
        return Response()

    with serving(Receiver(slow)) as target:
        assert sent(Settings(target, timeout_s=20.0)).acknowledged == 10


class Raw(grpc.GenericRpcHandler):
    """Answers the export method with given bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._data)


@contextmanager
def raw(data: bytes | None) -> Iterator[str]:
    """Serve an answer in bytes, or no such method at all; yield host:port."""
    from concurrent import futures

    server = grpc.server(
        futures.ThreadPoolExecutor(2), options=(("grpc.max_send_message_length", -1),)
    )
    if data is not None:
        server.add_generic_rpc_handlers((Raw(data),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(5)


@pytest.mark.parametrize(
    "answer",
    [
        b"\xff\xff\xff",
        b"\x08\x01",
        b"\x0a\x02\x08",
        b"not protobuf",
        b"\x0a\x03\x0a\x01x",
        b"\0" * 5_000_000,
    ],
    ids=["cut", "a number", "cut within", "text", "words for a number", "five megabytes"],
)
def test_an_answer_that_is_none_is_unknown(answer: bytes) -> None:
    """Somebody took the batch and said something else than OTLP's words."""
    with raw(answer) as target:
        assert sent(Settings(target, timeout_s=2.0)).unknown == 10


def test_fields_of_a_later_version_are_no_matter() -> None:
    later = b"\x7a\x03abc"  # field 15
    with raw(later + b"\x0a\x02\x08\x04" + later) as target:
        assert sent(Settings(target)).acknowledged == 6


def test_a_server_of_something_else_refuses() -> None:
    with raw(None) as target:
        assert dict(sent(Settings(target)).reasons) == {"refused:UNIMPLEMENTED": 10}


@contextmanager
def talking(words: bytes) -> Iterator[str]:
    """Serve plain TCP: say something to whoever comes, and hang up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                connection.sendall(words)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"",
        b"\0" * 4096,
    ],
    ids=["HTTP/1.1", "TLS", "nothing", "zeros"],
)
def test_no_grpc_at_all(words: bytes) -> None:
    with talking(words) as target:
        account = sent(Settings(target, timeout_s=0.6))
    assert account.acknowledged == 0


def test_connections_that_are_cut_are_made_anew() -> None:
    """Each batch that was under way comes again, the same bytes, and all are acknowledged in the end."""
    receiver = Receiver()
    with serving(receiver) as target, relaying(target) as (address, relay):
        sink = sink_for(Settings(address, timeout_s=20.0), batch=20)
        for start in range(0, 1_000, 20):
            sink.write(FakeHook(), [decision(start + i) for i in range(20)])
            if start % 200 == 0:
                until(lambda start=start: len(receiver.logs) >= start / 2)
                relay.cut()
        sink.close(30)
    account = sink.account()
    assert (account.recorded, account.acknowledged) == (1_000, 1_000)
    assert {sequence(log) for log in receiver.logs} == set(range(1_000))


def test_a_server_that_sends_everybody_away_is_come_back_to() -> None:
    """GOAWAY after 200 ms of every connection's life."""
    options = (("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 100))
    receiver = Receiver()
    with serving(receiver, options=options) as target:
        sink = sink_for(Settings(target, timeout_s=20.0), batch=10)
        for start in range(0, 600, 10):
            sink.write(FakeHook(), [decision(start + i) for i in range(10)])
            threading.Event().wait(0.015)
        sink.close(30)
    assert sink.account().acknowledged == 600
    assert {sequence(log) for log in receiver.logs} == set(range(600))


def test_a_server_that_restarts_on_its_port_loses_nothing() -> None:
    receiver = Receiver()
    with serving(receiver) as target:
        sink = sink_for(Settings(target, timeout_s=20.0), batch=10)
        sink.write(FakeHook(), [decision(i) for i in range(10)])
        sink.flush(20)
    sink.write(FakeHook(), [decision(10 + i) for i in range(10)])
    with serving(receiver, address=target):
        sink.close(20)
    assert sink.account().acknowledged == 20
    assert {sequence(log) for log in receiver.logs} == set(range(20))


def test_closing_while_calls_begin_leaves_nothing_pending() -> None:
    """Whatever the moment at which the sink is closed, its deadline holds and the sum is right."""
    release = threading.Event()

    def never(_: Request, __: Any) -> Response:
        release.wait(30)
        return Response()

    with serving(Receiver(never)) as target:
        for round_number in range(15):
            sink = sink_for(Settings(target, timeout_s=30.0), batch=1, senders=4)
            sink.write(FakeHook(), [decision(i) for i in range(8)])
            sink.close(0.002 * round_number)
            account = sink.account()
            assert (account.pending, account.acknowledged) == (0, 0)
            assert account.recorded == account.dropped + account.unknown == 8
        release.set()


def test_a_call_that_begins_while_the_sink_closes_never_leaves() -> None:
    """The close comes after the sender looked whether it may send, and before its call begins."""
    receiver = Receiver()
    with serving(receiver) as target:
        stopping = threading.Event()
        courier = Courier(Settings(target, timeout_s=30.0), stopping, time.monotonic, Random(1))
        begin: Any = courier._export

        def closed_meanwhile(*arguments: Any, **more: Any) -> Any:
            stopping.set()
            courier.close()
            return begin(*arguments, **more)

        courier._export = closed_meanwhile
        assert courier.deliver(Batch(b"", 10)) == Fate(dropped=10, why="closed")
    assert receiver.requests == []


def test_a_channel_that_somebody_else_closed_is_no_silent_drop() -> None:
    courier = Courier(Settings("127.0.0.1:1"), threading.Event(), time.monotonic, Random(1))
    courier.close()
    with pytest.raises(ValueError, match="closed channel"):
        courier.deliver(Batch(b"", 10))


@pytest.mark.parametrize("n", [10, 5_000])
def test_where_no_thread_can_start_closing_sends(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """As at exit from Python 3.12 on."""

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    receiver = Receiver()
    with serving(receiver) as target:
        sink = sink_for(Settings(target), batch=100)
        with monkeypatch.context() as patch:  # only here: the server needs threads too
            patch.setattr(threading.Thread, "start", no_more)
            sink.write(FakeHook(), [decision(i) for i in range(n)])
        sink.close(20)
    assert sink.account().acknowledged == n
    assert sink._threads == []


def test_where_no_thread_can_start_the_deadline_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def never(_: Request, __: Any) -> Response:
        release.wait(30)
        return Response()

    with serving(Receiver(never)) as target:
        sink = sink_for(Settings(target, timeout_s=30.0), batch=10)
        with monkeypatch.context() as patch:
            patch.setattr(sink, "_start", lambda: None)
            sink.write(FakeHook(), [decision(i) for i in range(30)])
        sink.close(0.3)
        release.set()
    account = sink.account()
    assert (account.unknown, account.pending) == (10, 0)
    assert dict(account.reasons) == {"closed": 20}


def test_a_sender_that_hangs_is_given_up_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Hangs:
        def __init__(self, *_: Any) -> None: ...

        def deliver(self, batch: Batch, within_s: float) -> Fate:
            release.wait(30)
            return Fate(acknowledged=batch.count)

        def close(self) -> None: ...

    monkeypatch.setattr(export, "Courier", Hangs)
    sink = sink_for(Settings("127.0.0.1:1"), batch=10, senders=1)
    sink.write(FakeHook(), [decision(i) for i in range(30)])
    sink.close(0.01)
    given_up = sink.account()
    assert (given_up.unknown, given_up.pending, given_up.recorded) == (10, 0, 30)
    assert dict(given_up.reasons) == {"closed": 20}
    release.set()
    for thread in sink._threads:
        thread.join(10)
    assert sink.account() == given_up


def test_a_sender_that_breaks_costs_its_batch_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Courier.deliver
    broken: list[Batch] = []

    def deliver(self: Courier, batch: Batch, within_s: float) -> Fate:
        if not broken:
            broken.append(batch)
            raise RuntimeError("unforeseen")
        return real(self, batch, within_s)

    monkeypatch.setattr(Courier, "deliver", deliver)
    receiver = Receiver()
    with serving(receiver) as target:
        account = sent(Settings(target), 30, batch=10)
    assert (account.acknowledged, account.unknown) == (20, 10)
    assert "unforeseen" in caplog.text
