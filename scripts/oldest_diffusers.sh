#!/usr/bin/env bash
# The proofs against stock pipelines once more, on the oldest diffusers that pyproject.toml allows (or the one given):
# stock pipelines move, and we must notice. Usage: scripts/oldest_diffusers.sh [VERSION]
set -euo pipefail
cd "$(dirname "$0")/.."
make setup
version=${1:-$(sed -n 's/.*"diffusers>=\([0-9.]*\)".*/\1/p' pyproject.toml)}
folder=.venv/oldest/diffusers-$version
# with the newest transformers that it can live with; torch and the rest come from .venv
test -d "$folder" || .venv/bin/python -m pip install --quiet --quiet --target "$folder" "diffusers~=$version.0" "transformers>=5.0"
export PYTHONPATH=$folder OMP_NUM_THREADS=1
.venv/bin/python -c 'import diffusers; print("diffusers", diffusers.__version__)'
.venv/bin/python -m pytest --numprocesses 2 --dist loadfile \
  tests/generators/families tests/generators/test_scheduler_state.py tests/generators/test_sampler.py
