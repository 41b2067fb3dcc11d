"""Who may do what: real certificates against every method of the control plane."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gnomon.policies.rollout.client import RolloutClient
from gnomon.policies.rollout.roles import (
    ROLES,
    RULES,
    Caller,
    Roles,
    certificate_names,
    permitted,
)
from gnomon.policies.rollout.server import _SERVICES
from gnomon.policies.rollout.settings import ServerSettings
from gnomon.sdk.channel import Peer, open_channel
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.v1 import audit_pb2, delivery_pb2, keys_pb2, rollouts_pb2

from .certificates import Authority
from .test_server import Running

FILES = (delivery_pb2, rollouts_pb2, keys_pb2, audit_pb2)
HOOK = "router.pick"
SERVED = [
    (f"/{service.full_name}/{method.name}", method)
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
GRANTED = """
"CN=publisher" = ["publisher"]
"alice@example.org" = ["operator"]
"spiffe://example.org/auditor" = ["auditor"]
"CN=service" = ["service:router"]
"{print}" = ["publisher", "operator"]
"""


class Place:
    """A control plane with roles, and a certificate of every role."""

    def __init__(self, folder: Path, settings: ServerSettings) -> None:
        self.authority = Authority(folder)
        self.pairs = {
            "server": self.authority.issue("server"),
            "publisher": self.authority.issue("publisher"),
            "operator": self.authority.issue("operator", x509.RFC822Name("alice@example.org")),
            "auditor": self.authority.issue(
                "auditor", x509.UniformResourceIdentifier("spiffe://example.org/auditor")
            ),
            "service": self.authority.issue("service"),
            "nobody": self.authority.issue("nobody"),
            "both": self.authority.issue("both"),
            "borrower": self.authority.issue(
                "borrower", x509.UniformResourceIdentifier("CN=publisher")
            ),
        }
        self.roles = folder / "roles.toml"
        shown = x509.load_pem_x509_certificate(self.pairs["both"][0].read_bytes())
        der = shown.public_bytes(Encoding.DER)
        self.print = f"SHA256:{hashlib.sha256(der).hexdigest().upper()}"
        self.roles.write_text(GRANTED.replace("{print}", self.print))
        certificate, private = self.pairs["server"]
        self.settings = replace(
            settings,
            certificate=certificate,
            private_key=private,
            client_authorities=self.authority.root,
            roles=self.roles,
        )
        self.running = Running(self.settings)

    def peer(self, who: str) -> Peer:
        return Peer(self.running.address, self.authority.root, *self.pairs[who])

    def client(self, who: str) -> RolloutClient:
        return RolloutClient(self.peer(who))

    def answer(self, who: str, path: str, method: Any) -> tuple[grpc.StatusCode, str]:
        """Return the status of a call with an empty message; OK where an answer came."""
        with open_channel(self.peer(who)) as channel:
            shape = ("stream" if method.client_streaming else "unary") + "_"
            shape += "stream" if method.server_streaming else "unary"
            call = getattr(channel, shape)(
                path, lambda message: message.SerializeToString(), lambda data: data
            )
            request = getattr(_module(method), method.input_type.name)()
            try:
                found = call(iter([request]) if method.client_streaming else request, timeout=10)
                if method.server_streaming:
                    next(found, None)
            except grpc.RpcError as error:
                return error.code(), error.details()  # type: ignore[attr-defined]
        return grpc.StatusCode.OK, ""


def _module(method: Any) -> Any:
    return next(file for file in FILES if file.DESCRIPTOR.name == method.input_type.file.name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    from gnomon.sdk import keys

    folder = tmp_path_factory.mktemp("roles")
    settings = ServerSettings(
        "127.0.0.1:0", folder / "state", keys.generate(), (keys.generate().public_key(),)
    )
    made = Place(folder, settings)
    yield made
    made.running.stop()


def test_every_method_has_a_rule() -> None:
    assert {path for path, _ in SERVED} <= set(RULES)
    assert {service.partition("/")[0] for service in _SERVICES} == {
        path.split("/")[1] for path in RULES
    }
    assert all(allowed and allowed <= ROLES for allowed in RULES.values())


@pytest.mark.parametrize("who", ["publisher", "operator", "auditor", "service", "nobody", "both"])
def test_every_method_is_answered_to_its_roles_and_to_nobody_else(place: Place, who: str) -> None:
    own = {"nobody": set(), "both": {"publisher", "operator"}}.get(who, {who})
    for path, method in SERVED:
        status, details = place.answer(who, path, method)
        denied = status is grpc.StatusCode.PERMISSION_DENIED and " is for " in details
        assert denied == (not own & RULES[path]), (path, who, status, details)
        if denied:
            assert "certificate '" in details and method.name in details


def test_health_is_open_to_every_certificate(place: Place) -> None:
    with open_channel(place.peer("nobody")) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_refusal_is_a_trust_error_in_one_line(place: Place) -> None:
    with place.client("auditor") as client, pytest.raises(TrustError) as caught:
        client.act("", "kill", "root", "because")
    assert str(caught.value) == (
        "Rollouts/Act is for operator; certificate 'spiffe://example.org/auditor' has auditor"
    )


def test_a_process_may_not_say_it_is_another_service(place: Place) -> None:
    def hello(service: str) -> delivery_pb2.ClientMessage:
        node = delivery_pb2.Node(service=service, instance="a" * 16)
        return delivery_pb2.ClientMessage(hello=delivery_pb2.Hello(node=node))

    with open_channel(place.peer("service")) as channel:
        connect = channel.stream_stream(
            "/gnomon.v1.Delivery/Connect", lambda m: m.SerializeToString(), lambda d: d
        )
        assert list(connect(iter([hello("router")]), timeout=10)) == []
        with pytest.raises(grpc.RpcError) as caught:
            list(connect(iter([hello("billing")]), timeout=10))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
    assert "is for service router, not for 'billing'" in caught.value.details()  # type: ignore[attr-defined]


def test_the_ledger_names_the_certificate_and_not_what_was_said(
    tmp_path: Path, publisher: Any
) -> None:
    import time

    settings = ServerSettings(
        "127.0.0.1:0", tmp_path / "state", publisher.rollout, (publisher.key.public_key(),)
    )
    made = Place(tmp_path, settings)
    try:
        bundle = publisher.bundle()
        from .test_server import QUICK

        plan = publisher.plan(bundle, time.time_ns(), QUICK)
        with made.client("publisher") as client:
            rollout = client.create(bundle, plan, "somebody else").id
        with made.client("operator") as client:
            client.act(rollout, "abort", "the president", "no")
            actors = {entry.kind: entry.actor for entry in client.entries()}
    finally:
        made.running.stop()
    assert actors["rollout.created"] == "CN=publisher"
    assert actors["rollout.transition"] == "alice@example.org"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name nobody"),
        ("x = ", "are no TOML"),
        ('"CN=a" = "operator"', "is no list of"),
        ('"CN=a" = []', "is no list of"),
        ('"CN=a" = ["king"]', "is no list of"),
        ('"CN=a" = ["operator:x"]', "is no list of"),
        ('"CN=a" = [7]', "is no list of"),
    ],
)
def test_a_roles_file_that_says_nothing_clear_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "roles.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Roles.read(path)
    with pytest.raises(ConfigurationError, match="cannot read roles"):
        Roles.read(tmp_path / "none.toml")


def test_roles_without_certificates_are_refused(tmp_path: Path, publisher: Any) -> None:
    with pytest.raises(ConfigurationError, match="roles need client authorities"):
        ServerSettings(
            "127.0.0.1:0",
            tmp_path,
            publisher.rollout,
            (publisher.key.public_key(),),
            roles=tmp_path / "roles.toml",
        )


def test_roles_of_several_names_add_up_and_services_too() -> None:
    granted = {
        "CN=a": Caller("CN=a", frozenset({"service"}), frozenset({"x"})),
        "b": Caller("b", frozenset({"auditor"}), frozenset()),
    }
    found = Roles(Path("r"), granted).of(["CN=a", "b", "sha256:00"])
    assert found == Caller("CN=a", frozenset({"service", "auditor"}), frozenset({"x"}))
    assert Roles(Path("r"), granted).of(["CN=z"]) == Caller("CN=z", frozenset(), frozenset())


def test_without_a_certificate_there_is_no_name() -> None:
    assert certificate_names({"transport_security_type": [b"ssl"]}) == []
    assert permitted("/gnomon.v1.Rollouts/Act", [], None) is None
    with pytest.raises(TrustError, match="show a client certificate"):
        permitted("/gnomon.v1.Rollouts/Act", [], Roles(Path("r"), {"CN=a": Caller("CN=a")}))


def test_an_alternative_name_cannot_borrow_the_roles_of_another_kind_of_name(place: Place) -> None:
    """Authorities check alternative names as what they are; a URI that reads ``CN=publisher`` is nobody's."""
    path, method = next(each for each in SERVED if each[0].endswith(".Rollouts/Create"))
    status, said = place.answer("borrower", path, method)
    assert status is grpc.StatusCode.PERMISSION_DENIED
    assert said.endswith("certificate 'CN=borrower' has no role")


def test_a_method_without_a_rule_is_refused_to_everybody() -> None:
    with pytest.raises(TrustError, match="Rollouts/New is for nobody; certificate 'CN=a'"):
        permitted("/gnomon.v1.Rollouts/New", ["CN=a"], None)
