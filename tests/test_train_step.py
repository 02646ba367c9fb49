"""The train step's options, on a model of one matrix so that every number can be worked out."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh

from mstgcn_jax import skeletons
from mstgcn_jax.data import augment, streams
from mstgcn_jax.data.augment import Augmentation
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import platform
from mstgcn_jax.training import train_step
from mstgcn_jax.training.optimizer import OptimizerConfig

SKELETON = skeletons.get("utd_mhad")
CLASSES, BATCH = 3, 8


class Toy(nnx.Module):
  """Linear in the mean position, with a parameter named as a learned adjacency."""

  def __init__(self, rngs):
    self.linear = nnx.Linear(3, CLASSES, rngs=rngs)
    self.learned_adjacency = nnx.Param(jnp.ones((1, 3, 3)))
    self.seen = nnx.BatchStat(jnp.zeros(()))

  def __call__(self, clips):
    self.seen[...] = self.seen[...] + clips.shape[0]
    return self.linear(clips.mean((1, 2, 3)) @ self.learned_adjacency[0])


def make(streams=("joint",), optimizer=None, **options):
  graphdef, params, stats = train_step.split_model(Toy(nnx.Rngs(0)))
  defaults = {"learning_rate": 0.5, "warmup_epochs": 0, "decay_epochs": (), "weight_decay": 0.01}
  task = train_step.Task(
    graphdef=graphdef,
    skeleton=SKELETON,
    center=options.pop("center", None),
    num_classes=CLASSES,
    streams=streams,
    augmentation=options.pop("augmentation", Augmentation()),
    optimizer=OptimizerConfig(**(defaults | (optimizer or {}))),
    steps_per_epoch=2,
    epochs=0,
    batch_size=BATCH,
    **options,
  )
  return task, train_step.init_state(task, params, stats, seed=0)


def make_batch(seed=0, n=BATCH):
  rng = np.random.default_rng(seed)
  return {
    "clips": rng.normal(size=(n, 1, 6, SKELETON.num_joints, 3)).astype(np.float32),
    "label": rng.integers(0, CLASSES, n).astype(np.int32),
    "stop": np.zeros(n, np.int32),
  }


def run(task, state, steps=1, stream=0, batch=None):
  step = jax.jit(functools.partial(train_step.train_step, task))
  for i in range(steps):
    state, figures = step(state, batch or make_batch(i), np.int32(stream))
  return state, figures


def assert_equal(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_gradients_and_their_norm_are_the_same_in_one_vector():
  grads = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"c": jnp.float32(-2), "d": jnp.zeros((0, 3))}}
  for form in ("cpu", "gpu"):
    with platform.forced(form):
      same, norm = jax.jit(lambda grads: train_step._with_norm(grads))(grads)
    jax.tree.map(np.testing.assert_array_equal, same, grads)
    np.testing.assert_allclose(norm, np.sqrt(59), rtol=1e-6)  # summed in another order


def test_accumulated_micro_batches_equal_the_large_batch_without_batch_norm():
  large, _ = run(*make(), steps=3)
  small, _ = run(*make(optimizer={"accumulate": 4}), steps=3)
  assert_equal(small.params, large.params, rtol=1e-5, atol=1e-6)  # sums in another order
  # Running statistics see every micro-batch: 3 steps of 4 with 2 clips each.
  assert float(small.batch_stats["seen"]) == float(large.batch_stats["seen"]) == 3 * BATCH


def test_micro_batches_of_float64_accumulate():
  with jax.enable_x64(True):
    task, state = make(optimizer={"accumulate": 2})
    wide = lambda tree: jax.tree.map(lambda x: x.astype("float64"), tree)
    params = wide(state.params)
    state = state.replace(params=params, opt_state=task.transformation().init(params))
    after, figures = run(task, state)
    assert after.params["linear"]["kernel"].dtype == figures["grad_norm"].dtype == "float64"


def test_label_smoothing_spreads_the_target():
  task, state = make(label_smoothing=0.3)
  _, figures = run(task, state)
  model = nnx.merge(task.graphdef, state.params, state.batch_stats)
  batch = make_batch()
  log_p = jax.nn.log_softmax(model(batch["clips"]))
  target = 0.7 * np.eye(CLASSES)[batch["label"]] + 0.1
  assert float(figures["loss"]) == pytest.approx(float(-(target * log_p).sum(-1).mean()), rel=1e-5)


def doubled(model, clips, targets, key):
  """Twice the cross-entropy, and the logits of other classes, in which none is right."""
  log_p = jax.nn.log_softmax(model(clips))
  return -2 * (targets * log_p).sum(-1).mean(), -1e3 * targets


def test_a_loss_of_ones_own_is_what_is_trained_by_on_the_targets_as_they_are_made():
  options = {"label_smoothing": 0.3, "mixup": 0.2, "optimizer": {"accumulate": 2}}
  _, given = run(*make(**options))
  task, state = make(loss=doubled, **options)
  after, figures = run(task, state)
  for name in ("loss", "grad_norm"):  # rounded otherwise: the losses are written in two ways
    assert float(figures[name]) == pytest.approx(2 * float(given[name]), rel=1e-5)
  assert figures["top1"] == 0 and after.batch_stats["seen"] == BATCH


def drawn(model, clips, targets, key):
  logits = model(clips)
  return jax.random.uniform(key) + 0 * logits.sum(), logits


def test_a_loss_of_ones_own_draws_anew_in_each_step_and_micro_batch():
  task, state = make(loss=drawn)
  halves, half_state = make(loss=drawn, optimizer={"accumulate": 2})
  losses = [float(run(task, state, steps)[1]["loss"]) for steps in (1, 2, 2)]
  assert losses[0] != losses[1] == losses[2]
  key = jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(state.key), 0), 2)
  key = jax.random.fold_in(key, 0)  # of the first step, and of the first device
  assert losses[0] == float(jax.random.uniform(jax.random.fold_in(key, 0)))  # the model has none
  parts = [float(jax.random.uniform(jax.random.fold_in(k, 0))) for k in jax.random.split(key)]
  mean = float(run(halves, half_state)[1]["loss"])
  assert mean == pytest.approx(np.mean(parts), rel=1e-6)  # summed in float32


def test_joints_are_dropped_from_a_stream_not_from_the_joints_that_it_is_made_of():
  options, batch = Augmentation(joint_dropout=0.5), make_batch()
  task, state = make(streams=("bone",), augmentation=options)
  _, figures = run(task, state)
  key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)
  bones = streams.apply(batch["clips"], stream="bone", bone_parents=SKELETON.bone_parents)
  seen = augment.drop(jax.random.split(key)[0], bones, options)
  assert ((seen == 0) | (seen == bones)).all() and 0.3 < jnp.mean(seen == 0) < 0.7
  model = nnx.merge(task.graphdef, state.params, state.batch_stats)
  losses = optax.softmax_cross_entropy_with_integer_labels(model(seen), batch["label"])
  assert float(figures["loss"]) == pytest.approx(float(losses.mean()), rel=1e-5)


def test_the_averaged_parameters_follow_and_are_what_is_evaluated():
  task, state = make(optimizer={"ema": 0.9})
  after, _ = run(task, state)
  expected = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, state.params, after.params)
  assert_equal(after.ema, expected, rtol=1e-6)
  assert_equal(train_step.eval_variables(after)["params"], after.ema)
  _, plain = make()
  assert_equal(train_step.eval_variables(plain)["params"], plain.params)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_learned_adjacencies_stand_still_while_frozen_and_start_without_momentum(name):
  task, state = make(optimizer={"freeze_adjacency_through": 0, "name": name})
  frozen, _ = run(task, state, steps=2)  # epoch 0
  assert_equal(frozen.params["learned_adjacency"], state.params["learned_adjacency"], rtol=0)
  momentum = jax.tree_util.tree_leaves_with_path(frozen.opt_state)
  held = [v for k, v in momentum if "learned_adjacency" in jax.tree_util.keystr(k)]
  assert len(held) == (1 if name == "sgd" else 3) and not any(
    map(np.any, held)
  )  # Adam's count, too
  assert np.any(frozen.params["linear"]["kernel"] != state.params["linear"]["kernel"])
  free, _ = run(task, frozen)
  assert np.any(free.params["learned_adjacency"] != frozen.params["learned_adjacency"])


def test_a_frozen_adjacency_is_no_part_of_the_gradients_norm():
  _, figures = run(*make(optimizer={"freeze_adjacency_through": 0}))
  assert figures["grad_norm"] < run(*make())[1]["grad_norm"]


@pytest.mark.parametrize(("value", "loss_is_finite"), [(np.nan, False), (1e25, True)])
def test_a_step_that_is_not_finite_leaves_the_state_and_says_so(value, loss_is_finite):
  task, state = make()
  batch = make_batch()
  batch["clips"][3, 0, 0, 0, 0] = value  # squares of 1e25 in the gradient's norm are infinite
  after, figures = run(task, state, batch=batch)
  assert np.isfinite(figures["loss"]) == loss_is_finite and not figures["finite"]
  assert_equal(after, state, rtol=0)


def test_mixup_blends_clips_and_targets_alike():
  task, state = make(mixup=0.5)
  _, first = run(task, state)
  _, again = run(task, state)
  assert float(first["loss"]) == float(again["loss"])  # drawn from the state's key and step
  key = jax.random.fold_in(jax.random.wrap_key_data(state.key), 0)
  share = float(jax.random.beta(jax.random.split(key)[1], 0.5, 0.5))
  batch = make_batch()
  neighbour = [1, 0, 3, 2, 5, 4, 7, 6]
  x = share * batch["clips"] + (1 - share) * batch["clips"][neighbour]
  target = np.eye(CLASSES)[batch["label"]]
  target = share * target + (1 - share) * target[neighbour]
  model = nnx.merge(task.graphdef, state.params, state.batch_stats)
  expected = -(target * jax.nn.log_softmax(model(x))).sum(-1).mean()
  assert float(first["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_streams_share_one_step_and_equal_steps_of_their_own():
  names = ("joint", "bone", "joint_motion", "bone_motion")
  for number, name in enumerate(names):
    together, _ = run(*make(streams=names), steps=2, stream=number)
    alone, _ = run(*make(streams=(name,)), steps=2)
    assert_equal(together.params, alone.params, rtol=1e-6, atol=1e-7)


def assert_draws_from_seed_and_step(task, state):
  batch = make_batch()
  other = train_step.init_state(task, state.params, state.batch_stats, seed=1)
  starts = (task, state), (task, state), (task, state.replace(step=state.step + 1))
  losses = [
    float(run(*start, batch=batch)[1]["loss"]) for start in (*starts, (task, other), make())
  ]
  assert losses[0] == losses[1]  # a resumed run draws the same
  assert len(set(losses)) == 4


def test_augmentation_is_drawn_from_the_seed_and_the_step():
  assert_draws_from_seed_and_step(*make(augmentation=Augmentation(rotation=(0.3, 0.3, 0.3))))


def test_normalisation_is_part_of_the_state_and_leaves_untracked_joints():
  task, state = make()
  shape = (SKELETON.num_joints, 3)
  state = state.replace(normalization={"mean": np.ones(shape, "f4"), "std": np.zeros(shape, "f4")})
  clips = np.ones((1, 1, 2, *shape), np.float32) * 3
  clips[0, 0, 1] = 0
  x = train_step.model_input(clips, task.streams, 0, SKELETON, None, state.normalization)
  assert np.all(x[0, 0, 0] == 2)  # a deviation of 0 counts as 1
  assert np.all(x[0, 0, 1] == 0)


@pytest.mark.parametrize(("center", "expected"), [(None, 0), (SKELETON.center, -3)])
def test_a_joint_at_zero_is_tracked_only_where_the_data_are_centred_on_it(center, expected):
  shape = (SKELETON.num_joints, 3)
  normalization = {"mean": np.full(shape, 3, "f4"), "std": np.ones(shape, "f4")}
  clips = np.ones((1, 1, 2, *shape), np.float32)
  clips[..., SKELETON.center, :] = 0
  x = train_step.model_input(clips, ("joint",), 0, SKELETON, center, normalization)
  assert np.all(x[..., SKELETON.center, :] == expected)


def test_a_step_and_an_evaluation_ask_the_task_what_lies_at_zero():
  # Normalised to mean 3, a centre at 0 changes the answers where it counts as tracked.
  shape = (SKELETON.num_joints, 3)
  normalization = {"mean": np.full(shape, 3, "f4"), "std": np.ones(shape, "f4")}
  batch = make_batch()
  batch["clips"][..., SKELETON.center, :] = 0
  seen = batch | {"index": np.arange(BATCH), "valid": np.ones(BATCH, bool)}
  losses, logits = [], []
  for center in (None, SKELETON.center):
    task, state = make(center=center)
    state = state.replace(normalization=normalization)
    losses.append(float(run(task, state, batch=batch)[1]["loss"]))
    logits.append(train_step.eval_step(task, train_step.eval_variables(state), seen, 0))
  assert losses[0] != losses[1] and not np.array_equal(*logits)


def test_a_step_counts_as_right_only_a_class_that_leads_alone():
  task, state = make()
  zero = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
  assert float(run(task, zero)[1]["top1"]) == 0  # all logits are equal
  model, batch = nnx.merge(task.graphdef, state.params, state.batch_stats), make_batch()
  right = jnp.argmax(model(batch["clips"]), -1) == batch["label"]
  assert float(run(task, state)[1]["top1"]) == right.mean() > 0


def test_stop_is_the_largest_of_all_processes():
  batch = make_batch()
  batch["stop"][-1] = 1
  assert int(run(*make(), batch=batch)[1]["stop"]) == 1
  del batch["stop"]  # as of a loop of one's own
  assert int(run(*make(), batch=batch)[1]["stop"]) == 0


class Dropping(Toy):
  """With a layer that draws at random."""

  def __init__(self, rngs):
    super().__init__(rngs)
    self.dropout = nnx.Dropout(0.5, rngs=rngs)

  def __call__(self, clips):
    return super().__call__(self.dropout(clips))


def make_dropping():
  model = Dropping(nnx.Rngs(0))
  task, state = make(random_streams=train_step.random_streams(model))
  return dataclasses.replace(task, graphdef=train_step.split_model(model)[0]), state


def test_random_layers_draw_from_the_seed_and_the_step_and_are_off_in_evaluation():
  task, state = make_dropping()
  assert_draws_from_seed_and_step(task, state)
  variables, batch = train_step.eval_variables(state), make_batch()
  logits = train_step.eval_step(task, variables, batch, np.int32(0))
  without = train_step.eval_step(make()[0], variables, batch, np.int32(0))
  np.testing.assert_array_equal(logits, without)


def test_micro_batches_draw_differently():
  task, state = make_dropping()
  task = dataclasses.replace(task, optimizer=dataclasses.replace(task.optimizer, accumulate=2))
  batch = make_batch()
  batch["clips"][1::2] = batch["clips"][::2]  # both micro-batches are the same
  batch["label"][1::2] = batch["label"][::2]
  half = {name: values[::2] for name, values in batch.items()}
  _, both = run(task, state, batch=batch)
  alone = [
    run(dataclasses.replace(task, optimizer=make()[0].optimizer), state, batch=half)[1]["loss"]
  ]
  assert float(both["loss"]) != pytest.approx(float(alone[0]), rel=1e-4)


def on_two_devices(task, state, batch):
  """`_gradient` of two devices that share a batch, as an axis of one device."""
  shares = {name: values.reshape(2, -1, *values.shape[1:]) for name, values in batch.items()}
  one = lambda share: train_step._gradient(task, train_step.DATA_AXIS, state, share, 0)
  return jax.vmap(one, axis_name=train_step.DATA_AXIS)(shares)


class Centred(Toy):
  """With a statistic of the whole batch, as a BatchNorm has."""

  def __init__(self, rngs):
    super().__init__(rngs)
    self.axis_name = None

  def __call__(self, clips):
    logits = super().__call__(clips)
    mean = logits.mean(0)
    return logits - (jax.lax.pmean(mean, self.axis_name) if self.axis_name else mean)


@pytest.mark.parametrize(
  "options",
  [
    {"augmentation": Augmentation(joint_dropout=0.3, frame_dropout=0.3)},
    {"mixup": 0.5},
    {"optimizer": {"accumulate": 2}},
  ],
)
def test_draws_pairs_and_micro_batches_go_by_the_place_in_the_batch_not_by_the_device(options):
  task, state = make(**options)
  task = dataclasses.replace(task, graphdef=train_step.split_model(Centred(nnx.Rngs(0)))[0])
  (loss, *_), grads, _ = train_step._gradient(task, None, state, make_batch(), 0)
  (shared, *_), shared_grads, _ = on_two_devices(task, state, make_batch())
  assert_equal(shared, [loss, loss], rtol=1e-5)  # float32, in another order of summation
  twice = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), grads)
  assert_equal(shared_grads, twice, rtol=1e-4, atol=1e-6)


def test_random_layers_draw_apart_on_devices():
  task, state = make_dropping()
  batch = make_batch()
  twice = {name: np.concatenate([values, values]) for name, values in batch.items()}
  (alone, *_), _, _ = train_step._gradient(task, None, state, batch, 0)
  (shared, *_), _, _ = on_two_devices(task, state, twice)  # with the same clips
  assert float(shared[0]) != pytest.approx(float(alone), rel=1e-4)


def test_random_layers_draw_apart():
  class Twice(Dropping):
    def __init__(self, rngs):
      super().__init__(rngs)
      self.second = nnx.Dropout(0.5, rngs=rngs.fork())

    def __call__(self, clips):
      zeros = jnp.stack([layer(jnp.ones(64)) == 0 for layer in (self.dropout, self.second)])
      return super().__call__(clips) * jnp.any(zeros[0] != zeros[1])

  model = Twice(nnx.Rngs(0))
  task, state = make(random_streams=train_step.random_streams(model))
  task = dataclasses.replace(task, graphdef=train_step.split_model(model)[0])
  assert float(run(task, state)[1]["grad_norm"]) > 0


def test_state_of_another_kind_is_refused_by_name():
  class Counting(nnx.Module):
    def __init__(self):
      self.calls = nnx.Cache(jnp.zeros(()))

  with pytest.raises(ConfigError, match="state of the kind Cache"):
    train_step.random_streams(Counting())


def test_an_odd_last_clip_is_mixed_with_itself():
  task, state = make(mixup=0.5)
  _, figures = run(task, state, batch=make_batch(n=3))
  assert np.isfinite(figures["loss"])


def test_model_and_step_import_without_tensorflow():
  code = """
import sys
others = "ml_collections", "data_prep", "clu", "filelock", "orbax", "torch", "safetensors"
for name in ("tensorflow", "tensorflow_datasets", *others):
  sys.modules[name] = None  # importing it now raises
import mstgcn_jax.model, mstgcn_jax.training.train_step, mstgcn_jax.torch_weights
import mstgcn_jax.data.streams, mstgcn_jax.data.augment
"""
  subprocess.run([sys.executable, "-c", code], check=True)


def test_steps_are_compiled_with_what_the_platform_asks_of_xla(monkeypatch):
  task, state = make()
  # Not cached: `mesh` and `task` may have been asked for before.
  steps = [f.__wrapped__ for f in (train_step.make_train_step, train_step.make_eval_step)]
  monkeypatch.setattr(platform, "compiler_options", lambda device: {"no_such_option": True})
  mesh = Mesh(jax.devices()[:1], (train_step.DATA_AXIS,))
  for make_step, given in zip(steps, (state, train_step.eval_variables(state)), strict=True):
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
      make_step(task, mesh)(given, make_batch(), np.int32(0))
