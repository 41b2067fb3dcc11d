#!/usr/bin/env bash
# Install the built wheel, without extras, into an environment of its own outside the tree and use it.
set -euo pipefail
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1"); here=$(realpath "$(dirname "$0")"); dist=$(realpath dist)
away=$(mktemp -d); trap 'rm -rf "$away"' EXIT
sdist=$(ls "$dist"/gnomon-*.tar.gz)
"$python" -m build --no-isolation --wheel --outdir "$away/wheel" "$(mkdir "$away/src" && tar -xzf "$sdist" -C "$away/src" && ls -d "$away"/src/gnomon-*)" >"$away/build.log" || { tail -20 "$away/build.log"; exit 1; }
"$python" -m venv "$away/venv"
"$away/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$away"/wheel/gnomon-*.whl
cd "$away"
"$away/venv/bin/python" -I "$here/smoke.py"
"$away/venv/bin/gnomon" --help 2>"$away/err" && { echo "the bare wheel has no command line"; exit 1; }
grep -q "pip install" "$away/err"
# A stranger's typed service, held to the types of the installed wheel.
cp "$here/typed.py" "$away/"
if "$python" -m mypy --version >/dev/null 2>&1; then
  "$python" -m mypy --strict --no-incremental --config-file= --python-executable "$away/venv/bin/python" typed.py
else
  echo "smoke: mypy is not installed, types are not checked (dependency group lint)"
fi
if "$python" -m pyright --version >/dev/null 2>&1; then
  "$python" -m pyright --pythonpath "$away/venv/bin/python" typed.py
else
  echo "smoke: pyright is not installed, types are not checked (dependency group lint)"
fi
echo "smoke: the bare wheel works"
