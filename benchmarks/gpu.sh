#!/bin/sh
# Checks and times the quantum core on a GPU, within six minutes: sh benchmarks/gpu.sh [options of gpu.py]
# Sets nothing up: python3 (or $PYTHON) needs torch for the device, and jaxtyping. The result goes to
# benchmarks/results/gpu.json, or to the folder that $OUT names.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python3}" benchmarks/gpu.py \
    --output "${OUT:-benchmarks/results}/gpu.json" "$@"
