"""How a control plane is run: what is refused before anything is opened, and its certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from ...sdk.channel import MOST_PORT, is_loopback
from ...sdk.errors import ConfigurationError
from ...sdk.keyring import KeyRing
from ...sdk.keys import check_separate
from .identity import Identity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


@dataclass(frozen=True)
class ServerSettings:
    """How a control plane is run.

    Attributes:
        listen: ``host:port``; port 0 takes a free one.
        state: folder of its store and ledger.
        rollout_key: signs manifests.
        publishers: keys that may sign bundles and plans.
        certificate, private_key: PEM files of the server; both turn TLS on.
        client_authorities: PEM file; clients must then show a certificate that it vouches for.
        insecure: whether clients without certificate, and plain text, may be served beyond this
            machine.
        names: of the publishers' key files by keyid, for the ledger.
        roles: file that says which certificate may do what; None lets each do everything.
        older_rollout_keys: that plans made earlier may still name.
        revoked: keyids of keys that may sign nothing any more.
        keyring: files of the publishers' keys, read again when they change; None for keys that stay.
    """

    listen: str
    state: Path
    rollout_key: Ed25519PrivateKey
    publishers: tuple[Ed25519PublicKey, ...]
    certificate: Path | None = None
    private_key: Path | None = None
    client_authorities: Path | None = None
    insecure: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    roles: Path | None = None
    older_rollout_keys: tuple[Ed25519PrivateKey, ...] = ()
    revoked: frozenset[str] = frozenset()
    keyring: KeyRing | None = None

    def __post_init__(self) -> None:
        """Refuse what could not work or would be open to eavesdroppers.

        Raises:
            ConfigurationError: no port, no publisher, one key in both roles, half of TLS, or open
                to whoever reaches the port.
        """
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > MOST_PORT:
            raise ConfigurationError(f"listen address {self.listen!r} is not of the form host:port")
        if not (self.publishers or self.revoked):
            raise ConfigurationError("no publisher key: nothing could ever be shipped; name one")
        for key in (self.rollout_key, *self.older_rollout_keys):
            check_separate(key.public_key(), self.publishers)
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError("a certificate needs its private key, and the reverse")
        if self.client_authorities and not self.certificate:
            raise ConfigurationError("client authorities need a certificate and its private key")
        if self.roles and not self.client_authorities:
            raise ConfigurationError(
                "roles need client authorities (--tls-client-ca): without certificates nobody is known"
            )
        if not (self.insecure or is_loopback(host)):
            self._check_closed()

    def identity(self) -> Identity:
        """Return whom the control plane trusts, and as whom it signs."""
        return Identity(
            self.rollout_key,
            self.publishers,
            self.names,
            older=self.older_rollout_keys,
            revoked=self.revoked,
        )

    def _check_closed(self) -> None:
        """Refuse a listener beyond this machine that anybody could read, or give orders to."""
        if not self.certificate:
            raise ConfigurationError(
                f"plain text on {self.listen} is refused; give a certificate, or --insecure"
            )
        if not self.client_authorities:
            raise ConfigurationError(
                f"{self.listen} would take orders from whoever reaches it; give client authorities "
                "(--tls-client-ca), or --insecure"
            )


def credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Return a server's certificate and authorities, read; raises ConfigurationError where a file cannot be."""
    assert settings.certificate is not None
    assert settings.private_key is not None
    pair = (_read(settings.private_key), _read(settings.certificate))
    authorities = settings.client_authorities
    if authorities is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], _read(authorities), require_client_auth=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
