"""Plain text stays on this machine, and reconnects are patient."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.channel import BACKOFF_MOST_S, Peer, backoff_s, is_loopback, open_channel
from gnomon.sdk.errors import ConfigurationError

PEM = Path("x.pem")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:7400", "127.8.8.8:1", "localhost:7400", "[::1]:7400"]
)
def test_plain_text_is_fine_on_loopback(address) -> None:
    Peer(address)


@pytest.mark.parametrize(
    "address", ["10.0.0.1:7400", "control.example:7400", "0.0.0.0:1", "localhost.evil.example:1"]
)
def test_plain_text_to_another_host_must_be_asked_for(address) -> None:
    with pytest.raises(ConfigurationError, match="plain text"):
        Peer(address)
    Peer(address, insecure=True)
    Peer(address, root_certificates=PEM)


@pytest.mark.parametrize("address", ["", "localhost", ":7400", "localhost:", "localhost:http"])
def test_an_address_without_host_and_port_is_refused(address) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        Peer(address)


def test_half_a_client_certificate_is_refused() -> None:
    for half in ({"certificate": PEM}, {"private_key": PEM}):
        with pytest.raises(ConfigurationError, match="private key"):
            Peer("localhost:1", root_certificates=PEM, **half)
    with pytest.raises(ConfigurationError, match="root_certificates"):
        Peer("localhost:1", certificate=PEM, private_key=PEM)


def test_the_environment_names_the_files() -> None:
    environ = {
        "GNOMON_TLS_ROOT": "ca.pem",
        "GNOMON_TLS_CERT": "me.pem",
        "GNOMON_TLS_KEY": "me.key",
    }
    peer = Peer.from_environment("control.example:1", environ)
    assert peer.root_certificates == Path("ca.pem")
    assert (peer.certificate, peer.private_key) == (Path("me.pem"), Path("me.key"))
    assert Peer.from_environment("control.example:1", {"GNOMON_TLS_INSECURE": "1"}).insecure
    with pytest.raises(ConfigurationError, match="plain text"):
        Peer.from_environment("control.example:1", {"GNOMON_TLS_INSECURE": "0"})


def test_a_missing_certificate_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem"):
        open_channel(Peer("localhost:1", root_certificates=Path("nowhere.pem")))


def test_only_literal_loopback_counts() -> None:
    assert is_loopback("[::1]")
    assert not is_loopback("loopback.example")
    assert not is_loopback("")


@given(st.integers(0, 1000), st.integers(0, 2**32))
def test_backoff_is_full_jitter_up_to_its_ceiling(attempt: int, seed: int) -> None:
    ceiling = min(BACKOFF_MOST_S, 0.2 * 2.0 ** min(attempt, 30))
    waits = [backoff_s(attempt, random.Random(seed + i)) for i in range(20)]
    assert all(0.0 <= wait <= ceiling for wait in waits)
    assert max(waits) > 0.5 * ceiling
    assert min(waits) < 0.5 * ceiling
