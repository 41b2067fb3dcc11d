#!/usr/bin/env bash
# Resolve the pinned requirements anew. Hashes are stored, addresses are not.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
compile="$uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet"
$compile pyproject.toml requirements/build.in --extra demo --extra llm --group test --group lint --group docs -o requirements/dev.txt
$compile pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
$compile --group bench -c requirements/dev.txt -o requirements/bench.txt
$compile --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt
