"""The control plane's server: gRPC around :class:`.control.Control`, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio  # pyright: ignore[reportAttributeAccessIssue]
from grpc_reflection.v1alpha import reflection

from gnomon.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
)

from ...sdk.errors import ConfigurationError, GnomonError
from ...sdk.keyring import Pins
from .control import Control
from .exclusive import alone_in, check_free
from .ledger import Ledger
from .roles import Guard, Roles
from .services.audit import AuditService
from .services.delivery import DeliveryService
from .services.keys import KeysService
from .services.rollouts import RolloutsService
from .settings import ServerSettings, credentials
from .store import Store

_log = logging.getLogger("gnomon.rollout")

TICK_S = 0.1
#: Ticks that went well between two heartbeats: one every two seconds.
_TICKS_A_BEAT = 20
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.so_reuseport", 0),
    # Clients ping every 30 s, also without a call; a server that is stricter would cut them off.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
)
_AUDIT = audit_pb2.DESCRIPTOR.services_by_name["Audit"].full_name
_SERVICES = (
    delivery_pb2.DESCRIPTOR.services_by_name["Delivery"].full_name,
    rollouts_pb2.DESCRIPTOR.services_by_name["Rollouts"].full_name,
    keys_pb2.DESCRIPTOR.services_by_name["Keys"].full_name,
    _AUDIT,
)


class ControlPlane:
    """A running control plane; use it as an asynchronous context manager.

    Args:
        settings: how to run it.
        clock: gives Unix nanoseconds.
        random_bytes: gives that many fresh random bytes.

    Attributes:
        port: that it listens on, once started.
        control: the control plane without its network.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        clock: Callable[[], int] = time.time_ns,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings = settings
        self.port = 0
        self._roles = Roles.read(settings.roles) if settings.roles else None
        identity = settings.identity()
        with contextlib.ExitStack() as opened:
            opened.enter_context(alone_in(settings.state))
            check_free(settings.listen)
            self._store = Store(settings.state / "rollouts.db")
            opened.callback(self._store.close)
            self._ledger = Ledger(settings.state / "ledger.db", clock)
            opened.callback(self._ledger.close)
            self.control = Control(self._store, self._ledger, identity, clock, random_bytes)
            self._files = opened.pop_all()
        self._delivery = DeliveryService(self.control)
        self._rollouts = RolloutsService(self.control)
        self._health = health_aio.HealthServicer()
        self._disputed = False
        self._server: grpc.aio.Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen and serve; raises ConfigurationError where the port is taken."""
        server = grpc.aio.server(interceptors=[Guard(lambda: self._roles)], options=_OPTIONS)
        self._add_services(server)
        reflection.enable_server_reflection((*_SERVICES, reflection.SERVICE_NAME), server)
        self.port = self._bind(server)
        self.control.published = self._delivery.publish
        self.control.changed = self._rollouts.change
        self.control.started()
        self.control.resigned = self._delivery.resigned
        await server.start()
        self._server = server
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self, grace_s: float = 0.5) -> None:
        """Say so, end the streams and close the files."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        if self._server is not None:
            await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
            self._delivery.close()
            self._rollouts.close()
            await self._server.stop(grace_s)
            try:
                self.control.stopping()
            except Exception:  # noqa: BLE001 - what fails here must not keep the files open
                _log.exception("the last entries of the ledger are missing")
        self._files.close()

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            await self.start()
        except BaseException:  # not started, so nobody will stop it
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop."""
        await self.stop()

    async def wait(self) -> None:
        """Return when the server has ended."""
        if self._server is not None:
            await self._server.wait_for_termination()

    def _add_services(self, server: grpc.aio.Server) -> None:
        # Generated code is not annotated.
        delivery: Any = delivery_pb2_grpc
        rollouts: Any = rollouts_pb2_grpc
        audit: Any = audit_pb2_grpc
        delivery.add_DeliveryServicer_to_server(self._delivery, server)
        rollouts.add_RolloutsServicer_to_server(self._rollouts, server)
        audit.add_AuditServicer_to_server(AuditService(self.control), server)
        keys: Any = keys_pb2_grpc
        keys.add_KeysServicer_to_server(KeysService(self.control), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self.settings
        try:
            if settings.certificate is None:
                return int(server.add_insecure_port(settings.listen))
            return int(server.add_secure_port(settings.listen, credentials(settings)))
        except RuntimeError as error:
            unfit = ", see that certificate and key fit" if settings.certificate else ""
            raise ConfigurationError(
                f"cannot listen on {settings.listen}; stop what uses it{unfit}, or choose another port"
            ) from error

    async def _say(self, status: Any) -> None:
        for service in ("", *_SERVICES):
            await self._health.set(service, status)
        await self._say_disputed(status)

    async def _say_disputed(self, status: Any) -> None:
        """Say of the audit alone that it is not well while processes remember another ledger."""
        self._disputed = bool(self.control.witnesses.disputes)
        if self._disputed:
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        await self._health.set(_AUDIT, status)

    async def _tick(self) -> None:
        healthy, said, well = True, "", 0
        while True:
            await asyncio.sleep(TICK_S)
            self._look_after_files()
            try:
                self.control.tick()
            except Exception as error:  # noqa: BLE001 - task boundary: trouble must not end the leases
                if said != str(error):  # ten times a second would fill what is full already
                    said = str(error)
                    _log.error(
                        "a tick failed: %s", said, exc_info=not isinstance(error, GnomonError)
                    )
                healthy = await self._turn(healthy, False)
            else:
                healthy, said = await self._turn(healthy, True), ""
                well += 1
                if well % _TICKS_A_BEAT == 0:
                    self._delivery.beat()
            if self._disputed != bool(self.control.witnesses.disputes):
                status = health_pb2.HealthCheckResponse
                await self._say_disputed(status.SERVING if healthy else status.NOT_SERVING)

    def _look_after_files(self) -> None:
        """Read keys and roles again that have changed; what is wrong leaves those in force."""
        try:
            pins = self.settings.keyring and self.settings.keyring.changed()
            if pins:
                self._trust(pins)
            if self._roles is not None:
                self._roles = self._roles.renewed()
        except GnomonError as error:
            _log.error("keys and roles stay as they were: %s", error)

    def _trust(self, pins: Pins) -> None:
        found = replace(
            self.settings, publishers=pins.publishers, names=pins.names, revoked=pins.revoked
        )
        self.control.trust(found.identity())
        self.settings = found
        _log.warning(
            "%d publisher keys are pinned, %d revoked", len(pins.publishers), len(pins.revoked)
        )

    async def _turn(self, before: bool, now: bool) -> bool:
        if before != now:
            status = health_pb2.HealthCheckResponse
            await self._say(status.SERVING if now else status.NOT_SERVING)
        return now


async def serve(settings: ServerSettings, ready: Callable[[ControlPlane], None]) -> None:
    """Run a control plane until SIGTERM or SIGINT.

    Args:
        settings: how to run it.
        ready: called once it listens.
    """
    import signal

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with ControlPlane(settings) as plane:
        ready(plane)
        await stopping.wait()
