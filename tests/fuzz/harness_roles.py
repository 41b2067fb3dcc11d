"""The roles' file: what each name may do, or a ConfigurationError that says what is wrong; nobody gets a role by accident."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from gnomon.policies.rollout.roles import ROLES, SERVICE, Roles
from gnomon.sdk.errors import ConfigurationError

from . import mutate as _mutate


def TestOneInput(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "roles.toml"
        file.write_bytes(data)
        try:
            roles = Roles.read(file)
        except ConfigurationError as error:
            assert "\n" not in str(error), error
            return
        assert roles.granted
        for known, caller in roles.granted.items():
            assert caller.roles and caller.roles <= ROLES
            assert bool(caller.services) == (SERVICE in caller.roles)
            assert roles.of([known, "nobody"]) == caller
        stranger = roles.of([f"not {''.join(roles.granted)}"])
        assert not stranger.roles and not stranger.services


def seeds() -> Iterator[bytes]:
    yield b'"alice@example.org" = ["operator", "auditor"]\n"CN=ci" = ["publisher"]\n'
    yield b'"spiffe://example.org/router" = ["service:router", "service:cache"]\n'
    yield b'"sha256:9F:2c" = ["service"]\n"sha256:9f2c" = ["auditor"]\n[nested]\na = ["operator"]\n'
    yield b"a = " + b"[" * 3000 + b"]" * 3000


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.source(data.decode("latin-1"), random).encode("utf-8", "replace")
