"""Compiles steps for simulated devices and prints what they exchange and compute, as JSON.

python tests/device_programs.py: a list of programs, each with its name, the number of devices, its
collectives as [operation, bytes], its FLOPs per device, and the bytes of parameters and statistics.
"""

import itertools
import json
import os

os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # a program read from the cache has no text

import hlo
import jax
import numpy as np
import quick
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from mstgcn_jax import skeletons
from mstgcn_jax.data import augment
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.training import optimizer, train_step

# What is exchanged and computed doesn't depend on how well it is compiled.
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {quick.FLAGS}"

BATCH = 16
ONE = ("joint",)
FOUR = ("joint", "bone", "joint_motion", "bone_motion")


def make_task(streams, **options) -> tuple[train_step.Task, train_step.TrainState]:
  """A task, and the shapes of its state."""
  config = ModelConfig(
    num_classes=5,
    skeleton="utd_mhad",
    num_persons=1,
    blocks=((3, 8, False, 1), (8, 16, True, 2)),
    spatial_scales=2,
    temporal_scales=2,
    kernel_size=3,
  )
  model = nnx.eval_shape(lambda: MSTGCN(config, rngs=nnx.Rngs(0)))
  graphdef, params, batch_stats = train_step.split_model(model)
  accumulate = options.pop("accumulate", 1)
  task = train_step.Task(
    graphdef=graphdef,
    skeleton=skeletons.get("utd_mhad"),
    center=None,
    num_classes=5,
    streams=streams,
    augmentation=augment.Augmentation(rotation=(0.3, 0.3, 0.3), mirror=0.5),
    optimizer=optimizer.OptimizerConfig(decay_epochs=(), accumulate=accumulate),
    steps_per_epoch=2,
    epochs=0,
    batch_size=BATCH,
    **options,
  )
  init = lambda params, stats: train_step.init_state(task, params, stats, seed=0)
  return task, jax.eval_shape(init, params, batch_stats)


def program(devices: int, streams, *, evaluate: bool = False, **options) -> dict:
  """What one compiled step exchanges and computes."""
  task, state = make_task(streams, **options)
  mesh = train_step.make_mesh(jax.devices()[:devices])
  place = lambda tree, spec: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), tree
  )
  batch = {
    "clips": jax.ShapeDtypeStruct((BATCH, 1, 16, 20, 3), np.float32),
    "label": jax.ShapeDtypeStruct((BATCH,), np.int32),
    "stop": jax.ShapeDtypeStruct((BATCH,), np.int32),
  }
  batch = place(batch, PartitionSpec("data"))
  state = place(state, PartitionSpec())
  if evaluate:
    variables = train_step.eval_variables(state)
    lowered = train_step.make_eval_step(task, mesh).lower(variables, batch, np.int32(0))
  else:
    lowered = train_step.make_train_step(task, mesh).lower(state, batch, np.int32(0))
  text = lowered.compile().as_text()
  compiled = hlo.Program(text)
  values = jax.tree.leaves((state.params, state.batch_stats))
  return {
    "name": f"{len(streams)} stream(s), {'evaluation' if evaluate else 'training'}, {options}",
    "devices": devices,
    "norms": len(jax.tree.leaves(state.batch_stats)) // 2,
    "accumulate": options.get("accumulate", 1),
    "collectives": [[i.opcode, compiled.operand_bytes(i)] for i in compiled.collectives()],
    "flops": compiled.flops(),
    "state_bytes": sum(4 * x.size for x in values),
    "arrays_of_state": len(jax.tree.leaves(state)),
    "arrays_in_place": text.partition("\n")[0].count("-alias)"),
  }


if __name__ == "__main__":
  variants = (
    {"streams": ONE},
    {"streams": FOUR},
    {"streams": ONE, "accumulate": 2, "mixup": 0.5},
    {"streams": FOUR, "evaluate": True},
  )
  print(json.dumps([program(n, **v) for v, n in itertools.product(variants, (1, 2, 4, 8))]))
