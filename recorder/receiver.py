"""The recorder as a gRPC server: OTLP's LogsService, health and reflection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from ..sdk.channel import MOST_PORT, is_loopback
from ..sdk.errors import ConfigurationError, TraceError
from ..sdk.telemetry.retry import STATUS_DETAILS, retry_status
from .decode import Decoded
from .intake import BusyError, Intake

_SERVICE: str = logs_service_pb2.DESCRIPTOR.services_by_name["LogsService"].full_name


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how a receiver listens.

    Attributes:
        address: host:port; port 0 takes a free one.
        certificate, key: PEM files for TLS; both or neither.
        message_bytes: largest request, after decompression.
        insecure: whether plain text may be received from beyond this machine.
    """

    address: str = "127.0.0.1:4317"
    certificate: Path | None = None
    key: Path | None = None
    message_bytes: int = 16 << 20
    insecure: bool = False

    @property
    def exposed(self) -> bool:
        """Whether plain text would cross the network without anybody having allowed it."""
        host = self.address.rpartition(":")[0]
        return self.certificate is None and not self.insecure and not is_loopback(host)


class Receiver:
    """Serves an intake over gRPC.

    Args:
        intake: takes the requests.
        listening: where.

    Attributes:
        address: host:port in fact; set by :meth:`start`.
    """

    def __init__(self, intake: Intake, listening: Listening) -> None:
        self.address = listening.address
        self._intake = intake
        self._listening = listening
        self._health = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        # Without SO_REUSEPORT a second recorder on the same port is told so.
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", listening.message_bytes),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        )
        self._server = grpc.aio.server(options=options)

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigurationError: the address cannot be had, the TLS files cannot be read, or plain text
                would cross the network.
        """
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            response_serializer=logs_service_pb2.ExportLogsServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        served = (_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(served, self._server)
        self._bind()
        await self._server.start()
        for name in ("", _SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new requests, finish those under way, and stop."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    def _bind(self) -> None:
        address = self._listening.address
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > MOST_PORT:
            raise ConfigurationError(f"cannot listen on {address!r}: write HOST:PORT")
        credentials = self._credentials()
        if self._listening.exposed:
            raise ConfigurationError(
                f"plain text on {address} is refused; give --tls-cert and --tls-key, or --insecure"
            )
        try:
            if credentials is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ConfigurationError(
                f"cannot listen on {address}: the port is in use or not allowed"
                f"{', or certificate and key do not fit' * (credentials is not None)}; "
                "choose another with --listen"
            ) from error
        self.address = f"{host}:{bound}"

    def _credentials(self) -> grpc.ServerCredentials | None:
        certificate, key = self._listening.certificate, self._listening.key
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise ConfigurationError("TLS needs both --tls-cert and --tls-key")
        try:
            pair = (key.read_bytes(), certificate.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"cannot read {error.filename}: {error.strerror}") from error
        return grpc.ssl_server_credentials([pair])

    async def _export(
        self,
        payload: bytes,
        context: grpc.aio.ServicerContext[bytes, logs_service_pb2.ExportLogsServiceResponse],
    ) -> logs_service_pb2.ExportLogsServiceResponse:
        try:
            decoded = await self._intake.submit(payload)
        except TraceError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except BusyError as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            details = retry_status(code.value[0], str(error), error.retry_s)
            await context.abort(code, str(error), ((STATUS_DETAILS, details),))
        return _response(decoded)


def _response(decoded: Decoded) -> logs_service_pb2.ExportLogsServiceResponse:
    response = logs_service_pb2.ExportLogsServiceResponse()
    if decoded.malformed:
        reason, _ = decoded.malformed.most_common(1)[0]
        response.partial_success.rejected_log_records = decoded.malformed.total()
        response.partial_success.error_message = reason
    return response
