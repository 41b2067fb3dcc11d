"""The ledger, to be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from grpc.aio import ServicerContext as Context

from gnomon.v1 import audit_pb2, audit_pb2_grpc

from .. import roles
from ..control import Control
from ..entries import entry_message
from .answering import answer


class AuditService(audit_pb2_grpc.AuditServicer):
    """The ledger, to be read.

    Args:
        control: whose ledger it is.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._ledger = control.ledger

    async def Export(
        self, request: audit_pb2.AuditExportRequest, context: Context
    ) -> AsyncIterator[audit_pb2.AuditEntry]:
        """Yield entries in order."""
        del context
        for entry in self._ledger.export(request.from_seq, request.subject):
            yield entry_message(entry)
            await asyncio.sleep(0)  # a long ledger must not hold up a rollback

    async def Verify(
        self, request: audit_pb2.AuditVerifyRequest, context: Context
    ) -> audit_pb2.AuditVerifyResponse:
        """Say whether the chain holds."""
        del request, context
        check = await asyncio.to_thread(self._ledger.verify)
        return audit_pb2.AuditVerifyResponse(
            ok=check.ok,
            entries=check.entries,
            head=check.head,
            problem=check.problem,
            problem_seq=check.problem_seq,
        )

    async def Anchors(
        self, request: audit_pb2.AuditAnchorsRequest, context: Context
    ) -> audit_pb2.AuditAnchorsResponse:
        """Return the head, what processes remember, and what of that the ledger does not hold."""
        del request, context
        return self._anchors()

    async def Accept(
        self, request: audit_pb2.AuditAcceptRequest, context: Context
    ) -> audit_pb2.AuditAnchorsResponse:
        """Take what is in dispute as lost."""

        def accept() -> audit_pb2.AuditAnchorsResponse:
            self._control.accept(roles.actor(request.actor), request.reason)
            return self._anchors()

        return await answer(context, accept)

    def _anchors(self) -> audit_pb2.AuditAnchorsResponse:
        witnesses = self._control.witnesses
        services = {seat.instance: seat.service for seat in self._control.clients()}
        return audit_pb2.AuditAnchorsResponse(
            head=witnesses.head,
            witnesses=[
                audit_pb2.Witness(
                    service=services.get(instance, ""),
                    instance=instance,
                    anchor=said.anchor,
                    time_unix_ns=said.time_ns,
                )
                for instance, said in sorted(witnesses.said.items())
            ],
            disputes=[
                audit_pb2.Dispute(
                    anchor=each.anchor, problem=each.problem, instances=each.instances
                )
                for each in witnesses.disputes.values()
            ],
        )
