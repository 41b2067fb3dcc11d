"""Delivery with real hooks, over TLS, and across a fork."""

from __future__ import annotations

import datetime
import ipaddress
import queue
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gnomon.sdk import keys
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.v1 import delivery_pb2, delivery_pb2_grpc

HOOK = "router.pick"
PATIENCE_S = 10.0


class Listener(delivery_pb2_grpc.DeliveryServicer):
    """Keeps who said hello and pushes nothing."""

    def __init__(self) -> None:
        self.hellos: queue.Queue[delivery_pb2.Hello] = queue.Queue()

    def Connect(self, request_iterator, context):
        for message in request_iterator:
            if message.HasField("hello"):
                self.hellos.put(message.hello)
                yield delivery_pb2.ServerMessage(nonce="?")


@pytest.fixture
def serve():
    """Start a listener; returns it and its port."""
    servers = []

    def serve(credentials: grpc.ServerCredentials | None = None):
        listener, server = Listener(), grpc.server(futures.ThreadPoolExecutor(4))
        delivery_pb2_grpc.add_DeliveryServicer_to_server(listener, server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        return listener, port

    yield serve
    for server in servers:
        server.stop(0).wait()


@pytest.fixture
def make_client(world, hook, tmp_path):
    """Return a maker of clients for a port and TLS variables."""

    def make(port: int, environ=None) -> DeliveryClient:
        peer = Peer.from_environment(f"127.0.0.1:{port}", environ or {})
        told = Settings(peer, "s", world.anchors, state_dir=tmp_path)
        return DeliveryClient(lambda: [hook], told, lambda: "0123456789abcdef")

    return make


class Authority:
    """Signs certificates for this machine."""

    def __init__(self, folder, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(self.name, self._key, authority=True)
        self.root = folder / f"{name}-root.pem"
        self.root.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str):
        """Return paths of a certificate and its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        signed = self._signed(subject, key, authority=False)
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def _signed(self, subject, key, *, authority: bool):
        now = datetime.datetime.now(datetime.UTC)
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([local]), critical=False)
            .sign(self._key, SHA256())
        )


@pytest.fixture
def mutual(serve, tmp_path):
    """Serve over mutual TLS; returns the listener, its port and the authority."""
    authority = Authority(tmp_path, "ours")
    certificate, private = authority.issue("server")
    credentials = grpc.ssl_server_credentials(
        [(private.read_bytes(), certificate.read_bytes())],
        authority.root.read_bytes(),
        require_client_auth=True,
    )
    return *serve(credentials), authority


def test_mutual_tls_connects(mutual, make_client) -> None:
    listener, port, authority = mutual
    certificate, private = authority.issue("client")
    environ = {
        "GNOMON_TLS_ROOT": str(authority.root),
        "GNOMON_TLS_CERT": str(certificate),
        "GNOMON_TLS_KEY": str(private),
    }
    client = make_client(port, environ)
    client.start()
    try:
        assert listener.hellos.get(timeout=PATIENCE_S).node.service == "s"
    finally:
        assert client.stop()


@pytest.mark.parametrize("case", ["no client certificate", "another authority", "plain text"])
def test_whoever_cannot_prove_who_they_are_stays_out(mutual, make_client, tmp_path, case) -> None:
    listener, port, authority = mutual
    stranger = Authority(tmp_path, "stranger")
    environ = {
        "no client certificate": {"GNOMON_TLS_ROOT": str(authority.root)},
        "another authority": {"GNOMON_TLS_ROOT": str(stranger.root)},
        "plain text": {},
    }[case]
    client = make_client(port, environ)
    client.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while client.status.connects < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert client.status.connects >= 2, "it goes on trying"
        assert not client.status.connected
        assert client.status.last_error
        assert listener.hellos.empty()
    finally:
        assert client.stop()


FORKING = """
import os, sys, time
from pathlib import Path
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk import keys
from gnomon.sdk.channel import Peer
from gnomon.sdk.delivery import DeliveryClient, Settings
from gnomon.sdk.manifest import Anchors
from gnomon.sdk.measure import BlockMeasure

class Hook:
    name, kind, counters, breaker, killed, measure = "h", load_balancer, {}, "", "", None
    has_outcomes = True
    def install(self, assignment): pass
    def new_measure(self): return BlockMeasure(self.kind)

port, public, state = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
peer, anchors = Peer("127.0.0.1:" + port), Anchors((keys.load_public(public),))
hooks, process_id = [Hook()], [os.urandom(8).hex()]

def connected(client):
    end = time.monotonic() + 60
    while not client.status.connected and time.monotonic() < end:
        time.sleep(0.01)
    return client.status.connected

client = DeliveryClient(
    lambda: hooks, Settings(peer, "s", anchors, state_dir=state), lambda: process_id[0]
)
client.start()
assert connected(client)
child = os.fork()
if child == 0:
    ok = client.stop()  # nothing runs here, and nothing of the parent's is harmed
    process_id[0] = os.urandom(8).hex()
    client.start()  # must not freeze: gRPC cannot be used in here
    end = time.monotonic() + 60
    while "fork" not in client.status.last_error and time.monotonic() < end:
        time.sleep(0.01)
    ok = ok and "fork" in client.status.last_error and not client.status.connected
    sys.exit(0 if ok and client.stop() else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert connected(client)
assert client.stop()
"""


def test_a_child_forked_after_gRPC_was_used_stays_alive_and_says_why(
    serve, world, tmp_path
) -> None:
    """gRPC freezes such a child, interpreter and all, when it makes a channel; so none is made."""
    listener, port = serve()
    _, public = keys.save(world.publisher, tmp_path, "publisher", "publisher")
    command = [sys.executable, "-c", FORKING, str(port), str(public), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    instances = [listener.hellos.get(timeout=1).node.instance for _ in range(2)]
    assert len(set(instances)) == 1, "the parent came back after the fork"
    assert listener.hellos.empty(), "the child never spoke"


EARLY = (
    FORKING.replace("client.start()\nassert connected(client)\nchild", "child")
    .replace(
        FORKING[FORKING.index("if child == 0:") : FORKING.index("_, status")],
        "if child == 0:\n    client.start()\n    sys.exit(0 if connected(client) and client.stop() else 3)\n",
    )
    .replace("assert connected(client)\nassert client.stop()\n", "")
)


def test_a_child_forked_before_gRPC_was_used_has_a_stream_of_its_own(
    serve, world, tmp_path
) -> None:
    """As the workers of a prefork server are."""
    listener, port = serve()
    _, public = keys.save(world.publisher, tmp_path, "publisher", "publisher")
    command = [sys.executable, "-c", EARLY, str(port), str(public), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert listener.hellos.get(timeout=1).node.service == "s"


def test_starting_twice_is_one_thread(serve, make_client) -> None:
    _, port = serve()
    client = make_client(port)
    client.start()
    client.start()
    running = [t for t in threading.enumerate() if t.name == "gnomon-delivery"]
    assert len(running) == 1
    assert client.stop()
