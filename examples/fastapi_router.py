"""A FastAPI proxy before several upstreams; a hook picks the one that answers.

The lifespan handler runs in every worker after gunicorn's fork, so each configures Gnomon for itself
and records under an id of its own, with --preload too. Only a decision before the fork would be too
early: gRPC, once it was used, cannot be used again in forked children.
"""

import os
import time
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
    gnomon.configure()  # from OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and GNOMON_*
    async with httpx2.AsyncClient() as app.state.client:
        yield
    gnomon.shutdown()


app = FastAPI(lifespan=lifespan)
UPSTREAMS = [Upstream(url) for url in os.environ["UPSTREAMS"].split(",")]
FORWARDED = ("accept", "authorization", "content-type")


@app.exception_handler(httpx2.TransportError)
async def unreachable(request: Request, error: httpx2.TransportError) -> Response:
    return Response(f"no answer from the upstream: {error}", 502)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def proxy(path: str, request: Request) -> Response:
    headers = {name: value for name, value in request.headers.items() if name in FORWARDED}
    sent = {"headers": headers, "params": request.query_params, "content": await request.body()}
    with pick.decide(UPSTREAMS) as decision:  # an exception in here is recorded as a failure
        upstream, begin = decision.action, time.perf_counter()
        upstream.inflight += 1
        try:
            url = f"{upstream.url}/{path}"
            answer = await app.state.client.request(request.method, url, **sent)
        finally:
            upstream.inflight -= 1
        elapsed_ms = (time.perf_counter() - begin) * 1e3
        upstream.ewma_ms += 0.1 * (elapsed_ms - upstream.ewma_ms)
        decision.outcome(latency_ms=elapsed_ms, ok=answer.status_code < 500)
    return Response(
        answer.content, answer.status_code, media_type=answer.headers.get("content-type")
    )
