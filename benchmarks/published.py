"""The task that the benchmarks of a GPU run: the published optimiser on the joint stream."""

from typing import Any

from mstgcn_jax.data import augment
from mstgcn_jax.model import MSTGCN
from mstgcn_jax.training import optimizer, train_step


def make_task(model: MSTGCN, batch_size: int) -> tuple[train_step.Task, Any, Any]:
  """Task, parameters and running statistics of a model, which may be abstract."""
  graphdef, params, batch_stats = train_step.split_model(model)
  task = train_step.Task(
    graphdef=graphdef,
    skeleton=model.config.skeleton,
    center=model.config.skeleton.center,
    num_classes=model.config.num_classes,
    streams=("joint",),
    augmentation=augment.Augmentation(),
    optimizer=optimizer.OptimizerConfig(),
    steps_per_epoch=600,
    epochs=0,
    batch_size=batch_size,
  )
  return task, params, batch_stats
