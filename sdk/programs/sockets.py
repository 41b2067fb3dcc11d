"""A group of processes over connected sockets, for services without a library of collectives."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Sequence

_HEAD = struct.Struct("<QI")
_MOST = 1 << 28  # bytes of one message
_YES, _NO = b"1", b"0"


class SocketGroup:
    """Processes that decide together, each connected with rank 0; see :class:`~.group.Group`.

    All of them make the same calls in the same order, each from one thread at a time. Steps are numbered by
    call, so that what came too late for one call is not taken for the next, and a process that was
    interrupted in the midst of one falls back with the others in that call and is in step in the next.
    Who could not write all of a message in time, or was interrupted in writing it, is disconnected, and
    from then on every call of the group falls back.

    Args:
        rank: of this process, from 0.
        size: how many there are.
        peers: of rank 0 the sockets to ranks 1, 2, ...; of the others the one to rank 0.

    Raises:
        ValueError: there is not one socket for every process that this one talks to.
    """

    def __init__(self, rank: int, size: int, peers: Sequence[socket.socket]) -> None:
        if len(peers) != (size - 1 if rank == 0 else 1):
            raise ValueError(f"rank {rank} of {size} has {len(peers)} sockets; give one per peer")
        self.rank = rank
        self.size = size
        self._peers = [_Peer(each) for each in peers]
        self._step = 0  # even where rank 0 speaks, odd where all vote

    def broadcast(self, data: bytes | None, timeout_s: float) -> bytes:
        """Return what rank 0 gives; raises OSError when it does not come in time."""
        self._step = (self._step | 1) + 1
        until = time.monotonic() + timeout_s
        if data is None:
            return self._peers[0].receive(self._step, until)
        # Votes in a call that has not begun here: the others made it without this process, and gave up.
        ahead = max((peer.newest() for peer in self._peers), default=0)
        if ahead > self._step:
            self._step = ahead + 1
        for peer in self._peers:
            peer.try_send(self._step, data, until)
        return data

    def agree(self, ok: bool, timeout_s: float) -> bool:
        """Return whether every process says so; raises OSError when rank 0's word does not come in time."""
        self._step |= 1
        until = time.monotonic() + timeout_s
        if self.rank != 0:
            self._peers[0].send(self._step, _YES if ok else _NO, until)
            # rank 0 may wait as long for the slowest before it can say anything
            return self._peers[0].receive(self._step, until + timeout_s) == _YES
        votes = [peer.vote(self._step, until) for peer in self._peers]
        agreed = ok and all(votes)
        for peer in self._peers:
            peer.try_send(self._step, _YES if agreed else _NO, time.monotonic() + timeout_s)
        return agreed

    def close(self) -> None:
        """Disconnect; every later call raises, here and where the others notice."""
        for peer in self._peers:
            peer.close()


class _Peer:
    """One connection, and what was read of it beyond the last message."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = bytearray()

    def close(self) -> None:
        self._connection.close()

    def send(self, step: int, data: bytes, until: float) -> None:
        self._connection.settimeout(_left(until))
        try:
            self._connection.sendall(_HEAD.pack(step, len(data)) + data)
        except BaseException:
            self._connection.close()  # part of a message may be out
            raise

    def try_send(self, step: int, data: bytes, until: float) -> None:
        """Send to one of several; who does not hear says so when it is asked whether it agrees."""
        try:
            self.send(step, data, until)
        except OSError:
            return

    def vote(self, step: int, until: float) -> bool:
        try:
            return self.receive(step, until, most=1) == _YES
        except OSError:
            return False

    def receive(self, step: int, until: float, most: int = _MOST) -> bytes:
        """Return the message of a step; those of earlier steps came too late and are left out.

        One of a later step stays for that one: the other process gave this call up.
        """
        while True:
            self._fill(_HEAD.size, until)
            found, length = _HEAD.unpack_from(self._read)
            if length > most or found > step:
                raise ConnectionError(f"message {found} of {length} bytes where {step} is awaited")
            self._fill(_HEAD.size + length, until)
            data = bytes(self._read[_HEAD.size : _HEAD.size + length])
            del self._read[: _HEAD.size + length]
            if found == step:
                return data

    def newest(self) -> int:
        """Return the step of the last vote that is there already, 0 for none, and forget it and those before."""
        with contextlib.suppress(OSError):
            self._connection.settimeout(0.0)
            self._read += self._connection.recv(1 << 16)
        newest = 0
        while len(self._read) > _HEAD.size:
            found, length = _HEAD.unpack_from(self._read)
            if length != 1:
                break  # no vote: whoever waits for one will refuse it
            newest = max(newest, found)
            del self._read[: _HEAD.size + 1]
        return newest

    def _fill(self, count: int, until: float) -> None:
        while len(self._read) < count:
            self._connection.settimeout(_left(until))
            more = self._connection.recv(1 << 16)
            if not more:
                raise ConnectionError("the other process has gone")
            self._read += more


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0.0:
        raise TimeoutError("no time is left")
    return left
