"""Twenty training steps on random clips, on the devices at hand, and the same ones resumed at ten.

  python benchmarks/gpu_steps.py [--clips 64] [--dtype float32]

The network and optimiser of configs/ntu_joint.py. Prints the losses, whether the resumed state is
bitwise the other's (on a GPU set XLA_FLAGS=--xla_gpu_deterministic_ops=true), and the speed. Needs
no TensorFlow.
"""

import argparse
import time

import jax
import numpy as np
import published
from flax import nnx

from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.training import train_step

STEPS = 20


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--clips", type=int, default=64)
  parser.add_argument("--frames", type=int, default=300)
  parser.add_argument("--width", type=int, default=112)
  parser.add_argument("--dtype", default="float32")
  args = parser.parse_args()

  config = ModelConfig(num_classes=60, width=args.width, dtype=args.dtype)
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  task, params, batch_stats = published.make_task(model, args.clips)
  mesh = train_step.make_mesh()
  update = train_step.make_train_step(task, mesh)

  def batch(step: int) -> train_step.Batch:
    rng = np.random.default_rng(step)
    shape = (args.clips, config.num_persons, args.frames, 25, 3)
    fields = {
      "clips": rng.normal(size=shape).astype(np.float32),
      "label": rng.integers(0, 60, args.clips).astype(np.int32),
      "stop": np.zeros(args.clips, np.int32),
    }
    return train_step.shard_batch(mesh, fields)

  def run(state, first: int, last: int):
    losses = []
    for step in range(first, last):
      state, figures = update(state, batch(step), np.int32(0))
      losses.append(float(figures["loss"]))
    return state, losses

  first = train_step.init_state(task, params, batch_stats, seed=0)
  half, losses = run(train_step.replicate(mesh, first), 0, STEPS // 2)
  saved = jax.device_get(half)
  whole, more = run(half, STEPS // 2, STEPS)
  again, same = run(train_step.replicate(mesh, saved), STEPS // 2, STEPS)
  pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True)
  equal = more == same and all(np.array_equal(a, b) for a, b in pairs)
  print(f"{jax.device_count()} × {jax.devices()[0].device_kind}, {args.dtype}, losses:", flush=True)
  print(" ".join(f"{loss:.4f}" for loss in losses + more))
  print(f"resumed at step {STEPS // 2}: {'bitwise equal' if equal else 'NOT equal'}")

  state, one = again, batch(0)
  start = time.perf_counter()
  for _ in range(STEPS):
    state, figures = update(state, one, np.int32(0))
  jax.block_until_ready(figures)
  rate = STEPS * args.clips / (time.perf_counter() - start)
  print(f"{rate:.1f} clips/s, with the batch on the devices")


if __name__ == "__main__":
  main()
