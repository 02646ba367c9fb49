"""Trains on simulated devices and prints the losses as JSON; run by test_devices.py.

python tests/device_losses.py float32|float64: 20 steps on 1, 2, 4 and 8 devices of one process.
"""

import json
import os
import sys

import jax
import numpy as np
import quick
from flax import nnx

from mstgcn_jax import skeletons
from mstgcn_jax.data.augment import Augmentation
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.training import optimizer, train_step

DTYPE = sys.argv[1]
# Without LLVM's passes, float32 sums are rounded in other orders on fewer devices.
FLAGS = quick.FLAGS if DTYPE == "float64" else quick.FLAGS.replace("level=0", "level=1")
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {FLAGS}"
jax.config.update("jax_enable_x64", DTYPE == "float64")

STEPS, BATCH = 20, 16


def losses(devices: int) -> list[float]:
  """Losses of the steps, whole float64 or float32 numbers."""
  skeleton = skeletons.get("utd_mhad")
  config = ModelConfig(
    num_classes=5,
    skeleton=skeleton,
    num_persons=1,
    blocks=((3, 8, False, 1), (8, 8, True, 2)),
    spatial_scales=2,
    temporal_scales=2,
    kernel_size=3,
    dtype=DTYPE,
  )
  graphdef, params, batch_stats = train_step.split_model(MSTGCN(config, rngs=nnx.Rngs(0)))
  task = train_step.Task(
    graphdef=graphdef,
    skeleton=skeleton,
    center=skeleton.center,
    num_classes=5,
    streams=("joint",),
    # Draws belong to a clip's place in the global batch, not to a device.
    augmentation=Augmentation(rotation=(0.3, 0.3, 0.3), jitter=0.01, mirror=0.5),
    optimizer=optimizer.OptimizerConfig(learning_rate=0.1, warmup_epochs=5, decay_epochs=()),
    steps_per_epoch=2,
    epochs=0,
    batch_size=BATCH,
  )
  mesh = train_step.make_mesh(jax.devices()[:devices])
  state = train_step.init_state(task, params, batch_stats, seed=0)
  state = train_step.replicate(mesh, state)
  update = train_step.make_train_step(task, mesh)
  result = []
  for step in range(STEPS):
    rng = np.random.default_rng(step)
    label = rng.integers(0, 5, BATCH).astype(np.int32)
    clips = rng.normal(size=(BATCH, 1, 16, 20, 3)) + 0.3 * label[:, None, None, None, None]
    batch = {"clips": clips.astype(DTYPE), "label": label, "stop": np.zeros(BATCH, np.int32)}
    state, figures = update(state, train_step.shard_batch(mesh, batch), np.int32(0))
    result.append(float(figures["loss"]))
  return result


if __name__ == "__main__":
  print(json.dumps({devices: losses(devices) for devices in (1, 2, 4, 8)}))
