"""A lookup service before a slow store; its cache is a hook, and nothing is fetched twice at once."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2
from fastapi import FastAPI, Response

import gnomon

CACHE = gnomon.PolicyCache(int(os.environ.get("CAPACITY", "1000")), name="lookup.cache")
FETCHES: dict[str, asyncio.Task[bytes]] = {}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    gnomon.configure()  # from OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and GNOMON_*
    async with httpx2.AsyncClient(base_url=os.environ["STORE"]) as app.state.store:
        yield
    gnomon.shutdown()


FAILED = {httpx2.HTTPError: lambda _, error: Response(f"the store failed: {error}", 502)}
app = FastAPI(lifespan=lifespan, exception_handlers=FAILED)


async def fetch(key: str) -> bytes:
    try:
        answer = await app.state.store.get(quote(f"/{key}"))
        answer.raise_for_status()
        CACHE[key] = answer.content  # a policy may not admit it: return the value, not CACHE[key]
        return answer.content
    finally:
        del FETCHES[key]


@app.get("/{key:path}")
async def lookup(key: str) -> Response:
    value = CACHE.get(key)
    if value is not None:
        return Response(value, headers={"x-cache": "hit"})
    if key not in FETCHES:
        FETCHES[key] = asyncio.create_task(fetch(key))
    value = await asyncio.shield(FETCHES[key])  # who hangs up does not take it from the others
    return Response(value, headers={"x-cache": "miss"})
