"""A group of processes over ``torch.distributed``, for models whose ranks have one already."""

# torch is optional, and not there when types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from datetime import timedelta
from typing import Any

_MOST = 1 << 28  # bytes of one message


class TorchGroup:
    """Ranks that decide together, by collectives of a process group; see :class:`~.group.Group`.

    Its collectives carry CPU tensors: give a group of the backend gloo, as hosts of models keep one
    beside the GPUs' (vLLM: ``get_ep_group().cpu_group``). A collective that one rank misses fails in the others
    when their time is up; gloo then closes its connections, so that every later call falls back too,
    until the process group is made anew.

    Args:
        group: of ``torch.distributed``; None for the default one.
    """

    def __init__(self, group: Any = None) -> None:
        import torch
        from torch import distributed

        self._torch: Any = torch
        self._distributed: Any = distributed
        self._group = group
        self.rank: int = distributed.get_rank(group)
        self.size: int = distributed.get_world_size(group)
        # collectives name the sender by its rank among all processes
        self._first = 0 if group is None else distributed.get_global_rank(group, 0)

    def broadcast(self, data: bytes | None, timeout_s: float) -> bytes:
        """Return what rank 0 gives; raises RuntimeError when it takes longer."""
        torch = self._torch
        length = torch.tensor([len(data or b"")], dtype=torch.int64)
        self._send(length, timeout_s)
        count = int(length[0])
        if not 0 < count <= _MOST:
            return b""
        if data is None:
            body = torch.empty(count, dtype=torch.uint8)
        else:
            body = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._send(body, timeout_s)
        return bytes(body.tolist()) if data is None else data

    def agree(self, ok: bool, timeout_s: float) -> bool:
        """Return whether every process says so; raises RuntimeError when it takes longer."""
        torch, distributed = self._torch, self._distributed
        vote = torch.tensor([int(ok)], dtype=torch.int64)
        least = distributed.ReduceOp.MIN
        work = distributed.all_reduce(vote, op=least, group=self._group, async_op=True)
        work.wait(timedelta(seconds=timeout_s))
        return bool(vote[0])

    def _send(self, tensor: Any, timeout_s: float) -> None:
        work = self._distributed.broadcast(
            tensor, src=self._first, group=self._group, async_op=True
        )
        work.wait(timedelta(seconds=timeout_s))
