"""One training step and one evaluation step, jitted over a mesh with a `data` axis.

The batch is split over the devices, the state is whole on each. What a device does with its share
is spelled out (`jax.shard_map`): it sees its own clips only, so nothing of their size can travel.
What has to be global is summed explicitly, BatchNorm's statistics in the norms, gradients and
figures in one sum at the end. Left to hints, XLA's partitioner gathered activations, silently.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import flax.struct
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mstgcn_jax import skeletons
from mstgcn_jax.data import augment, streams
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import platform
from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.training import optimizer


class Batch(TypedDict, total=False):
  """Clips of a step, on the devices; a training batch has label and stop, others index and valid.

  Without `stop` no process is asked to end.

  Attributes:
    clips: float32 [clip, person, frame, joint, channel].
    label: int32 [clip].
    stop: int32 [clip], 1 where the clip's process was asked to end.
    index: int32 [clip], row of the clip table.
    valid: bool [clip], False where the clip only fills the batch.
  """

  clips: jax.Array
  label: jax.Array
  stop: jax.Array
  index: jax.Array
  valid: jax.Array


class EvalVariables(TypedDict):
  """What evaluation needs of a state; fields as of `TrainState`."""

  params: Any
  batch_stats: Any
  normalization: dict[str, jax.Array] | None


class StepFigures(TypedDict):
  """What a training step says, scalars of the whole batch.

  Attributes:
    loss: mean cross-entropy in nats, or what a loss of one's own gives.
    top1: share of clips whose class scores highest, from 0 to 1.
    learning_rate: of this step.
    grad_norm: L2 norm of all gradients, before clipping.
    finite: False where loss or gradients are not finite; the state is then as it was.
    stop: True where a process was asked to end.
  """

  loss: jax.Array
  top1: jax.Array
  learning_rate: jax.Array
  grad_norm: jax.Array
  finite: jax.Array
  stop: jax.Array


# What to do with an array that a module holds and nothing changes.
KEPT_AS_IT_IS = (
  "an array that stays as it is, such as an adjacency, is kept as "
  "mstgcn_jax.model.Constant(array) and used as np.asarray(self.NAME)"
)
# The mesh axis that clips are split over.
DATA_AXIS = "data"


class TrainState(flax.struct.PyTreeNode):
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


def cross_entropy(
  model: nnx.Module, clips: jax.Array, targets: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The loss of clips, a number, and their logits [clip, class]; here the mean cross-entropy.

  Args:
    model: in training mode.
    clips: a device's share of a micro-batch, as the network takes them.
    targets: [clip, class], the shares of each clip's classes; of one class alone but for label
      smoothing and mixup.
    key: to draw from, of this step, micro-batch and device.
  """
  del key
  logits = model(clips)
  return optax.losses.softmax_cross_entropy(logits, targets).mean(), logits


Loss = Callable[[nnx.Module, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Task:
  """What a step computes, apart from the state: hashable, so that equal tasks compile once.

  Attributes:
    graphdef: structure of the model, from `split_model`.
    random_streams: of the model, from `random_streams`.
    center: joint of the first person that lies at 0 although it is tracked; None where there is
      none (`DataSet.joint_at_zero`: the data's, which the skeleton's need not be).
    num_classes: of the classifier.
    streams: names of the streams that a step can be asked for, of equal channel count.
    steps_per_epoch, epochs, batch_size: what the learning rate depends on; 0 epochs: not on them.
    label_smoothing: share of the target spread evenly over the classes.
    mixup: α of Beta(α, α); 0 is off (Zhang et al., "mixup", ICLR 2018).
    loss: (model, clips, targets, key) -> (loss, logits), as `cross_entropy`.
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
  loss: Loss = cross_entropy
  random_streams: tuple[tuple[Any, ...], ...] = ()

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
  graphdef, params, batch_stats, _ = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
  return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)


def random_streams(model: nnx.Module) -> tuple[tuple[Any, ...], ...]:
  """Paths of the random streams in a model (of an `nnx.Dropout`, say); a step seeds them anew.

  Raises:
    ConfigError: the model has state that is neither nnx.Param, nnx.BatchStat nor random.
  """
  _, _, _, random, other = nnx.split(model, nnx.Param, nnx.BatchStat, nnx.RngState, ...)
  kind = lambda held: type(held).__name__ if isinstance(held, nnx.Variable) else "array"
  if kinds := sorted({kind(held) for _, held in nnx.to_flat_state(other)}):
    raise ConfigError(
      f"the model has state of the kind {', '.join(kinds)}; training keeps nnx.Param and "
      f"nnx.BatchStat and draws random state (nnx.Rngs) anew in each step; {KEPT_AS_IT_IS}"
    )
  return tuple(
    path[:-1] for path, leaf in nnx.to_flat_state(random) if isinstance(leaf, nnx.RngKey)
  )


def _merge(task: Task, params, batch_stats, key: jax.Array) -> nnx.Module:
  """The model of these values, its random streams seeded from a key."""
  seeded = {}
  for i, path in enumerate(task.random_streams):
    seeded[(*path, "key")] = jax.random.fold_in(key, i)
    seeded[(*path, "count")] = jnp.zeros((), jnp.uint32)
  random = nnx.traversals.unflatten_mapping(seeded)
  return nnx.merge(task.graphdef, params, batch_stats, *([random] if random else []))


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
  return Mesh(np.asarray(jax.devices() if devices is None else devices), (DATA_AXIS,))


def replicate(mesh: Mesh, tree: Any) -> Any:
  """Puts a tree of host or device arrays, the same in every process, on all devices."""
  sharding = NamedSharding(mesh, PartitionSpec())
  return jax.tree.map(lambda x: place(np.asarray(x), sharding), tree)


def place(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
  """A host array, the same in every process, on the devices of a sharding."""
  return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def shard_batch(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> Batch:
  """This process's slice of a batch, put on its devices as part of the global batch."""
  sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))
  return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}


def local_rows(x: jax.Array) -> np.ndarray:
  """The rows of a batch's result that belong to this process's slice, in its order."""
  shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
  return np.concatenate([np.asarray(shard.data) for shard in shards])


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


def _forward_and_backward(task: Task, axis: str | None, params, batch_stats, key, x, targets):
  """Loss, gradient, new running statistics and share of right answers of one micro-batch.

  Loss, gradient and share are those of this device's clips, through global statistics.
  """

  def loss_fn(params):
    model = _merge(task, params, batch_stats, key)
    model.train(axis_name=axis)
    own_key = jax.random.fold_in(key, len(task.random_streams))  # those before are the model's
    loss, logits = task.loss(model, x, targets, own_key)
    return loss, (nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)), logits)

  (loss, (batch_stats, logits)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
  # As `metrics.top_k` counts: the right class has to lead alone.
  chosen = jax.nn.one_hot(jnp.argmax(targets, -1), task.num_classes, dtype=bool)
  best = lambda these: jnp.max(logits, -1, where=these, initial=-jnp.inf)
  right = jnp.mean(best(chosen) > best(~chosen), dtype=loss.dtype)
  return (loss, right), grads, batch_stats


def _accumulated(task: Task, axis: str | None, params, batch_stats, key, x, targets):
  """As `_forward_and_backward`, averaged over `optimizer.accumulate` micro-batches in turn."""
  parts = task.optimizer.accumulate
  one = functools.partial(_forward_and_backward, task, axis, params)
  if parts == 1:
    return one(batch_stats, key, x, targets)
  # Micro-batch i takes every parts-th clip: the same ones, however many devices share the batch.
  split = lambda a: a.reshape(a.shape[0] // parts, parts, *a.shape[1:]).swapaxes(0, 1)

  def body(carry, part):
    sums, batch_stats = carry
    values, grads, batch_stats = one(batch_stats, *part)
    return (jax.tree.map(jnp.add, sums, (values, grads)), batch_stats), None

  parts_in = (jax.random.split(key, parts), split(x), split(targets))
  shapes = jax.eval_shape(one, batch_stats, *(a[0] for a in parts_in))
  first = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[:2])
  (sums, batch_stats), _ = jax.lax.scan(body, (first, batch_stats), parts_in)
  values, grads = jax.tree.map(lambda a: a / parts, sums)
  return values, grads, batch_stats


def _mixup(key, alpha: float, x, targets):
  """Blends every clip with its neighbour in the (already shuffled) batch: 0 with 1, 2 with 3, …

  Neighbours are on one device, as long as a device's share is even; a last one alone stays.
  """
  share = jax.random.beta(key, alpha, alpha, dtype=x.dtype)
  partner = np.minimum(np.arange(x.shape[0]) ^ 1, x.shape[0] - 1)
  blend = lambda a: share * a + (1 - share) * a[partner]
  return blend(x), blend(targets)


def _gradient(task: Task, axis: str | None, state: TrainState, batch: Batch, stream):
  """What one device computes from its share of the batch, summed over the devices of `axis`.

  Returns:
    (loss, top1, stop), gradient and new running statistics, the same on every device.
  """
  key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
  augment_key, mixup_key = jax.random.split(key)
  clips, device = batch["clips"], 0 if axis is None else jax.lax.axis_index(axis)
  first, options = device * clips.shape[0], task.augmentation
  clips = augment.apply(augment_key, clips, options, task.skeleton, task.center, first=first)
  x = model_input(clips, task.streams, stream, task.skeleton, task.center, state.normalization)
  x = augment.drop(augment_key, x, options, first=first)
  smoothing = task.label_smoothing
  targets = jax.nn.one_hot(batch["label"], task.num_classes, dtype=x.dtype)
  targets = (1 - smoothing) * targets + smoothing / task.num_classes
  if task.mixup:
    x, targets = _mixup(mixup_key, task.mixup, x, targets)
  # Random layers draw by device: their draws, unlike augmentation, depend on how clips are split.
  key = jax.random.fold_in(jax.random.fold_in(key, 2), device)
  (loss, top1), grads, batch_stats = _accumulated(
    task, axis, state.params, state.batch_stats, key, x, targets
  )
  stop = jnp.max(batch.get("stop", 0)).astype(loss.dtype)
  if axis is not None:
    # Everything in one vector, hence in one all-reduce.
    summed, restore = jax.flatten_util.ravel_pytree((loss, top1, grads, stop))
    devices = jax.lax.axis_size(axis)
    loss, top1, grads, stop = restore(jax.lax.psum(summed, axis) / devices)
  return (loss, top1, stop > 0), grads, batch_stats


def train_step(
  task: Task, state: TrainState, batch: Batch, stream, *, mesh: Mesh | None = None
) -> tuple[TrainState, StepFigures]:
  """One step of training on a global batch: the new state, and what the step says.

  Args:
    task: what to compute; static under jit.
    state: donated by `make_train_step`.
    stream: int32 index into task.streams.
    mesh: devices that share the batch; None is one.
  """
  gradient = functools.partial(_gradient, task, None)
  if mesh is not None and mesh.size > 1:
    gradient = jax.shard_map(
      functools.partial(_gradient, task, DATA_AXIS),
      mesh=mesh,
      in_specs=(PartitionSpec(), PartitionSpec(DATA_AXIS), PartitionSpec()),
      out_specs=PartitionSpec(),
      check_vma=False,  # the sums are ours: every device ends with the same values
    )
  options = task.optimizer
  with _forms_of(mesh):
    (loss, top1, stop), grads, batch_stats = gradient(state, batch, stream)
    if freezes := options.freeze_adjacency_through >= 0:
      frozen = state.step // task.steps_per_epoch <= options.freeze_adjacency_through
      grads = optimizer.without_learned_adjacency(frozen, grads)
    grads, grad_norm = _with_norm(grads)
  updates, opt_state = task.transformation().update(grads, state.opt_state, state.params)
  new = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    batch_stats=batch_stats,
    opt_state=opt_state,
  )
  if freezes:
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
    "stop": stop,
  }


def _in_one_vector(grads: Any) -> tuple[Any, jax.Array]:
  vector, restore = jax.flatten_util.ravel_pytree(grads)
  vector = jax.lax.optimization_barrier(vector)  # XLA would take it apart again
  return restore(vector), jnp.linalg.norm(vector)


# Gradients -> the same, and their L2 norm. XLA for GPUs then updates parameters of one shape in one
# kernel, since all are made of the vector. For CPUs it takes half as long again to compile that.
_with_norm = platform.by_platform(
  cpu=lambda grads: (grads, optax.tree.norm(grads)), gpu=_in_one_vector
)


def _forms_of(mesh: Mesh | None) -> contextlib.AbstractContextManager[None]:
  return contextlib.nullcontext() if mesh is None else platform.of(mesh.devices.flat[0])


def eval_step(
  task: Task, variables: EvalVariables, batch: Batch, stream, *, mesh: Mesh | None = None
) -> jax.Array:
  """Logits [clip, class] of a batch, or of a device's share of one.

  Args:
    variables: from `eval_variables`.
    mesh: the devices that it is traced for; None is whatever it is lowered for.
  """
  key = jax.random.key(0)  # random layers are off
  model = _merge(task, variables["params"], variables["batch_stats"], key)
  model.eval()
  normalization = variables["normalization"]
  clips = batch["clips"]
  x = model_input(clips, task.streams, stream, task.skeleton, task.center, normalization)
  with _forms_of(mesh):
    return model(x)


def eval_variables(state: TrainState) -> EvalVariables:
  """What evaluation needs of a state: the averaged parameters where there are such."""
  return {
    "params": state.params if state.ema is None else state.ema,
    "batch_stats": state.batch_stats,
    "normalization": state.normalization,
  }


@functools.lru_cache(maxsize=8)
def make_train_step(task: Task, mesh: Mesh):
  """`train_step(state, batch, stream)`, jitted for a mesh; the state is donated."""
  return jax.jit(
    functools.partial(train_step, task, mesh=mesh),
    donate_argnums=0,
    out_shardings=NamedSharding(mesh, PartitionSpec()),
    compiler_options=platform.compiler_options(mesh.devices.flat[0]),
  )


@functools.lru_cache(maxsize=8)
def make_eval_step(task: Task, mesh: Mesh):
  """`eval_step(variables, batch, stream)`, jitted for a mesh; each device keeps its clips' logits.

  `local_rows` reads them.
  """
  return jax.jit(
    jax.shard_map(
      functools.partial(eval_step, task, mesh=mesh),
      mesh=mesh,
      in_specs=(PartitionSpec(), PartitionSpec(DATA_AXIS), PartitionSpec()),
      out_specs=PartitionSpec(DATA_AXIS),
      check_vma=False,
    ),
    compiler_options=platform.compiler_options(mesh.devices.flat[0]),
  )
