"""The peer of a push: a bare grpc.aio server that sends bytes to all its streams and drops the answers.

Argument: number of streams. It prints its port, then a line when all are open; for every line of input it
sends 1,300 bytes, the size of a manifest with its plan and both signatures, to all of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc
import grpc.aio

SIZE = 1300


async def serve(streams: int) -> None:
    """Serve until the input ends."""
    waiting: list[asyncio.Queue[bytes]] = []
    full = asyncio.Event()

    async def read(requests: Any) -> None:
        async for _ in requests:
            pass

    async def connect(requests: Any, context: Any) -> Any:
        del context
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        waiting.append(queue)
        if len(waiting) == streams:
            full.set()
        reading = asyncio.create_task(read(requests))
        try:
            while True:
                yield await queue.get()
        finally:
            reading.cancel()

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.stream_stream_rpc_method_handler(connect)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("gnomon.v1.Delivery", {"Connect": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await full.wait()
    print("all", flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        payload = os.urandom(SIZE)
        for queue in waiting:
            queue.put_nowait(payload)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
