"""A TCP proxy on the loopback that treats a connection as a bad network does.

It runs on an event loop of its own thread. Orders take effect on bytes that are under way as well.
TCP keeps bytes in order, so nothing is reordered here; what can be out of order for the two ends are
whole messages of two connections, when an old one is kept alive beside its successor
(:meth:`Proxy.linger`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

_CHUNK = 65536
_LINGER = struct.pack("ii", 1, 0)  # closing sends RST


@dataclass
class Weather:
    """How bytes fare.

    Attributes:
        delay_s: of every chunk, in each direction.
        chunk: at most so many bytes are passed on at once.
        up, down: whether bytes to the server, and to the client, are passed on; what is not, waits.
        refuse: whether new connections are reset.
    """

    delay_s: float = 0.0
    chunk: int = _CHUNK
    up: bool = True
    down: bool = True
    refuse: bool = False


@dataclass(eq=False)
class _Link:
    """One connection: both its ends, each a reader and a writer."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    held: bool = False

    def reset(self) -> None:
        """End both halves with RST."""
        for _, writer in (self.client, self.server):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()
        for task in self.tasks:
            task.cancel()


class Proxy:
    """Passes connections on to a target; use it as a context manager.

    Args:
        target: ``host:port``; may be changed for later connections.

    Attributes:
        address: ``host:port`` for clients.
        weather: how bytes fare; change it with :meth:`turn`.
        accepted: connections so far.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.weather = Weather()
        self.accepted = 0
        self._links: list[_Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._changed = asyncio.Event()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"

    def turn(self, **weather: Any) -> None:
        """Change the weather; what is not named becomes fair."""
        self._call(lambda: self._set(Weather(**weather)))

    def cut(self) -> None:
        """Reset all connections."""
        self._call(self._cut)

    def half_close(self) -> None:
        """Send the clients the end of their servers' bytes, and pass theirs on."""
        self._call(self._half_close)

    def linger(self) -> None:
        """Keep the present connections to the server, with what they still carry, but reset the clients.

        The server goes on to hear the old connection's bytes beside those of its successor.
        """
        self._call(self._let_linger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _set(self, weather: Weather) -> None:
        self.weather = weather
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _cut(self) -> None:
        for link in self._links:
            link.reset()
        self._links.clear()

    def _half_close(self) -> None:
        for link in self._links:
            if link.client[1].can_write_eof():
                link.client[1].write_eof()

    def _let_linger(self) -> None:
        for link in self._links:
            link.held = True
            raw = link.client[1].get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            link.client[1].transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        host, _, port = self.target.rpartition(":")
        try:
            if self.weather.refuse:
                raise ConnectionRefusedError
            server = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), server)
        self._links.append(link)
        link.tasks = [
            asyncio.create_task(self._pipe(link, reader, server[1], "up")),
            asyncio.create_task(self._pipe(link, server[0], writer, "down")),
        ]

    async def _pipe(
        self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: str
    ) -> None:
        try:
            while data := await source.read(self.weather.chunk):
                await self._fare(way)
                sink.write(data)
                await sink.drain()
            await self._fare(way)
            if sink.can_write_eof():
                sink.write_eof()
        except OSError:
            if not link.held:
                link.reset()

    async def _fare(self, way: str) -> None:
        """Let a chunk wait for as long as the weather has it."""
        if self.weather.delay_s:
            await asyncio.sleep(self.weather.delay_s)
        while not getattr(self.weather, way):
            await self._changed.wait()

    async def _end(self) -> None:
        self._server.close()
        self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, order: Callable[[], None]) -> None:
        async def carry_out() -> None:
            order()

        self._do(carry_out())

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)
