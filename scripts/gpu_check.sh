#!/bin/sh
# Check a machine with a GPU: tests, benchmark and a short training, in one report file.
#
#     scripts/gpu_check.sh [report.txt]
#
# Needs the environment .venv of `make setup` (or PYTHON=...), with a CUDA build of torch. Takes some 30 minutes.
cd "$(dirname "$0")/.." || exit 1
PYTHON=${PYTHON:-.venv/bin/python}
REPORT=${1:-gpu_report.txt}
FAILED=0

check() {
    title=$1
    shift
    printf '\n## %s\n\n' "$title" >>"$REPORT"
    echo "$title ..."
    start=$(date +%s)
    if "$@" >>"$REPORT" 2>&1; then result=passed; else result=FAILED FAILED=1; fi
    printf '\n%s: %s after %s s\n' "$title" "$result" "$(($(date +%s) - start))" | tee -a "$REPORT"
}

"$PYTHON" -c 'import sys, torch
sys.exit(None if torch.cuda.is_available() else "gpu_check: torch sees no GPU; install a CUDA build and a driver")' || exit 1
{
    echo "# GPU check, $(date -u +%FT%TZ), commit $(git rev-parse --short HEAD 2>/dev/null)"
    nvidia-smi
} >"$REPORT" 2>&1
check 'Tests on the GPU' "$PYTHON" -m pytest -q tests/gpu
check 'All tests' "$PYTHON" -m pytest -q
check 'Benchmark' "$PYTHON" scripts/benchmark.py --device cuda --compile
check 'Training' "$PYTHON" -m memnet_basicsr.demo
echo "wrote $REPORT"
exit $FAILED
