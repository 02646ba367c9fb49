"""One training step and one evaluation step, jitted over a mesh with a `data` axis.

The batch is split over the devices, the state is whole on each. Everything that has to be global
(BatchNorm's statistics, the mean loss, the gradient) is written as if there were one device and
becomes global by sharding.
"""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mstgcn_jax import augment, optimizer, skeletons, streams
from mstgcn_jax.skeletons import Skeleton

Batch = dict[str, Any]


@flax.struct.dataclass
class TrainState:
  """All that training changes, and the random key that it draws from.

  Attributes:
    step: int32, steps done.
    key: key data of the run's random key (uint32).
    params, batch_stats: nested dicts of arrays, the model's nnx.Param and nnx.BatchStat.
    opt_state: optax's state.
    ema: running average of params, or None.
    normalization: None, or {'mean', 'std'} of the stream, each [joint, channel].
  """

  step: jax.Array
  key: jax.Array
  params: Any
  batch_stats: Any
  opt_state: Any
  ema: Any = None
  normalization: Any = None


@dataclasses.dataclass(frozen=True)
class Task:
  """What a step computes, apart from the state: hashable, so that equal tasks compile once.

  Attributes:
    graphdef: structure of the model, from `split_model`.
    skeleton: a `skeletons.Skeleton`.
    center: joint of the first person that lies at 0 although it is tracked; None where there is
      none (`DataSet.joint_at_zero`: the data's, which the skeleton's need not be).
    num_classes: of the classifier.
    streams: names of the streams that a step can be asked for, of equal channel count.
    augmentation: an `augment.Augmentation`.
    optimizer: an `optimizer.OptimizerConfig`.
    steps_per_epoch, epochs, batch_size: what the learning rate depends on (epochs: if cosine).
    label_smoothing: share of the target spread evenly over the classes.
    mixup: α of Beta(α, α); 0 is off (Zhang et al., "mixup", ICLR 2018).
  """

  graphdef: nnx.GraphDef
  skeleton: Skeleton
  center: int | None
  num_classes: int
  streams: tuple[str, ...]
  augmentation: augment.Augmentation
  optimizer: optimizer.OptimizerConfig
  steps_per_epoch: int
  epochs: int
  batch_size: int
  label_smoothing: float = 0.0
  mixup: float = 0.0

  def schedule(self):
    return optimizer.learning_rate(
      self.optimizer,
      steps_per_epoch=self.steps_per_epoch,
      epochs=self.epochs,
      batch_size=self.batch_size,
    )

  def transformation(self) -> optax.GradientTransformation:
    return optimizer.make_optimizer(self.optimizer, self.schedule())


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Any, Any]:
  """A model as (structure, parameters, running statistics), the latter two as nested dicts."""
  graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)


def init_state(task: Task, params: Any, batch_stats: Any, *, seed: int) -> TrainState:
  """The state before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(jax.random.key(seed)),
    params=params,
    batch_stats=batch_stats,
    opt_state=task.transformation().init(params),
    ema=jax.tree.map(jnp.copy, params) if task.optimizer.ema else None,
  )


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
  """A mesh with one axis, `data`, over the given devices (default: all of all processes)."""
  return Mesh(np.asarray(jax.devices() if devices is None else devices), ("data",))


def replicate(mesh: Mesh, tree: Any) -> Any:
  """Puts a tree of host or device arrays, the same in every process, on all devices."""
  sharding = NamedSharding(mesh, PartitionSpec())

  def put(x):
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

  return jax.tree.map(put, tree)


def shard_batch(mesh: Mesh, batch: Batch) -> Batch:
  """This process's slice of a batch, put on its devices as part of the global batch."""
  sharding = NamedSharding(mesh, PartitionSpec("data"))
  return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def model_input(
  clips: jax.Array,
  names: tuple[str, ...],
  number,
  skeleton: Skeleton,
  center: int | None,
  normalization: Any,
) -> jax.Array:
  """Stream `names[number]` of the joints, normalised where the state holds a normalisation.

  Args:
    center: as of `Task`.
  """
  branches = [
    functools.partial(streams.apply, stream=name, bone_parents=skeleton.bone_parents)
    for name in names
  ]
  x = branches[0](clips) if len(branches) == 1 else jax.lax.switch(number, branches, clips)
  if normalization is not None:
    seen = skeletons.tracked(clips, center)
    x = augment.normalise(x, normalization["mean"], normalization["std"], seen)
  return x


def _forward_and_backward(task: Task, params, batch_stats, x, targets):
  """Loss, gradient, new running statistics and the count of right answers of one micro-batch."""

  def loss_fn(params):
    model = nnx.merge(task.graphdef, params, batch_stats)
    model.train()
    logits = model(x)
    loss = optax.losses.softmax_cross_entropy(logits, targets).mean()
    return loss, (nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)), logits)

  (loss, (batch_stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
  # As `metrics.top_k` counts: the right class has to lead alone.
  chosen = jax.nn.one_hot(jnp.argmax(targets, -1), task.num_classes, dtype=bool)
  best = lambda these: jnp.max(logits, -1, where=these, initial=-jnp.inf)
  right = jnp.mean(best(chosen) > best(~chosen))
  return (loss, right), grads, batch_stats


def _accumulated(task: Task, params, batch_stats, x, targets):
  """As `_forward_and_backward`, averaged over `optimizer.accumulate` micro-batches in turn."""
  parts = task.optimizer.accumulate
  if parts == 1:
    return _forward_and_backward(task, params, batch_stats, x, targets)
  # Micro-batch i takes every parts-th clip, so that each device holds a share of it.
  split = lambda a: a.reshape(a.shape[0] // parts, parts, *a.shape[1:]).swapaxes(0, 1)

  def body(carry, part):
    sums, batch_stats = carry
    values, grads, batch_stats = _forward_and_backward(task, params, batch_stats, *part)
    return (jax.tree.map(jnp.add, sums, (values, grads)), batch_stats), None

  parts_in = (split(x), split(targets))
  one = functools.partial(_forward_and_backward, task, params, batch_stats)
  shapes = jax.eval_shape(one, *(a[0] for a in parts_in))
  first = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[:2])
  (sums, batch_stats), _ = jax.lax.scan(body, (first, batch_stats), parts_in)
  values, grads = jax.tree.map(lambda a: a / parts, sums)
  return values, grads, batch_stats


def _mixup(key, alpha: float, x, targets):
  """Blends every clip with its mirror position in the (already shuffled) batch."""
  share = jax.random.beta(key, alpha, alpha, dtype=x.dtype)
  blend = lambda a: share * a + (1 - share) * jnp.flip(a, 0)
  return blend(x), blend(targets)


def train_step(task: Task, state: TrainState, batch: Batch, stream) -> tuple[TrainState, Batch]:
  """One step of training on a global batch.

  Args:
    task: what to compute; static under jit.
    state: donated by `make_train_step`.
    batch: clips float32 [batch, person, frame, joint, channel]; label int32 [batch]; stop int32
      [batch], above 0 where a process was asked to end.
    stream: int32 index into task.streams.
  Returns:
    The new state, and scalars loss, top1 (on this batch), learning_rate, grad_norm, finite, stop.
    Where loss or gradient are not finite the state is the one that went in.
  """
  key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
  augment_key, mixup_key = jax.random.split(key)
  clips = augment.apply(augment_key, batch["clips"], task.augmentation, task.skeleton, task.center)
  x = model_input(clips, task.streams, stream, task.skeleton, task.center, state.normalization)
  smoothing = task.label_smoothing
  targets = jax.nn.one_hot(batch["label"], task.num_classes, dtype=x.dtype)
  targets = (1 - smoothing) * targets + smoothing / task.num_classes
  if task.mixup:
    x, targets = _mixup(mixup_key, task.mixup, x, targets)
  (loss, top1), grads, batch_stats = _accumulated(task, state.params, state.batch_stats, x, targets)
  grad_norm = optax.tree.norm(grads)
  updates, opt_state = task.transformation().update(grads, state.opt_state, state.params)
  new = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  options = task.optimizer
  if options.freeze_adjacency_through >= 0:
    frozen = state.step // task.steps_per_epoch <= options.freeze_adjacency_through
    new = optimizer.keep_learned_adjacency(frozen, new, state)
  if options.ema:
    new = new.replace(ema=optax.incremental_update(new.params, state.ema, 1 - options.ema))
  finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
  return new, {
    "loss": loss,
    "top1": top1,
    "learning_rate": jnp.asarray(task.schedule()(state.step)),
    "grad_norm": grad_norm,
    "finite": finite,
    "stop": jnp.max(batch["stop"]),
  }


def eval_step(task: Task, variables: Batch, batch: Batch, stream) -> Batch:
  """Logits of a global batch, beside its `index` and `valid` columns.

  Args:
    variables: from `eval_variables`.
  """
  model = nnx.merge(task.graphdef, variables["params"], variables["batch_stats"])
  model.eval()
  normalization = variables["normalization"]
  clips = batch["clips"]
  x = model_input(clips, task.streams, stream, task.skeleton, task.center, normalization)
  logits = model(x)
  return {"logits": logits, "index": batch["index"], "valid": batch["valid"]}


def eval_variables(state: TrainState) -> Batch:
  """What evaluation needs of a state: the averaged parameters where there are such."""
  return {
    "params": state.params if state.ema is None else state.ema,
    "batch_stats": state.batch_stats,
    "normalization": state.normalization,
  }


def saved_eval_variables(saved: dict[str, Any]) -> Batch:
  """`eval_variables` of a state as a checkpoint holds it, a dict."""
  fields = (saved.get(field.name) for field in dataclasses.fields(TrainState))
  return eval_variables(TrainState(*fields))


@functools.lru_cache(maxsize=8)
def make_train_step(task: Task, mesh: Mesh):
  """`train_step(state, batch, stream)`, jitted for a mesh; the state is donated."""
  return jax.jit(
    functools.partial(train_step, task),
    donate_argnums=0,
    out_shardings=NamedSharding(mesh, PartitionSpec()),
  )


@functools.lru_cache(maxsize=8)
def make_eval_step(task: Task, mesh: Mesh):
  """`eval_step(variables, batch, stream)`, jitted for a mesh; results whole on each device."""
  return jax.jit(
    functools.partial(eval_step, task), out_shardings=NamedSharding(mesh, PartitionSpec())
  )
