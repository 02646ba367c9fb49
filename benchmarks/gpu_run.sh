#!/usr/bin/env bash
# Everything that wants a real GPU, in one line: bash benchmarks/gpu_run.sh [PART...] | tee gpu.txt
#
# PYTHON has jax with CUDA, flax, optax and pytest, for torch also PyTorch; TensorFlow is not needed.
# One program after the other: side by side, XLA's autotuning runs out of the card's memory.
set -uo pipefail
cd "$(dirname "$0")/.."
ALL="step torch resume tests torch_compile"  # run in this order; the last only where it is named
PARTS=" ${*:-${ALL% *}} "
for part in $PARTS; do
  if [[ " $ALL " != *" $part "* ]]; then
    echo "there is no part $part" >&2
    exit 2
  fi
done
PYTHON=${PYTHON:-python}
PLATFORM=${PLATFORM:-cuda}     # cpu, with few CLIPS and FRAMES, tries this script out
CLIPS=${CLIPS:-64}             # such as "64 128 256": what does not fit fails, the rest goes on
DTYPES=${DTYPES:-bfloat16 tf32 float32}
FRAMES=${FRAMES:-300}
STEPS=${STEPS:-10}
RESUME=${RESUME:-}             # options for gpu_steps.py
TESTS=${TESTS:-tests/test_model.py tests/test_alignment.py tests/test_train_step.py tests/test_equality.py}
WITHOUT=${WITHOUT:-paper_size} # tests to leave out, as pytest's -k has them
RUNNING=${RUNNING:-300}        # seconds after which a program is given up
TESTING=${TESTING:-900}        # … and all tests together, which are compiled for longer than they run
WORKERS=${WORKERS:-12}         # processes that test at once; each takes half a GB beside its share
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export PYTHONPATH=$PWD JAX_PLATFORMS=$PLATFORM TF_CPP_MIN_LOG_LEVEL=2
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$tmp/cache}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
export XLA_PYTHON_CLIENT_PREALLOCATE=false XLA_CLIENT_MEM_FRACTION=0.95
unset XLA_PYTHON_CLIENT_MEM_FRACTION # its old name; of both JAX refuses the card

has() { [[ $PARTS == *" $1 "* ]]; }

# run SECONDS COMMAND...: its lines as they come; if it fails, the last of its errors. Interrupted
# when the time is up, pytest says what has failed so far.
run() {
  local log; log=$(mktemp -p "$tmp")
  timeout --signal=INT --kill-after=20 "$1" "${@:2}" 2>"$log" </dev/null && return
  echo "failed ($?): ${*:2}"
  tail -n 4 "$log" | cut -c -300
}

# The programs of a part, a command each line.
programs() {
  has "$1" || return
  local clips dtype
  case $1 in
    step)
      for clips in $CLIPS; do
        for dtype in $DTYPES; do
          echo "$PYTHON benchmarks/step.py --clips $clips --dtype $dtype --frames $FRAMES --steps $STEPS"
        done
      done
      echo "$PYTHON benchmarks/step.py --clips ${CLIPS%% *} --remat --dtype bfloat16" \
        "--frames $FRAMES --steps $STEPS" ;;
    resume) # Resuming is exact with deterministic kernels.
      echo "env XLA_FLAGS=--xla_gpu_deterministic_ops=true $PYTHON benchmarks/gpu_steps.py $RESUME"
      echo "$PYTHON benchmarks/gpu_steps.py --dtype bfloat16 $RESUME" ;;
    torch)
      for clips in $CLIPS; do
        for dtype in $DTYPES; do
          echo "$PYTHON benchmarks/torch_step.py --device $PLATFORM --clips $clips --dtype $dtype" \
            "--frames $FRAMES --steps $STEPS"
        done
      done ;;
    torch_compile)
      echo "$PYTHON benchmarks/torch_step.py --compile --device $PLATFORM --clips ${CLIPS%% *}" \
        "--dtype bfloat16 --frames $FRAMES --steps $STEPS" ;;
  esac
}

time_one_by_one() {
  if has "$1"; then echo "== $1"; fi
  programs "$1" | while read -r program; do run "$RUNNING" $program; done
}

if [ "$PLATFORM" = cuda ]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
fi
time_one_by_one step
if "$PYTHON" -c 'import torch' 2>/dev/null; then
  time_one_by_one torch
fi
time_one_by_one resume
if has tests; then
  echo "== tests"
  workers=$("$PYTHON" -c 'import xdist' 2>/dev/null && echo "-n $WORKERS")
  [ -n "$workers" ] || WORKERS=1
  share=$(printf 0.%02d $((84 / WORKERS))) # of the card's memory, for each
  # Values are compared in float32, so products must be, too.
  JAX_DEFAULT_MATMUL_PRECISION=highest XLA_CLIENT_MEM_FRACTION=$share \
    run "$TESTING" "$PYTHON" -m pytest $TESTS -k "not ($WITHOUT)" --tb=line $workers
fi
time_one_by_one torch_compile
echo "done after $SECONDS s"
