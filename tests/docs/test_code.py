"""The documentation's code runs: Python blocks, console blocks, examples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .pages import IDS, PAGES, ROOT, Block, blocks, table_names
from .shell import run

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: What the README's service has beside the code that is shown, and a request of it.
PRELUDE = """
from types import SimpleNamespace
async def send(request, backend):
    return SimpleNamespace(status=200)
BACKENDS = [SimpleNamespace(name=n, inflight=0, ewma_ms=5.0, weight=1.0) for n in "ab"]
"""
AFTERWARDS = """
import asyncio
from gnomon import testing
with testing.recording() as recorded:
    asyncio.run(route(SimpleNamespace(session="s")))
    assert len(recorded.decisions) == len(recorded.outcomes) == 1
    assert recorded.outcomes[0].ok
"""
#: What else a block may be, and what holds it to that.
ELSEWHERE = (
    "from ",  # an example's own lines: test_pages
    "file ",  # written beside the script
    "a policy of ",  # checked by the policy language: test_pages
    "not run: ",
)


def runnable(page: Path) -> list[Block]:
    """Return the Python blocks of a page that are run one after the other, as one script."""
    return [b for b in blocks(page, "python") if not b.note.startswith(ELSEWHERE)]


@pytest.mark.parametrize("name", [i for i, page in zip(IDS, PAGES, strict=True) if runnable(page)])
def test_python_blocks_run(name: str, tmp_path: Path) -> None:
    parts = [f"# {name}:{block.line}\n{block.text}" for block in runnable(ROOT / name)]
    if name == "README.md":
        parts = [PRELUDE, *parts, AFTERWARDS]
    for block in blocks(ROOT / name, "python"):
        if block.note.startswith("file "):
            (tmp_path / block.note.removeprefix("file ")).write_text(block.text)
    script = tmp_path / "page.py"
    script.write_text("\n".join(parts))
    ended = run([sys.executable, "-W", "error", str(script)], tmp_path)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(example: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) < 60


def test_the_thread_pool_records_what_it_does(tmp_path: Path) -> None:
    ended = run(
        [sys.executable, "-W", "error", str(ROOT / "examples/thread_pool.py"), "2"], tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    from gnomon.recorder.store import TraceStore
    from gnomon.recorder.summary import summarise

    found = summarise(TraceStore(str(tmp_path / ".gnomon/traces")), "pool.pick")
    assert found.decisions == found.matched > 50
    assert found.failures == found.missing == 0


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9"])
def test_the_asyncio_router_runs_with_and_without_a_recorder(tmp_path: Path, endpoint: str) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} if endpoint else {}
    command = [sys.executable, str(ROOT / "examples/asyncio_router.py")]
    ended = run(command, tmp_path, **variables)
    assert ended.returncode == 0, ended.stderr
    assert "'decisions': 60, 'recorded': 60, 'fallbacks': 0" in ended.stdout


def test_the_experts_are_placed_by_four_ranks(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "WINDOW_S": "0.02"}
    command = [sys.executable, str(ROOT / "examples/expert_rebalancer.py"), "8"]
    ended = run(command, tmp_path, **variables)
    assert ended.returncode == 0, ended.stderr
    assert "0 {'decisions': 8, 'fallbacks': 0}" in ended.stdout  # none was a collective fallback


def test_the_example_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "test_hook.py").symlink_to(ROOT / "examples/testing_your_hook.py")
    ended = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "3 passed" in ended.stdout


METRICS = """
import time
from pathlib import Path
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
import gnomon
from gnomon.sdk import keys

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
_, public = keys.save(keys.generate(), Path("keys"), "publisher", "publisher")

@gnomon.hook("m.pick", kind=gnomon.load_balancer, items="items", item_features=lambda i: (0, i, 1))
def pick(items):
    return items[0]

gnomon.configure(otlp_endpoint="http://127.0.0.1:9", control_plane="127.0.0.1:9", publisher_keys=[public])
pick([1.0])
time.sleep(0.2)
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            print(metric.name, metric.unit, max(p.value for p in metric.data.data_points))
gnomon.shutdown(0.2)
"""


def test_a_service_offers_the_metrics_that_events_md_names(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(METRICS)
    ended = run([sys.executable, "service.py"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    offered = {line.split()[0]: line.split() for line in ended.stdout.splitlines()}
    assert sorted(offered) == sorted(table_names(ROOT / "docs/reference/events.md", "Metrics"))
    assert offered["gnomon.decisions"][2] == "1"
    assert 0.0 < float(offered["gnomon.policy.staleness"][2]) < 60.0
