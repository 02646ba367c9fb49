"""Learning-rate schedules and optimisers against arithmetic, the golden schedule and PyTorch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from golden import golden

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.training import optimizer
from mstgcn_jax.training.optimizer import OptimizerConfig


def rates(config, *, steps_per_epoch=7, epochs=110, batch_size=32):
  at = optimizer.learning_rate(
    config, steps_per_epoch=steps_per_epoch, epochs=epochs, batch_size=batch_size
  )
  return np.asarray([at(step) for step in range(0, epochs * steps_per_epoch, steps_per_epoch)])


def test_the_defaults_are_the_published_recipe():  # Chen et al. 2021, section 4.1, and their YAML
  assert OptimizerConfig() == OptimizerConfig(
    **{"name": "sgd", "learning_rate": 0.15, "momentum": 0.9, "nesterov": True},
    **{"weight_decay": 1e-4, "decay_mask": "all", "schedule": "step", "warmup_epochs": 10},
    **{"decay_epochs": (50, 70, 90), "decay_factor": 0.1, "reference_batch_size": 0},
    **{"clip_norm": 0, "accumulate": 1, "ema": 0, "freeze_adjacency_through": -1},
  )


def test_step_schedule_equals_the_reference():
  expected = np.load(golden("data/lr_schedule.npz"))["lr"]
  np.testing.assert_allclose(rates(OptimizerConfig()), expected, rtol=1e-6)  # float32


def test_the_rate_is_constant_within_an_epoch():
  at = optimizer.learning_rate(OptimizerConfig(), steps_per_epoch=5, epochs=110, batch_size=32)
  assert float(at(50 * 5 - 1)) == pytest.approx(0.15)
  assert float(at(50 * 5)) == float(at(51 * 5 - 1)) == pytest.approx(0.015)


def test_cosine_schedule_ends_at_zero():
  config = OptimizerConfig(schedule="cosine", warmup_epochs=2, learning_rate=1.0)
  at = optimizer.learning_rate(config, steps_per_epoch=10, epochs=12, batch_size=1)
  assert [float(at(s)) for s in (0, 10, 20, 70, 120)] == pytest.approx([0.5, 1, 1, 0.5, 0])
  assert float(at(150)) == float(at(120))  # and does not rise again


def test_the_rate_scales_with_the_batch():
  config = OptimizerConfig(reference_batch_size=32, warmup_epochs=0)
  assert rates(config, batch_size=64)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimisers_equal_pytorch(name):
  rng = np.random.default_rng(0)
  start = rng.normal(size=(4, 3)).astype(np.float32)
  grads = rng.normal(size=(5, 4, 3)).astype(np.float32)
  weight = torch.nn.Parameter(torch.tensor(start))
  reference = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.01),
  }[name]([weight])
  tx = optimizer.make_optimizer(OptimizerConfig(name=name, weight_decay=0.01), lambda step: 0.1)
  params = {"weight": jnp.asarray(start)}
  state = tx.init(params)
  for grad in grads:
    weight.grad = torch.tensor(grad)
    reference.step()
    updates, state = tx.update({"weight": jnp.asarray(grad)}, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  # Both sides are float32; five steps of rounding.
  np.testing.assert_allclose(params["weight"], weight.detach(), rtol=2e-5, atol=1e-6)


def test_only_weights_decay_where_asked():
  params = {
    "conv": {"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)},
    "graph": {"learned_adjacency": jnp.ones((3, 4, 4)), "weight": jnp.ones((3, 1, 2))},
    "norm": {"scale": jnp.ones(2)},
    "query": {"bias": jnp.ones((2, 4))},  # of nnx.MultiHeadAttention, by head and channel
  }
  config = OptimizerConfig(weight_decay=0.1, decay_mask="weights", momentum=0.0, nesterov=False)
  tx = optimizer.make_optimizer(config, lambda step: 1.0)
  updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
  moved = {jax.tree_util.keystr(k): bool(jnp.any(v != 0))
           for k, v in jax.tree_util.tree_leaves_with_path(updates)}  # fmt: skip
  assert moved == {
    "['conv']['bias']": False,
    "['conv']['weight']": True,
    "['graph']['learned_adjacency']": False,
    "['graph']['weight']": True,
    "['norm']['scale']": False,
    "['query']['bias']": False,
  }


def test_the_same_weights_decay_where_nnx_holds_them():
  model = nnx.MultiHeadAttention(1, 2, decode=False, rngs=nnx.Rngs(0))
  before = nnx.to_pure_dict(nnx.state(model))["query"]
  before["bias"] += 1
  nnx.update(model, {"query": before})
  config = OptimizerConfig(weight_decay=0.1, decay_mask="weights", momentum=0.0, nesterov=False)
  tx = nnx.Optimizer(model, optimizer.make_optimizer(config, lambda step: 1.0), wrt=nnx.Param)
  tx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)))
  np.testing.assert_array_equal(model.query.bias[...], before["bias"])
  np.testing.assert_allclose(model.query.kernel[...], 0.9 * before["kernel"], rtol=1e-6)  # float32


def test_the_gradient_is_clipped_to_its_norm():
  config = OptimizerConfig(clip_norm=1.0, weight_decay=0.0, momentum=0.0, nesterov=False)
  tx = optimizer.make_optimizer(config, lambda step: 1.0)
  params = {"a": jnp.zeros(2)}
  updates, _ = tx.update({"a": jnp.asarray([3.0, 4.0])}, tx.init(params), params)
  np.testing.assert_allclose(updates["a"], [-0.6, -0.8], rtol=1e-6)


def test_the_gradient_is_clipped_before_it_decays():
  config = OptimizerConfig(clip_norm=1.0, weight_decay=0.1, momentum=0.0, nesterov=False)
  tx = optimizer.make_optimizer(config, lambda step: 1.0)
  params = {"a": jnp.asarray([100.0, 0.0])}
  updates, _ = tx.update({"a": jnp.asarray([0.0, 5.0])}, tx.init(params), params)
  np.testing.assert_allclose(updates["a"], [-10, -1], rtol=1e-6)


def test_momentum_is_nesterov_s_unless_switched_off():
  gradient = {"a": jnp.ones(1)}
  for nesterov, steps in ((True, [1.5, 1.75]), (False, [1.0, 1.5])):
    config = OptimizerConfig(momentum=0.5, nesterov=nesterov, weight_decay=0.0)
    tx = optimizer.make_optimizer(config, lambda step: 1.0)
    state = tx.init(gradient)
    for step in steps:
      updates, state = tx.update(gradient, state, gradient)
      np.testing.assert_allclose(updates["a"], -step)


def test_only_learned_adjacencies_are_kept_and_only_while_frozen():
  old = {"graph": {"learned_adjacency": jnp.zeros(2), "weight": jnp.zeros(2)}}
  new = jax.tree.map(jnp.ones_like, old)
  for frozen, expected in ((True, 0), (False, 1)):
    kept = optimizer.keep_learned_adjacency(jnp.asarray(frozen), new, old)["graph"]
    np.testing.assert_array_equal(kept["learned_adjacency"], [expected] * 2)
    np.testing.assert_array_equal(kept["weight"], [1, 1])


@pytest.mark.parametrize(
  ("warmup", "epochs", "expected"),
  [
    (0, 2, [1, 0.75, 0.5, 0.25, 0]),  # half a cosine from the first step to the last
    (2, 2, [0.5, 0.5, 1, 1, 1]),  # nothing is left of it
    (3, 2, [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1]),
  ],
)
def test_cosine_schedule_with_and_without_warm_up(warmup, epochs, expected):
  config = OptimizerConfig(schedule="cosine", warmup_epochs=warmup, learning_rate=1.0)
  at = optimizer.learning_rate(config, steps_per_epoch=2, epochs=epochs, batch_size=1)
  if warmup == 0:
    expected = (1 + np.cos(np.pi * (1 - np.asarray(expected)))) / 2
  np.testing.assert_allclose([float(at(step)) for step in range(5)], expected, atol=1e-6)


@pytest.mark.parametrize(
  "options",
  [
    *({"momentum": 0.0}, {"ema": 0.0}, {"accumulate": 1}, {"learning_rate": 1e-9}),
    *({"weight_decay": 0.0}, {"warmup_epochs": 0}, {"clip_norm": 0.0}, {"momentum": 0.999}),
  ],
)
def test_the_least_that_is_allowed_is_allowed(options):
  OptimizerConfig(**options)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("name", "lion"),
    ("schedule", "poly"),
    ("decay_mask", "none"),
    *(("learning_rate", value) for value in (0.0, -0.1, float("inf"), float("nan"))),
    *(("momentum", value) for value in (-0.1, 1.0, float("nan"))),
    *(("ema", value) for value in (-0.1, 1.0)),
    ("accumulate", 0),
    *(("weight_decay", value) for value in (-1.0, float("inf"), float("nan"))),
    *((field, -1) for field in ("reference_batch_size", "warmup_epochs", "clip_norm")),
  ],
)
def test_a_wrong_option_is_named(field, value):
  with pytest.raises(ConfigError, match=f"optimizer.{field} is {value!r}"):
    OptimizerConfig(**{field: value})


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"decay_factor": 0.0}, "decay_factor is 0.0; it must lie in (0, 1]"),
    ({"decay_factor": 1.1}, "decay_factor is 1.1"),
    (
      {"decay_epochs": (5, 5)},
      "decay_epochs is (5, 5); it must be whole numbers from 0, each once",
    ),
    ({"decay_epochs": (5, -1)}, "decay_epochs is (5, -1)"),
    ({"decay_epochs": (5.5,)}, "decay_epochs is (5.5,)"),
    ({"decay_epochs": (True,)}, "decay_epochs is (True,)"),
    ({"decay_epochs": (2**31,)}, "decay_epochs is (2147483648,)"),
    ({"freeze_adjacency_through": 2**31}, "freeze_adjacency_through must be below 2**31"),
  ],
)
def test_a_decay_that_makes_no_sense_is_refused(fields, message):
  with pytest.raises(ConfigError, match=re.escape(message)):
    OptimizerConfig(**fields)


def test_a_decay_at_the_bounds_is_taken():
  OptimizerConfig(decay_epochs=(0, 3), decay_factor=1)
