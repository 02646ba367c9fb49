"""Whole channel groups for GPUs: the same function, gradients and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from mstgcn_jax.model import MSTGCN, ModelConfig, abstract_network, alignment, platform

# Groups of 5 and 9 channels: in float32, whole ones have 8 and 12, in float64 6 and 10.
BLOCKS = ((3, 20, False, 1), (20, 20, True, 1), (20, 36, True, 2))
CLIPS = jax.random.normal(jax.random.key(1), (4, 1, 12, 25, 3))


def _config(**fields) -> ModelConfig:
  return ModelConfig(**{"num_classes": 5, "num_persons": 1, "blocks": BLOCKS} | fields)


def _trained(config: ModelConfig):
  """Loss, running statistics and gradients of one training pass, logits when folded, features."""
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  graphdef, *variables = nnx.split(model, nnx.Param, nnx.BatchStat)
  params, stats = map(nnx.to_pure_dict, variables)

  def loss_fn(params):
    model = nnx.merge(graphdef, params, stats)
    model.train()
    losses = optax.softmax_cross_entropy_with_integer_labels(model(CLIPS), jnp.arange(4))
    return losses.mean(), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  @jax.jit
  def run(params):
    model = nnx.merge(graphdef, params, stats)
    model.eval()
    return (
      jax.value_and_grad(loss_fn, has_aux=True)(params),
      model.fold()(CLIPS),
      model.features(CLIPS),
    )

  return run(params)


@pytest.mark.parametrize(
  "fields", [{}, {"activation": "swish", "remat": True}], ids=["relu", "swish"]
)
def test_whole_groups_change_neither_values_nor_gradients_nor_statistics(fields, monkeypatch):
  # In float64: in float32 a ReLU's input may round to the other side of 0, on some devices.
  with jax.enable_x64(True), platform.forced("gpu"):
    config = _config(dtype="float64", **fields)
    assert [wide for _, wide in alignment._units(config)] == [6, 10]
    found = _trained(config)
    monkeypatch.setattr(alignment, "_units", lambda config: ())
    expected = _trained(config)
  # Sums of the same numbers and zeros, in another order: a few roundings.
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
    assert a.dtype == b.dtype == "float64"
    assert np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(b) + 1e-13


def test_a_function_may_close_over_a_network_in_evaluation_mode_on_a_gpu_too():
  model = MSTGCN(_config(), rngs=nnx.Rngs(0))
  model.eval()
  expected = model(CLIPS)
  with platform.forced("gpu"):
    found = jax.jit(lambda clips: model(clips))(CLIPS)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_block_0_that_makes_no_groups_runs_as_it_is():
  config = _config(blocks=((3, 10, False, 1),))
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  model.eval()
  expected = model(CLIPS)
  with platform.forced("gpu"):
    np.testing.assert_allclose(model(CLIPS), expected, rtol=1e-4, atol=1e-5)


def _widths(config: ModelConfig) -> list[int]:
  """Output channels of every block as it runs on a GPU."""
  blocks = abstract_network(config).blocks
  with platform.forced("gpu"):
    ran = nnx.eval_shape(lambda blocks: alignment.aligned(blocks, config), blocks)
  return [block.temporal.body.branches[0].norm.bias.shape[0] for block in ran[1:]]


def test_groups_of_28_have_32_channels_in_bfloat16_and_all_others_their_own():
  assert _widths(ModelConfig(num_classes=5, dtype="bfloat16")) == [32] * 3 + [56] * 3 + [112] * 3
  assert _widths(ModelConfig(num_classes=5)) == [28] * 3 + [56] * 3 + [112] * 3


def test_on_a_cpu_blocks_run_as_they_are():
  config = _config()
  model = abstract_network(config)
  with platform.forced("cpu"):
    assert alignment.aligned(model.blocks, config) is model.blocks


@pytest.mark.parametrize(
  "fields",
  [
    {"attention": "fa"},  # takes means over channels
    {"block_type": "bottle"},
    {"layer_type": "sep"},
    {"temporal_scales": 2},
    # Groups of 2 and 4 would both have 4: the second block would lose its projection.
    {"blocks": ((3, 8, False, 1), (8, 16, True, 1))},
  ],
)
def test_networks_whose_zeros_would_count_run_as_they_are(fields):
  config = _config(**fields)
  model = abstract_network(config)
  with platform.forced("gpu"):
    assert alignment.aligned(model.blocks, config) is model.blocks


def test_a_network_with_a_layer_of_ones_own_runs_as_it_is():
  class Doubled(nnx.Module):
    def __call__(self, x):
      return 2 * x

  config = _config()
  for change in (
    lambda block: setattr(block.temporal, "body", Doubled()),
    lambda block: setattr(
      block.temporal.body.branches[0].conv, "weight", nnx.Param(jnp.ones((3, 5, 5)))
    ),
  ):
    model = MSTGCN(config, rngs=nnx.Rngs(0))
    change(model.blocks[1])
    with platform.forced("gpu"):
      assert alignment.aligned(model.blocks, config) is model.blocks
