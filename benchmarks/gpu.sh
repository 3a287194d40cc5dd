#!/usr/bin/env bash
# recam on a machine with a CUDA GPU, within ten minutes:
#   conformance cases on the GPU, images of many sizes, every stage at ResNet-50 and 512 px in bf16, and the demo;
#   `--only stages demo` for some of these.
#
#     RECAM_GOLDEN=FOLDER OUT=FOLDER bash benchmarks/gpu.sh
#     OUT=FOLDER bash benchmarks/gpu.sh --tiny         on a CPU, in a minute: shows that the steps work
#
# Writes gpu.json and gpu.md (the table of docs/results.md) to OUT (default: runs/gpu). Needs recam, pytest and nvidia-smi.
set -uo pipefail
cd "$(dirname "$0")/.."
export OUT="${OUT:-runs/gpu}" PYTHON="${PYTHON:-python3}" RECAM_DEVICE=cuda PYTHONUNBUFFERED=1
mkdir -p "$OUT"
exec "$PYTHON" benchmarks/gpu.py --output "$OUT" "$@"
