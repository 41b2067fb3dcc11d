"""A thin client of the control plane, for commands, pipelines and notebooks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from gnomon.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    policy_pb2,
    rollouts_pb2,
    rollouts_pb2_grpc,
)

from ...sdk.channel import Peer, open_channel
from ...sdk.errors import RolloutError, TrustError, UnavailableError
from ...sdk.records import INCUMBENT
from .chain import Entry, LedgerCheck
from .entries import message_entry

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

DEADLINE_S = 10.0
EXPORT_S = 600.0  # a ledger may be long
_OPENSSL = re.compile(r"OPENSSL_internal:(\w+)")
_UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
#: States in which nothing more will happen without an order, with the answer that they are.
ENDED: Mapping[str, str] = {"STABLE": "promoted", "ABORTED": "aborted", "HOLD": "inconclusive"}


class RolloutClient:
    """Speaks with one control plane; use it as a context manager.

    Args:
        peer: where it is, or ``host:port``.
        timeout_s: of every question; watching has none.

    Every method raises UnavailableError when the control plane cannot be reached, and RolloutError
    or TrustError with its words when it refuses.
    """

    def __init__(self, peer: Peer | str, timeout_s: float = DEADLINE_S) -> None:
        self.peer = Peer.from_environment(peer, os.environ) if isinstance(peer, str) else peer
        self._timeout_s = timeout_s
        self._channel = open_channel(self.peer)
        # Generated stubs are not annotated.
        rollouts: Any = rollouts_pb2_grpc
        audit: Any = audit_pb2_grpc
        self._rollouts = rollouts.RolloutsStub(self._channel)
        self._audit = audit.AuditStub(self._channel)
        signed: Any = keys_pb2_grpc
        self._keys = signed.KeysStub(self._channel)

    def create(
        self, bundle: policy_pb2.Envelope, plan: policy_pb2.Envelope, actor: str
    ) -> rollouts_pb2.Rollout:
        """Begin a rollout; the same plan again returns it as it stands."""
        request = rollouts_pb2.CreateRequest(bundle=bundle, plan=plan, actor=actor)
        found: rollouts_pb2.Rollout = self._ask(self._rollouts.Create, request)
        return found

    def get(self, rollout: str = "") -> rollouts_pb2.Rollout:
        """Return a rollout, the newest one without an id."""
        request = rollouts_pb2.GetRequest(id=rollout)
        found: rollouts_pb2.Rollout = self._ask(self._rollouts.Get, request)
        return found

    def list(self, hook: str = "") -> tuple[rollouts_pb2.Rollout, ...]:
        """Return all rollouts, or those of a hook, oldest first."""
        found = self._ask(self._rollouts.List, rollouts_pb2.ListRequest(hook=hook))
        return tuple(found.rollouts)

    def stable(self, hook: str) -> str:
        """Return the digest that is stable on a hook, ``incumbent`` before any promotion."""
        found = self.list(hook)
        return found[-1].serving if found else INCUMBENT

    def act(
        self, rollout: str, action: str, actor: str, reason: str = "", request_id: str = ""
    ) -> rollouts_pb2.Rollout:
        """Carry out an operator's order; the same request id again changes nothing."""
        request = rollouts_pb2.ActRequest(
            id=rollout, action=action, actor=actor, reason=reason, request_id=request_id
        )
        found: rollouts_pb2.Rollout = self._ask(self._rollouts.Act, request)
        return found

    def reverify(self, reverification: policy_pb2.Envelope, actor: str) -> rollouts_pb2.Rollout:
        """Bring a fresh verdict on the policy in force; the same one again changes nothing."""
        request = rollouts_pb2.ReverifyRequest(reverification=reverification, actor=actor)
        found: rollouts_pb2.Rollout = self._ask(self._rollouts.Reverify, request)
        return found

    def exclude(self, hook: str, from_ns: int, to_ns: int, reason: str, actor: str) -> int:
        """Leave a stretch of Unix time out of both arms; return how many blocks it touches."""
        request = rollouts_pb2.ExcludeRequest(
            hook=hook, from_unix_ns=from_ns, to_unix_ns=to_ns, reason=reason, actor=actor
        )
        return int(self._ask(self._rollouts.Exclude, request).blocks)

    def clients(self, hook: str = "") -> tuple[rollouts_pb2.Client, ...]:
        """Return the processes that the control plane has heard of."""
        request = rollouts_pb2.ListClientsRequest(hook=hook)
        return tuple(self._ask(self._rollouts.ListClients, request).clients)

    def signed(self, hook: str = "") -> keys_pb2.SignedResponse:
        """Return what is in force on all hooks, or on one, with its signatures."""
        found: keys_pb2.SignedResponse = self._ask(
            self._keys.Signed, keys_pb2.SignedRequest(hook=hook)
        )
        return found

    def resign(self, request: keys_pb2.ResignRequest) -> keys_pb2.SignedResponse:
        """Add signatures to what is in force; the same ones again change nothing."""
        found: keys_pb2.SignedResponse = self._ask(self._keys.Resign, request)
        return found

    def watch(self, rollout: str = "") -> Iterator[rollouts_pb2.Rollout]:
        """Yield a rollout now and whenever it changes, for ever."""
        call = self._rollouts.Watch(rollouts_pb2.GetRequest(id=rollout), wait_for_ready=False)
        try:
            yield from self._stream(call)
        finally:
            call.cancel()

    def verify(self) -> LedgerCheck:
        """Have the control plane verify its own ledger."""
        found = self._ask(self._audit.Verify, audit_pb2.AuditVerifyRequest())
        return LedgerCheck(
            found.ok, int(found.entries), found.head, found.problem, int(found.problem_seq)
        )

    def anchors(self) -> audit_pb2.AuditAnchorsResponse:
        """Return the ledger's head, what connected processes remember, and what is in dispute."""
        found: audit_pb2.AuditAnchorsResponse = self._ask(
            self._audit.Anchors, audit_pb2.AuditAnchorsRequest()
        )
        return found

    def accept(self, actor: str, reason: str) -> audit_pb2.AuditAnchorsResponse:
        """Take what is in dispute as lost."""
        request = audit_pb2.AuditAcceptRequest(actor=actor, reason=reason)
        found: audit_pb2.AuditAnchorsResponse = self._ask(self._audit.Accept, request)
        return found

    def entries(self, from_seq: int = 0, subject: str = "") -> Iterator[Entry]:
        """Yield the entries of the control plane's ledger, in order."""
        request = audit_pb2.AuditExportRequest(from_seq=from_seq, subject=subject)
        call = self._audit.Export(request, timeout=max(self._timeout_s, EXPORT_S))
        return map(message_entry, self._stream(call))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def _ask(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def _stream(self, call: Iterator[T]) -> Iterator[T]:
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._translated(error) from error

    def _translated(self, error: Any) -> Exception:
        code, details = error.code(), error.details() or "no details"
        if code in _UNAVAILABLE:
            return _silence(self.peer.address, details)
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return TrustError(details)
        return RolloutError(details)


def _silence(address: str, details: str) -> UnavailableError:
    """Return why nobody answers, with the remedy; ``details`` are gRPC's words."""
    if "handshake" in details:
        said = _OPENSSL.search(details)
        why = said[1].replace("_", " ").lower() if said else "certificate, key or authority"
        return UnavailableError(
            f"control plane {address} is there, but TLS with it fails ({why}); "
            "see GNOMON_TLS_ROOT, GNOMON_TLS_CERT and GNOMON_TLS_KEY"
        )
    if "failed to connect" in details and "Socket closed" in details:
        return UnavailableError(
            f"control plane {address} hangs up at once, as one that wants TLS or a certificate does; "
            "see GNOMON_TLS_ROOT, GNOMON_TLS_CERT and GNOMON_TLS_KEY"
        )
    return UnavailableError(f"control plane {address} does not answer; start it with: gnomon serve")


def follow(
    client: RolloutClient, rollout: str, show: Callable[[rollouts_pb2.Rollout], None]
) -> rollouts_pb2.Rollout:
    """Watch a rollout until nothing more will happen by itself; show every change; return the last.

    Raises:
        UnavailableError: the control plane went away first.
    """
    for found in client.watch(rollout):
        show(found)
        if rollouts_pb2.State.Name(found.state) in ENDED:
            return acknowledged(client, found)
    raise UnavailableError(f"control plane {client.peer.address} ended the watch; watch again")


def acknowledged(
    client: RolloutClient,
    found: rollouts_pb2.Rollout,
    sleep: Callable[[float], None] = time.sleep,
) -> rollouts_pb2.Rollout:
    """Return a rollout once every process has acknowledged its last manifest, or after two seconds.

    A control plane that goes away meanwhile is no error: what was asked of it had been done before.
    """
    for _ in range(20):
        if found.acked == found.clients:
            break
        sleep(0.1)
        try:
            found = client.get(found.id)
        except UnavailableError:
            break
    return found
