"""What one control plane has for itself: its state folder and its port."""

from __future__ import annotations

import contextlib
import fcntl
import socket
from collections.abc import Iterator
from pathlib import Path

from ...sdk.errors import ConfigurationError


@contextlib.contextmanager
def alone_in(state: Path) -> Iterator[None]:
    """Hold a state folder for this process; raises ConfigurationError where another one has it.

    Two control planes on one folder would each lead the fleet by epochs of their own.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"state folder {state} is in use by another control plane; stop that one, or name "
                "another --state"
            ) from error
        yield


def check_free(listen: str) -> None:
    """Refuse a port in use before any file is made; gRPC itself says so only when it binds."""
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except socket.gaierror:
            return  # a name that only gRPC's own resolver may know: it will say
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {listen}: {error.strerror}; stop what uses it, or choose another "
                "port"
            ) from error
