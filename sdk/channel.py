"""How a process reaches its control plane: address, encryption, and patience."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError
from .forking import claim_grpc

if TYPE_CHECKING:
    import grpc

BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 12.0
MOST_PORT = 65_535
_MAX_MESSAGE = 4 << 20

#: Keepalive below what servers tolerate; own pool, so that our backoff is the only one.
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the control plane is and how the connection is protected.

    Attributes:
        address: ``host:port``.
        root_certificates: PEM file of the authorities that may vouch for the server; turns TLS on.
        certificate, private_key: PEM files of this client, for mutual TLS; both or neither.
        insecure: whether plain text may leave this machine.
    """

    address: str
    root_certificates: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        """Refuse what could not work or would be open to eavesdroppers.

        Raises:
            ConfigurationError: no port, half a client certificate, or plain text to another host.
        """
        host, colon, port = self.address.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > MOST_PORT:
            raise ConfigurationError(f"control plane {self.address!r} is not of the form host:port")
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError("a client certificate needs its private key, and the reverse")
        if self.certificate is not None and self.root_certificates is None:
            raise ConfigurationError("a client certificate needs root_certificates as well")
        if not (self.root_certificates or self.insecure or is_loopback(host)):
            raise ConfigurationError(
                f"plain text to {self.address} is refused; give root_certificates (GNOMON_TLS_ROOT), or "
                "insecure (GNOMON_TLS_INSECURE=1)"
            )

    @classmethod
    def from_environment(cls, address: str, environ: Mapping[str, str]) -> Peer:
        """Return a peer with TLS from ``GNOMON_TLS_ROOT``, ``_CERT``, ``_KEY`` and ``_INSECURE``."""

        def path(name: str) -> Path | None:
            value = environ.get(f"GNOMON_TLS_{name}", "")
            return Path(value) if value else None

        insecure = environ.get("GNOMON_TLS_INSECURE", "") == "1"
        return cls(address, path("ROOT"), path("CERT"), path("KEY"), insecure)


def is_loopback(host: str) -> bool:
    """Return whether a host as written in an address is this machine for certain."""
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_channel(peer: Peer) -> grpc.Channel:
    """Open a channel; connecting happens with the first call.

    Raises:
        ConfigurationError: a certificate file cannot be read.
        UnavailableError: this process was forked from one that had used gRPC.
    """
    import grpc

    claim_grpc()
    if peer.root_certificates is None:
        return grpc.insecure_channel(peer.address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        _read(peer.root_certificates),
        _read(peer.private_key) if peer.private_key else None,
        _read(peer.certificate) if peer.certificate else None,
    )
    return grpc.secure_channel(peer.address, credentials, options=_OPTIONS)


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Return how long to wait before a reconnect: uniform up to 0.2 s, doubled to at most 12 s.

    Args:
        attempt: reconnects since the last steady stream, from 0.
        rng: source of the jitter.
    """
    ceiling: float = BACKOFF_FIRST_S * 2.0 ** min(attempt, 16)
    return rng.uniform(0.0, min(BACKOFF_MOST_S, ceiling))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
