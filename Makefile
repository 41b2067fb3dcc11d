PYTHON ?= python3
PY     := .venv/bin/python
# Nothing at the root of the repository is importable by its folder name, here as in an install.
export PYTHONSAFEPATH := 1

link:            ## Lay the folders out as one package, for the type checkers
	@rm -rf build/link && mkdir -p build/link/gnomon
	@ln -s $(addprefix $(CURDIR)/,__init__.py __main__.py cli.py testing.py py.typed sdk policies recorder shadow commands demo proto/gnomon/v1) build/link/gnomon/

proto: build/protoc  ## Regenerate the wire code
	build/protoc/bin/python -m grpc_tools.protoc -I proto --python_out=proto --pyi_out=proto \
	  --grpc_python_out=proto proto/gnomon/v1/*.proto

.PHONY: link proto
