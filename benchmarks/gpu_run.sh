#!/usr/bin/env bash
# Everything that wants a real GPU, in one line: bash benchmarks/gpu_run.sh [PYTHON] | tee gpu.txt
#
# PYTHON has jax with CUDA, flax, optax and pytest; TensorFlow is not needed. REFERENCE=COMMAND is run
# beside for comparison, such as a training step of the PyTorch code on the same card.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${1:-python}
export PYTHONPATH=$PWD JAX_PLATFORMS=cuda
run() { echo; echo "== $*"; "$@" 2>&1 | tail -n 12; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
"$PYTHON" -c 'import jax, flax; print("jax", jax.__version__, "flax", flax.__version__, jax.devices())'

# Values are compared in float32, so products must be, too.
export JAX_DEFAULT_MATMUL_PRECISION=highest
run "$PYTHON" -m pytest tests/test_model.py tests/test_train_step.py tests/test_equality.py -q
unset JAX_DEFAULT_MATMUL_PRECISION

for clips in 64 128 256 512; do
  for dtype in float32 bfloat16; do # float32 multiplies in TF32 unless asked for more
    run "$PYTHON" benchmarks/step.py --clips "$clips" --dtype "$dtype"
  done
  JAX_DEFAULT_MATMUL_PRECISION=highest run "$PYTHON" benchmarks/step.py --clips "$clips"
done
run "$PYTHON" benchmarks/step.py --clips 64 --dtype bfloat16 --remat
if [ -n "${REFERENCE:-}" ]; then run bash -c "$REFERENCE"; fi

XLA_FLAGS=--xla_gpu_deterministic_ops=true run "$PYTHON" benchmarks/gpu_steps.py
run "$PYTHON" benchmarks/gpu_steps.py --dtype bfloat16
