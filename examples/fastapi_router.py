"""A FastAPI proxy before several upstreams; a hook picks the one that answers."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
from fastapi import FastAPI, Request, Response

import gnomon


@dataclass
class Upstream:
    url: str
    inflight: int = 0
    ewma_ms: float = 0.0


@gnomon.hook(
    "router.pick",
    kind=gnomon.load_balancer,
    items="upstreams",
    item_features=lambda u: (u.inflight, u.ewma_ms, 1.0),
    item_name=lambda u: u.url,
)
def pick(upstreams: list[Upstream]) -> Upstream:
    return min(upstreams, key=lambda u: u.inflight)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    gnomon.configure()  # here: in every worker, after gunicorn's fork
    async with httpx2.AsyncClient() as app.state.client:
        yield
    gnomon.shutdown()


UNREACHABLE = {httpx2.TransportError: lambda _, error: Response(f"no answer: {error}", 502)}
app = FastAPI(lifespan=lifespan, exception_handlers=UNREACHABLE)
UPSTREAMS = [Upstream(url) for url in os.environ["UPSTREAMS"].split(",")]


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def proxy(path: str, request: Request) -> Response:
    headers = {k: v for k, v in request.headers.items() if k in ("authorization", "content-type")}
    sent = {"headers": headers, "params": request.query_params, "content": await request.body()}
    with pick.decide(UPSTREAMS) as decision:  # an exception in here is recorded as a failure
        upstream = decision.action
        upstream.inflight += 1
        try:
            got = await app.state.client.request(request.method, f"{upstream.url}/{path}", **sent)
        finally:
            upstream.inflight -= 1
        elapsed_ms = got.elapsed.total_seconds() * 1e3
        upstream.ewma_ms += 0.1 * (elapsed_ms - upstream.ewma_ms)
        decision.outcome(latency_ms=elapsed_ms, ok=got.status_code < 500)
    return Response(got.content, got.status_code, media_type=got.headers.get("content-type"))
