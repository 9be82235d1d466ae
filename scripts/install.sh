#!/bin/sh
# Set up photoage in .venv, for use (install.sh) or for development (install.sh dev), with exactly one
# ONNX Runtime distribution.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "photoage needs Python 3.11 or newer; $python is $("$python" --version 2>&1)" >&2
    echo "(name another one with: make PYTHON=/path/to/python3 ...)" >&2
    exit 1
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
if [ "${1:-}" = dev ]; then what='.[dev]'; else what=.; fi
echo "Installing photoage and PyTorch into .venv (about 6 GB, a few minutes) ..." >&2
pip install --quiet --constraint constraints.txt --editable "$what"
# insightface depends on `onnxruntime`, photoage on `onnxruntime-gpu`: the same files in two
# distributions, of which the one unpacked last wins. Keep the GPU one alone where it exists.
if pip show --quiet onnxruntime-gpu 2>/dev/null && pip show --quiet onnxruntime 2>/dev/null; then
    pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
    pip install --quiet --no-deps --constraint constraints.txt onnxruntime-gpu
fi
touch .venv/.ready
[ "${1:-}" != dev ] || touch .venv/.ready-dev
