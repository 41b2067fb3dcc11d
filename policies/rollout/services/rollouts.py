"""What people and pipelines ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from grpc.aio import ServicerContext as Context

from gnomon.v1 import rollouts_pb2, rollouts_pb2_grpc

from .. import roles, views
from ..blocks import Exclusion
from ..control import Control
from ..states import State
from .answering import answer

#: Between two views of a rollout that is watched: a fleet's answers come as one.
_VIEW_EVERY_S = 0.05


class RolloutsService(rollouts_pb2_grpc.RolloutsServicer):
    """What people and pipelines ask for.

    Args:
        control: that it speaks for.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._changes: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._closed = False

    async def Create(
        self, request: rollouts_pb2.CreateRequest, context: Context
    ) -> rollouts_pb2.Rollout:
        """Begin a rollout."""
        return await answer(
            context,
            lambda: self._view(
                self._control.create(request.bundle, request.plan, roles.actor(request.actor))
            ),
        )

    async def Get(self, request: rollouts_pb2.GetRequest, context: Context) -> rollouts_pb2.Rollout:
        """Return a rollout."""
        return await answer(context, lambda: self._view(self._control.get(request.id)))

    async def List(
        self, request: rollouts_pb2.ListRequest, context: Context
    ) -> rollouts_pb2.ListResponse:
        """Return all rollouts."""
        del context
        found = self._control.rollouts(request.hook)
        return rollouts_pb2.ListResponse(rollouts=[self._view(state) for state in found])

    async def Watch(
        self, request: rollouts_pb2.GetRequest, context: Context
    ) -> AsyncIterator[rollouts_pb2.Rollout]:
        """Yield a rollout now and whenever it changes."""
        view = await answer(context, lambda: self._view(self._control.get(request.id)))
        while True:
            seen = self._changes.get(view.id, 0)
            yield view
            await asyncio.sleep(_VIEW_EVERY_S)
            while self._changes.get(view.id, 0) == seen and not self._closed:
                await self._changed.wait()
            if self._closed:
                return
            view = self._view(self._control.get(view.id))

    async def Act(self, request: rollouts_pb2.ActRequest, context: Context) -> rollouts_pb2.Rollout:
        """Carry out an operator's order."""

        def act() -> rollouts_pb2.Rollout:
            rollout = request.id or self._control.get().plan.id
            by = roles.actor(request.actor)
            order = (request.action, by, request.reason, request.request_id)
            return self._view(self._control.act(rollout, *order))

        return await answer(context, act)

    async def Exclude(
        self, request: rollouts_pb2.ExcludeRequest, context: Context
    ) -> rollouts_pb2.ExcludeResponse:
        """Leave a stretch of time out of both arms."""
        gap = Exclusion(request.from_unix_ns, request.to_unix_ns, request.reason)
        blocks = await answer(
            context, lambda: self._control.exclude(request.hook, gap, roles.actor(request.actor))
        )
        return rollouts_pb2.ExcludeResponse(blocks=blocks)

    async def Reverify(
        self, request: rollouts_pb2.ReverifyRequest, context: Context
    ) -> rollouts_pb2.Rollout:
        """Take a fresh verdict on the policy in force."""
        return await answer(
            context,
            lambda: self._view(self._control.reverify(request.reverification, request.actor)),
        )

    async def ListClients(
        self, request: rollouts_pb2.ListClientsRequest, context: Context
    ) -> rollouts_pb2.ListClientsResponse:
        """Return the processes that were heard of."""
        del context
        seats = self._control.clients(request.hook)
        return rollouts_pb2.ListClientsResponse(clients=[views.client(seat) for seat in seats])

    def change(self, rollout: str) -> None:
        """Wake those who watch."""
        self._changes[rollout] = self._changes.get(rollout, 0) + 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._changed.set()

    def _view(self, state: State) -> rollouts_pb2.Rollout:
        hook = state.plan.hook
        seats = [seat for seat in self._control.clients(hook) if seat.connected]
        return views.rollout(state, self._control.epoch(hook), seats)
