"""Signatures under what is in force."""

from __future__ import annotations

from grpc.aio import ServicerContext as Context

from gnomon.v1 import keys_pb2, keys_pb2_grpc

from .. import roles
from ..control import Control
from .answering import answer


class KeysService(keys_pb2_grpc.KeysServicer):
    """Signatures under what is in force.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    async def Signed(
        self, request: keys_pb2.SignedRequest, context: Context
    ) -> keys_pb2.SignedResponse:
        """Return what is in force, with its signatures."""
        del context
        return self._view(request.hook)

    async def Resign(
        self, request: keys_pb2.ResignRequest, context: Context
    ) -> keys_pb2.SignedResponse:
        """Take further signatures."""
        plan = request.plan if request.HasField("plan") else None
        by = roles.actor(request.actor)
        await answer(context, lambda: self._control.resign(request.hook, plan, request.bundles, by))
        return self._view(request.hook)

    def _view(self, hook: str) -> keys_pb2.SignedResponse:
        return keys_pb2.SignedResponse(
            hooks=self._control.signed(hook), rollout_keyids=self._control.rollout_keyids()
        )
