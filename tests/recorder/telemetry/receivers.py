"""Receivers made of opentelemetry-proto's own servicers, whose answers a test decides, and what they kept."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as pb
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as pb_grpc

from gnomon.sdk.telemetry.retry import STATUS_DETAILS, retry_status

Request = pb.ExportLogsServiceRequest
Response = pb.ExportLogsServiceResponse
#: (request, call's context) to the answer; it may raise, abort or wait.
Answer = Callable[[Request, Any], Response]


def accept(_: Request, __: Any) -> Response:
    return Response()


def logs_of(request: Request) -> list[Any]:
    """Return every log record of a request."""
    return [
        log
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
        for log in scope_logs.log_records
    ]


def sequence(log: Any) -> int:
    """Return the number of the decision that a log record holds."""
    (value,) = (a.value.bytes_value for a in log.attributes if a.key == "gnomon.decision.id")
    return int.from_bytes(value[8:], "big")


def refusal(code: grpc.StatusCode, retry_s: float | None = None, words: str = "scripted") -> Answer:
    """Return an answer that turns a request away."""

    def answer(_: Request, context: Any) -> Response:
        if retry_s is not None:
            details = retry_status(code.value[0], words, retry_s)
            context.set_trailing_metadata(((STATUS_DETAILS, details),))
        context.abort(code, words)
        raise AssertionError("abort returns")

    return answer


class Receiver(pb_grpc.LogsServiceServicer):
    """Answers as it is told, and keeps what it acknowledges.

    Attributes:
        answer: of the requests to come.
        requests: all that came.
        metadata: of the latest request.
        peer: who sent it.
    """

    def __init__(self, answer: Answer = accept) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.metadata: dict[str, Any] = {}
        self.peer: Any = None
        self._lock = threading.Lock()

    def Export(self, request: Request, context: Any) -> Response:
        with self._lock:
            self.requests.append(request)
            self.metadata = dict(context.invocation_metadata())
            self.peer = context.auth_context()
            answer = self.answer
        return answer(request, context)

    @property
    def logs(self) -> list[Any]:
        """Every log record that came, those that came again too."""
        with self._lock:
            return [log for request in self.requests for log in logs_of(request)]


@contextmanager
def serving(
    receiver: pb_grpc.LogsServiceServicer,
    credentials: grpc.ServerCredentials | None = None,
    address: str = "127.0.0.1:0",
    options: tuple[tuple[str, Any], ...] = (),
) -> Iterator[str]:
    """Serve with threads; yield host:port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0), *options)
    )
    pb_grpc.add_LogsServiceServicer_to_server(receiver, server)
    port = _bind(server, address, credentials)
    server.start()
    try:
        yield f"{address.rpartition(':')[0]}:{port}"
    finally:
        server.stop(None).wait(5)


@contextmanager
def serving_aio(
    receiver: Receiver, credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    """Serve with asyncio, in a thread of its own; yield host:port."""
    bound: futures.Future[int] = futures.Future()
    stop = threading.Event()

    class Servicer(pb_grpc.LogsServiceServicer):
        async def Export(self, request: Request, context: Any) -> Response:
            return receiver.Export(request, context)

    async def life() -> None:
        server = grpc.aio.server()
        pb_grpc.add_LogsServiceServicer_to_server(Servicer(), server)
        bound.set_result(_bind(server, "127.0.0.1:0", credentials))
        await server.start()
        await asyncio.to_thread(stop.wait)
        await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(life()), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{bound.result(10)}"
    finally:
        stop.set()
        thread.join(10)


def _bind(server: Any, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, credentials))


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def until(condition: Callable[[], Any], wait_s: float = 120.0) -> None:
    """Wait for a condition; fail after a while."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


class Authority:
    """A certificate authority for one test.

    Attributes:
        pem: its own certificate.
    """

    def __init__(self, name: str = "tests") -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.pem = _pem(self._certificate(self._name, self._key.public_key(), authority=True))

    def pair(self, name: str = "localhost") -> tuple[bytes, bytes]:
        """Return key and certificate, in PEM, of somebody with a name."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private, _pem(self._certificate(_named(name), key.public_key(), names=name))

    def _certificate(
        self, subject: Any, public: Any, *, authority: bool = False, names: str = ""
    ) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(self._name, subject, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        if names:
            alternative = x509.SubjectAlternativeName([x509.DNSName(names)])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _named(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return data
