"""The network's parts: configuration, layers lifted out, layers put in, activations, norms."""

import copy
import dataclasses
import pickle

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from mstgcn_jax import graph, skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import MSTGCN, ModelConfig, abstract_network, draws, platform, spatial
from mstgcn_jax.model.activations import make_activation, relu
from mstgcn_jax.model.block import Block, spatial_layer, temporal_layer
from mstgcn_jax.model.compose import ConvNorm, Residual, identity
from mstgcn_jax.model.config import BlockConfig
from mstgcn_jax.model.groups import join
from mstgcn_jax.model.inferred import AttentionGraphConv
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import GraphConv
from mstgcn_jax.model.temporal import TemporalConv

SMALL = ModelConfig(num_classes=5, blocks=((3, 8, False, 1), (8, 16, True, 2)))
CLIPS = jax.random.normal(jax.random.key(0), (2, 2, 9, 25, 3))
DOT = {"name": "dot", "joints": ["a"], "inward": []}


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"block_type": "huge"}, r"block_type is 'huge'; allowed: basic, bottle, sep, ms, ms_bottle"),
    ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
    ({"width": 0}, "width is 0; it must be a whole number of at least 1"),
    ({"width": 30}, "spatial_scales is 4, which does not divide the 30 channels of block 1"),
    ({"attention": "pa", "skeleton": "other"}, "other"),
    (
      {"attention": "pa", "skeleton": DOT},
      "'pa' needs `parts` of the skeleton, which 'dot' does not",
    ),
    ({"blocks": ((3, 8, False, 1), (4, 8, True, 1))}, r"blocks\[1\].in_channels is 4; block 0"),
    ({"blocks": ((3, 8),), "in_channels": 2}, r"blocks\[0\].in_channels is 3; the clip has 2"),
    ({"blocks": (3,)}, r"blocks\[0\] is 3; give"),
    ({"blocks": 5}, r"blocks is 5; give \(in_channels, out_channels, residual, stride\) of each"),
    ({"activation": "gelu"}, "activation is 'gelu'; allowed: relu"),
    ({"dtype": "float16"}, "dtype is 'float16'"),
    ({"expand_ratio": -1}, "expand_ratio is -1"),
    ({"strategy": "near"}, "strategy is 'near'"),
    ({"width": 4, "attention": "stja", "reduction": 8}, "reduction is 8, more than the 4 channels"),
    ({"block_type": "bottle", "width": 4, "reduction": 5}, "reduction is 5, more than the 4 chan"),
    (
      {"attention": "ca", "blocks": ((3, 2), (2, 2)), "block_type": "sep"},
      "attention is 'ca', which needs 4 channels; block 1 has 2",
    ),
    ({"network": "hcn"}, "network is 'hcn'; allowed: mstgcn, stgcn"),
    ({"network": "agcn", "strategy": "random"}, "only spatial layers 'dgstgcn'"),
    ({"block_type": "ms/dgstgcn", "strategy": "random"}, "only spatial layers 'dgstgcn'"),
    ({"graph": "coco"}, "graph is 'coco' of 17 joints; the clips' skeleton 'ntu_rgbd' has 25"),
    ({"input_norm": "V"}, "input_norm is 'V'; allowed: MVC, VC"),
    ({"edge_weights": "free"}, "edge_weights is 'free'"),
    ({"branches": ((4, 1),)}, r"branches\[0\] is \(4, 1\); give"),
    ({"branches": ("2x2",)}, r"branches\[0\] is '2x2'"),
    ({"branches": ()}, "branches is empty"),
    ({"dropout": 1.0}, "dropout is 1.0; it must be a probability"),
    ({"embedding": 0}, "embedding is 0"),
    ({"gates": 1}, "gates is 1; it must be true or false"),
    ({"network": "stgcnpp", "width": 4}, "block 0 has 4 channels, fewer than its 6 branches"),
    ({"block_type": "msg3d/basic", "width": 4}, "block 1 has 4 channels, fewer than its 6"),
    ({"block_type": "msg3d/ctrgcn", "width": 4}, "block 1 has 4 channels, fewer than its 6"),
    ({"attention": "ja", "skeleton": DOT}, "attention is 'ja', which needs 2 joints; 'dot' has 1"),
    ({"network": "pyskl_msg3d", "windows": (3, 4)}, r"windows is \(3, 4\); give odd numbers"),
    ({"network": "pyskl_msg3d", "g3d_scales": 0}, "g3d_scales is 0"),
    ({"gcn_scales": 0}, "gcn_scales is 0"),
    ({"subsets": 0}, "subsets is 0"),
    ({"temporal_scales": 0}, "temporal_scales is 0"),
    ({"temporal_scales": 3}, "temporal_scales is 3, which does not divide the 112 channels of bl"),
    ({"block_type": "ms_bottle", "spatial_scales": 3}, "spatial_scales is 3, .* the 56 channels"),
    ({"block_type": "ms_bottle", "width": 4, "reduction": 5}, "reduction is 5, more than the 4"),
    ({"width": 4, "attention": "stcja", "reduction": 8}, "reduction is 8, more than the 4 chan"),
    ({"width": 4, "attention": "pa", "reduction": 8}, "reduction is 8, more than the 4 channels"),
    ({"num_persons": True}, "num_persons is True; it must be a whole number of at least 1"),
    ({"blocks": ()}, "blocks is empty"),
    ({"blocks": ((3, 8, 1),)}, r"blocks\[0\].residual is 1; it must be true or false"),
    ({"blocks": ((3, 8, False, 0),)}, r"blocks\[0\].stride is 0"),
    ({"block_type": "ms/huge"}, "block_type is 'huge'"),
    ({"layer_type": "ms"}, "layer_type is 'ms'; allowed: basic, sep"),
    ({"attention": "se"}, "attention is 'se'; allowed: None, stja"),
    ({"branches": ((3, 0),)}, r"branches\[0\] is \(3, 0\)"),
    ({"branches": (("max", 4),)}, r"branches\[0\] is \('max', 4\)"),
    ({"network": "stgcnpp", "width": 8, "branches": ("1x1",) * 9}, "fewer than its 9 branches"),
    ({"windows": 3}, "windows is 3; give odd numbers"),
    ({"windows": (-3,)}, r"windows is \(-3,\); give odd numbers"),
    ({"dropout": -0.1}, "dropout is -0.1; it must be a probability"),
    ({"dropout": False}, "dropout is False; it must be a probability"),
    ({"remat": 1}, "remat is 1; it must be true or false"),
  ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed(fields, message):
  with pytest.raises(ConfigError, match=message):
    ModelConfig(num_classes=5, **fields)


@pytest.mark.parametrize(
  "fields",
  [
    {"width": 4, "attention": "stja", "reduction": 4},
    {"width": 4, "attention": "ca"},
    {"attention": "ja", "skeleton": {"name": "pair", "joints": ["a", "b"], "inward": [[1, 0]]}},
    {"network": "stgcnpp", "width": 6},
    {"block_type": "bottle/ms", "blocks": ((3, 2, False), (2, 4))},
  ],
)
def test_what_just_fits_is_taken(fields):
  ModelConfig(num_classes=5, **fields)


@pytest.mark.parametrize("numpy", [np, jnp])
def test_numbers_and_arrays_make_the_same_config(numpy):
  count = numpy.array([2, 4]).max() + 1
  blocks = [(*b[:2], b[2] == 1, b[3]) for b in numpy.array([[3, 8, 0, 1], [8, 16, 1, 2]])]
  dropout = numpy.float32(0.5)
  config = ModelConfig(num_classes=count, blocks=blocks, dropout=dropout, windows=[3])
  expected = dataclasses.replace(SMALL, dropout=0.5, windows=(3,))
  assert config == expected
  assert config.to_dict() == expected.to_dict()
  assert hash(config) == hash(expected)


@pytest.mark.parametrize(
  "clips", [CLIPS[..., :18, :], CLIPS[:, :1], CLIPS[..., :2], CLIPS[:0], CLIPS[0], CLIPS[None]]
)
def test_clips_of_another_shape_are_refused_with_both_shapes(clips):
  model = abstract_network(SMALL)
  with pytest.raises(
    ValueError, match=r"clips have shape \(.* 2 person\(s\), .*25 joints of ntu_r"
  ):
    model(clips)


def check(values, std):
  values = np.asarray(values)
  assert abs(values.std() / std - 1) < 5 / np.sqrt(2 * values.size)  # 5 standard errors
  assert abs(values.mean()) < 5 * std / np.sqrt(values.size)


def test_initial_deviations_are_the_references():
  model = MSTGCN(ModelConfig(num_classes=60), rngs=nnx.Rngs(0))
  for _, module in nnx.iter_modules(model):
    if isinstance(module, GraphConv):  # std = √(2 / (all outputs · kernel elements))
      subsets, _, outputs = module.weight.shape
      check(module.weight[...], np.sqrt(2 / (subsets * outputs)))
      np.testing.assert_array_equal(module.learned_adjacency[...], np.float32(module.adjacency))
      assert not module.bias[...].any()
    elif isinstance(module, TemporalConv):
      kernel_size, _, outputs = module.weight.shape
      check(module.weight[...], np.sqrt(2 / (kernel_size * outputs)))
      assert not module.bias[...].any()
    elif isinstance(module, BatchNorm):
      assert (module.weight[...] == 1).all() and not module.bias[...].any()
  check(model.classifier.kernel[...], np.sqrt(2 / 60))
  check(model.classifier.bias[...], 1 / np.sqrt(3 * 448))  # uniform in ±1 / √448
  assert np.abs(model.classifier.bias[...]).max() <= 1 / np.sqrt(448)
  adjacency = graph.adjacency(skeletons.get("ntu_rgbd"))
  depthwise = spatial.DepthwiseGraphConv(256, adjacency, rngs=nnx.Rngs(0))
  check(depthwise.weight[...], np.sqrt(2 / (256 * len(adjacency))))


def test_running_statistics_move_by_a_tenth_and_take_the_unbiased_variance():
  norm = BatchNorm(1)
  y = norm(jnp.array([[1.0], [2.0], [6.0]]))
  np.testing.assert_allclose(norm.running_mean[...], [0.3], rtol=1e-6)
  np.testing.assert_allclose(norm.running_var[...], [0.9 + 0.1 * 7.0], rtol=1e-6)
  np.testing.assert_allclose(y[0, 0], -2 / np.sqrt(14 / 3 + 1e-5), rtol=1e-6)


def test_a_norm_of_one_position_or_of_one_large_value_is_finite():
  norm = BatchNorm(1)
  assert norm(jnp.full((1, 1), 5.0)).tolist() == [[0]]
  np.testing.assert_allclose(norm.running_var[...], [0.9], rtol=1e-6)
  # Σx² / n - mean² is no more than rounding here, and below 0 for some of the channels.
  x = jnp.broadcast_to(jnp.linspace(1000, 5000, 64), (37, 64))
  assert jnp.isfinite(BatchNorm(64)(x)).all()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kernel_size", "stride"), [(5, 1), (5, 2), (9, 2), (5, 3), (3, 4)])
@pytest.mark.parametrize("frames", [2, 11, 12, 70])  # a CPU has a form of its own for few
def test_a_strided_temporal_convolution_is_the_librarys_and_so_are_its_gradients(
  groups, kernel_size, stride, frames
):
  conv = TemporalConv(4, 4, kernel_size, stride=stride, groups=groups, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(1), (2, 2, frames, 4))

  def librarys(weight, x):
    return jax.lax.conv_general_dilated(
      *(x.reshape(4, frames, 4), weight, (stride,), [(kernel_size // 2,) * 2]),
      dimension_numbers=("NWC", "WIO", "NWC"),
      feature_group_count=groups,
    )

  graphdef, state = nnx.split(conv)

  def ours(weight, x):
    conv = nnx.merge(graphdef, jax.tree.map(jnp.copy, state))
    conv.weight = nnx.Param(weight)
    return conv(x).reshape(4, -1, 4)

  expected, expected_vjp = jax.vjp(librarys, conv.weight[...], x)
  actual, actual_vjp = jax.vjp(ours, conv.weight[...], x)
  np.testing.assert_allclose(actual, expected, atol=1e-5)  # other order of summation
  for a, b in zip(actual_vjp(expected), expected_vjp(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_bias_has_a_gradient_but_before_a_norm_over_the_batch():
  conv = TemporalConv(2, 2, rngs=nnx.Rngs(0))
  layer = ConvNorm(conv, BatchNorm(2))
  assert layer.takes_constants_away
  layer.eval()
  assert not layer.takes_constants_away
  assert not ConvNorm(conv, nnx.LayerNorm(2, rngs=nnx.Rngs(0))).takes_constants_away


def test_a_temporal_convolution_of_even_width_is_refused():
  # The form for a GPU would give a frame more than that for a CPU.
  with pytest.raises(ConfigError, match="kernel_size is 4; it must be odd"):
    TemporalConv(4, 4, 4, rngs=nnx.Rngs(0))


# One function in the form of each platform.


def _value_and_gradients(form, function, *args):
  def both(*args):
    y, vjp = jax.vjp(function, *args)
    return y, vjp(jax.random.normal(jax.random.key(7), y.shape))

  # Operation by operation where XLA for GPUs cannot compile it: in jax 0.10.2 a product that reads
  # every second frame, of the form for CPUs.
  run = both if form == "cpu" and platform.on_gpu() else jax.jit(both)
  with platform.forced(form):
    return run(*args)


def assert_forms_agree(module, x, forms=("cpu", "gpu")):
  graphdef, state = nnx.split(module)
  run = lambda state, x: nnx.merge(graphdef, state)(x)
  first, *others = (_value_and_gradients(form, run, state, x) for form in forms)
  for a, *rest in zip(*map(jax.tree.leaves, (first, *others)), strict=True):
    # Sums in another order: a few roundings of the largest value.
    for b in rest:
      np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, float(jnp.abs(a).max())))


SHAPES = [(1, 1, 1), (1, 2, 1), (5, 2, 1), (5, 3, 4)]


@pytest.mark.parametrize(("kernel_size", "stride", "groups"), SHAPES)
@pytest.mark.parametrize("frames", [2, 11, 12, 70])  # a CPU has a form of its own for few
def test_a_temporal_convolution_is_the_same_on_every_platform(kernel_size, stride, groups, frames):
  conv = TemporalConv(4, 8, kernel_size, stride=stride, groups=groups, rngs=nnx.Rngs(0))
  assert_forms_agree(conv, jax.random.normal(jax.random.key(1), (2, 3, frames, 4)))


def test_a_graph_convolution_is_the_same_on_every_platform():
  conv = GraphConv(3, 6, SMALL.adjacency(), rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(1), (2, 25, 7, 3))
  assert_forms_agree(conv, x, ("cpu", "gpu", "onnx"))


def test_a_wide_graph_convolution_is_the_same_on_every_platform(monkeypatch):
  monkeypatch.setattr(spatial, "_IN_ONE", 0)  # so that this one is
  conv = GraphConv(3, 6, SMALL.adjacency(), rngs=nnx.Rngs(0))
  assert_forms_agree(conv, jax.random.normal(jax.random.key(1), (2, 25, 7, 3)))


@pytest.mark.parametrize("adaptive", [False, True])
def test_an_adjacency_of_each_clip_is_applied_alike_on_every_platform(adaptive):
  options = {"embedded": 2, "adaptive": adaptive, "dtype": "float64"}
  with jax.enable_x64(True):  # the gradient of α is what is left of sums over everything
    conv = AttentionGraphConv(3, 6, SMALL.adjacency(), rngs=nnx.Rngs(0), **options)
    x = jax.random.normal(jax.random.key(1), (2, 25, 7, 3))
    assert_forms_agree(conv, x, ("cpu", "gpu", "onnx"))


@pytest.mark.parametrize("make", [spatial_layer, temporal_layer])
def test_a_layer_that_widens_and_strides_is_the_same_on_every_platform(make):
  block = SMALL.blocks[-1]
  layer = make("ms", SMALL, block, rngs=nnx.Rngs(0))
  channels = block.in_channels if make is spatial_layer else block.out_channels
  x = jax.random.normal(jax.random.key(1), (2, 25, 8, channels))
  assert_forms_agree(layer, x)


def test_a_norm_is_the_same_on_every_platform_and_for_channel_groups():
  x = 3 + jax.random.normal(jax.random.key(1), (2, 25, 7, 8))
  assert_forms_agree(BatchNorm(8), x)
  whole, groups = BatchNorm(8), BatchNorm(8)
  y = jnp.concatenate(groups(tuple(jnp.split(x, 4, axis=-1))), axis=-1)
  np.testing.assert_allclose(y, whole(x), atol=1e-6)
  for part, expected in zip(BatchNorm(8, groups=2)(x), jnp.split(y, 2, axis=-1), strict=True):
    np.testing.assert_allclose(part, expected, atol=1e-6)
  np.testing.assert_allclose(groups.running_var[...], whole.running_var[...], rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 5])
def test_a_norms_gradient_is_that_of_its_formula(groups):
  def formula(weight, bias, x):
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / jnp.sqrt(var + 1e-5) * weight + bias

  def ours(weight, bias, x):
    norm = BatchNorm(5, groups=groups)
    norm.weight[...], norm.bias[...] = weight, bias
    return join(norm(x))

  keys = jax.random.split(jax.random.key(0), 4)
  args = [jax.random.normal(k, (5,)) for k in keys[:2]]
  args.append(jax.random.normal(keys[2], (2, 3, 4, 5)))
  y, vjp = jax.vjp(formula, *args)
  z, our_vjp = jax.vjp(ours, *args)
  np.testing.assert_allclose(z, y, atol=1e-5)
  cotangent = jax.random.normal(keys[3], y.shape)
  for a, b in zip(our_vjp(cotangent), vjp(cotangent), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)  # float32 sums of 24 values


def test_a_norm_keeps_its_digits_where_the_running_mean_is_near_a_large_mean():
  # Deviation 1 at a mean of 4,000: Σx² has no digit left for it, Σ(x - origin)² has all.
  x = 4000 + jax.random.normal(jax.random.key(0), (64, 64, 1))
  norm = BatchNorm(1)
  norm.running_mean[...] = jnp.full(1, 3999.0)
  y = np.asarray(norm(x))
  exact = np.asarray(x, np.float64)
  np.testing.assert_allclose(y, (exact - exact.mean()) / exact.std(), atol=1e-3)


# What a researcher does on the first day.


def test_a_layer_can_be_lifted_out_and_jitted_differentiated_and_vmapped():
  adjacency = graph.adjacency(skeletons.get("ntu_rgbd"))
  conv = GraphConv(3, 6, adjacency, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(0), (4, 2, 25, 7, 3))  # [many, clip, joint, frame, channel]
  one = nnx.jit(lambda conv, x: conv(x))(conv, x[0])
  # Σ_k A_kᵀ (x W_k + b_k), written out.
  total = adjacency + np.asarray(conv.learned_adjacency[...])
  expected = np.einsum("bvtc,kcd,kvw->bwtd", x[0], conv.weight[...], total)
  np.testing.assert_allclose(one, expected, atol=1e-5)
  many = nnx.vmap(lambda conv, x: conv(x), in_axes=(None, 0))(conv, x)
  np.testing.assert_allclose(many[0], one, atol=1e-5)
  grads = nnx.grad(lambda conv, x: conv(x).sum())(conv, x[0])
  assert grads["learned_adjacency"].shape == (3, 25, 25)


class Neighbours(nnx.Module):
  """A spatial layer of one's own: every joint takes the mean of all."""

  def __init__(self, config, block, *, rngs):
    self.project = nnx.Linear(block.in_channels, block.out_channels, rngs=rngs)

  def __call__(self, x):  # [clip, joint, frame, channel]
    return jax.nn.relu(self.project(x + x.mean(1, keepdims=True)))


def test_a_spatial_layer_of_ones_own_needs_no_change_to_the_package():
  # By name, so that `--config.model.block_type=my_layers:Neighbours/ms` trains it.
  config = dataclasses.replace(SMALL, block_type="test_model:Neighbours/ms")
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  assert type(model.blocks[1].spatial).__name__ == "Neighbours"
  assert model(CLIPS).shape == (2, 5)
  # Or in a model that is there.
  model = MSTGCN(SMALL, rngs=nnx.Rngs(0))
  model.blocks[1].spatial = Neighbours(SMALL, SMALL.blocks[1], rngs=nnx.Rngs(1))
  assert model(CLIPS).shape == (2, 5)


class Twice(Block):
  """A block of one's own."""

  def __call__(self, x):
    return 2 * super().__call__(x)


@pytest.mark.parametrize("remat", [False, True])
def test_a_block_of_ones_own_in_place_of_one_that_is_there_is_what_runs(remat):
  model = MSTGCN(dataclasses.replace(SMALL, remat=remat), rngs=nnx.Rngs(0))
  model.eval()
  expected = 2 * model.features(CLIPS)
  block = model.blocks[-1]
  model.blocks[-1] = Twice(block.spatial, block.temporal, block.attention)
  np.testing.assert_array_equal(model.features(CLIPS), expected)
  last = SMALL.blocks[-1]
  model.blocks[-1] = nnx.Linear(last.in_channels, last.out_channels, rngs=nnx.Rngs(0))
  assert model(CLIPS).shape == (2, 5)
  assert len(model.adjacencies(CLIPS)) == len(SMALL.blocks) - 1  # a linear map has none


def test_a_head_of_ones_own_takes_the_mean_of_the_features():
  one_block = dataclasses.replace(SMALL, blocks=SMALL.blocks[:1])
  model = MSTGCN(one_block, rngs=nnx.Rngs(0))
  model.classifier = jnp.negative  # nnx.Sequential has no param_dtype, either
  model.eval()
  logits, features = jax.jit(lambda clips: (model(clips), model.features(clips)))(CLIPS)
  expected = -np.asarray(features).mean((1, 2, 3))
  np.testing.assert_allclose(logits, expected, rtol=1e-5)  # float32, summed in another order


def test_a_layer_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
  (tmp_path / "broken_layers.py").write_text("class Mean(nnx.Module): pass")
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ConfigError, match="imported: NameError: name 'nnx' is not defined"):
    MSTGCN(dataclasses.replace(SMALL, block_type="broken_layers:Mean/ms"), rngs=nnx.Rngs(0))
  with pytest.raises(ConfigError, match="'test_model:Nowhere', which cannot be imported"):
    MSTGCN(dataclasses.replace(SMALL, block_type="test_model:Nowhere/ms"), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(("out_channels", "inner"), [(8, 2), (16, 4), (12, 4)])
def test_a_spatial_bottleneck_is_narrowed_from_its_input(out_channels, inner):
  # As published: in / r where the layer keeps its channels, else 2 · in / r, whatever the output.
  config = dataclasses.replace(SMALL, block_type="bottle", reduction=4)
  make = lambda: spatial_layer("bottle", config, BlockConfig(8, out_channels), rngs=nnx.Rngs(0))
  layer = nnx.eval_shape(make)
  assert layer.body.reduce.conv.weight.shape == (1, 8, inner)


def test_a_new_block_type_mixes_two_layers_by_config():
  model = MSTGCN(dataclasses.replace(SMALL, block_type="bottle/sep"), rngs=nnx.Rngs(0))
  assert type(model.blocks[1].spatial.body).__name__ == "Bottleneck"
  assert type(model.blocks[1].temporal.body).__name__ == "Separable"
  assert model(CLIPS).shape == (2, 5)


# Options that must not change the function.


_logits = nnx.jit(lambda model: model(CLIPS))


def _trained(config):
  """A model none of whose parameters and running statistics are those of the beginning."""
  model = MSTGCN(config, rngs=nnx.Rngs(0))
  _logits(model)
  random = np.random.default_rng(0)
  for variable in jax.tree.leaves(
    nnx.state(model, nnx.Param), is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
  ):
    variable[...] += 0.1 * random.standard_normal(variable.shape, "float32")
  return model


@pytest.mark.parametrize(
  "fields",
  [
    {"block_type": "ms"},
    {"block_type": "ms_bottle"},
    {"block_type": "sep"},
    {"layer_type": "sep", "expand_ratio": 2},
    {"attention": "stja"},
    {"activation": "acon"},
    {"activation": "meta_acon"},
  ],
)
def test_folding_keeps_the_function(fields):
  model = _trained(dataclasses.replace(SMALL, **fields))
  folded = model.fold()
  model.eval()
  expected = model(CLIPS)
  np.testing.assert_allclose(folded(CLIPS), expected, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("norm", [BatchNorm, lambda n: nnx.BatchNorm(n, rngs=nnx.Rngs(0))])
def test_folding_leaves_what_it_does_not_know(norm):
  model = MSTGCN(SMALL, rngs=nnx.Rngs(0))
  c_in, c_out = SMALL.blocks[1].in_channels, SMALL.blocks[1].out_channels
  model.blocks[1].spatial = ConvNorm(nnx.Linear(c_in, c_out, rngs=nnx.Rngs(1)), norm(c_out))
  model.eval()
  np.testing.assert_allclose(model.fold()(CLIPS), model(CLIPS), rtol=1e-4, atol=1e-5)  # rounding


def _loss_and_gradient(config):
  def loss(model, clips):
    return jnp.square(model(clips)).mean()

  model = MSTGCN(config, rngs=nnx.Rngs(0))
  value, grads = nnx.jit(nnx.value_and_grad(loss))(model, CLIPS)
  return value, nnx.to_pure_dict(grads), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))


def test_rematerialisation_keeps_loss_gradients_and_statistics():
  for a, b in zip(
    jax.tree.leaves(_loss_and_gradient(dataclasses.replace(SMALL, remat=True))),
    jax.tree.leaves(_loss_and_gradient(SMALL)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_bfloat16_computes_in_bfloat16_and_keeps_parameters_and_statistics_in_float32():
  model = _trained(dataclasses.replace(SMALL, dtype="bfloat16"))
  assert {str(leaf.dtype) for leaf in jax.tree.leaves(nnx.state(model))} == {"float32"}
  reference = _trained(SMALL)
  model.eval(), reference.eval()
  assert model.blocks[1](jnp.ones((2, 25, 4, 8))).dtype == "bfloat16"
  # Operation by operation: jaxlib 0.12.0 compiles all at once wrongly for CPUs (docs/networks.md).
  found, expected = model(CLIPS), reference(CLIPS)
  assert found.dtype == "float32"
  # Eight bits of mantissa: 0.4 % a rounding.
  assert jnp.linalg.norm(found - expected) < 0.05 * jnp.linalg.norm(expected)


@pytest.mark.parametrize("shape", [(), (7,), (3, 64, 28), (1024,), (5, 5000)])
def test_initial_values_are_those_that_jax_draws(shape):
  key = jax.random.key(3)
  np.testing.assert_array_equal(draws.normal(key, shape), jax.random.normal(key, shape))
  expected = jax.random.uniform(key, shape, "float32", -0.3, 0.3)
  np.testing.assert_array_equal(draws.uniform(key, shape, "float32", bound=0.3), expected)


def test_a_network_is_exported_with_a_batch_of_any_size():
  model = MSTGCN(SMALL, rngs=nnx.Rngs(0))
  model.eval()
  (batch,) = jax.export.symbolic_shape("batch")
  shape = jax.ShapeDtypeStruct((batch, *CLIPS.shape[1:]), "float32")
  exported = jax.export.export(jax.jit(lambda clips: model(clips)))(shape)
  np.testing.assert_allclose(exported.call(CLIPS), model(CLIPS), rtol=1e-5, atol=1e-5)


# Activations.


def test_acon_follows_its_formula():
  acon = make_activation("acon", 2, rngs=nnx.Rngs(0))
  acon.p1[...], acon.p2[...] = jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0])
  acon.beta[...] = jnp.array([1.0, 3.0])
  y = acon(jnp.array([2.0, 0.5]))
  # (p1 − p2) x σ(β (p1 − p2) x) + p2 x; with p1 = 1, p2 = 0, β = 1 that is swish.
  expected = [2 / (1 + np.exp(-2)), 0.5 / (1 + np.exp(-1.5)) + 0.5]
  np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ["acon", "meta_acon"])
def test_a_network_with_a_learned_activation_trains(activation):
  _, grads, _ = _loss_and_gradient(dataclasses.replace(SMALL, activation=activation))
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  assert jnp.any(grads["blocks"][1]["temporal"]["activation"]["p1"] != 0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_network_is_copied_and_pickled(copied):
  model = MSTGCN(SMALL, rngs=nnx.Rngs(0))
  (structure, values), (expected, given) = nnx.split(copied(model)), nnx.split(model)
  assert structure == expected
  jax.tree.map(np.testing.assert_array_equal, values, given)


@pytest.mark.parametrize("name", ["acon", "meta_acon"])
def test_gradients_of_learned_activations_are_finite_differences_in_float64(name):
  with jax.enable_x64(True):
    x = jax.random.normal(jax.random.key(0), (3, 4, 5, 6), "float64")
    activation = make_activation(name, 6, dtype="float64", rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(activation, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)
    apply = jax.jit(lambda params, x: nnx.merge(graphdef, params, rest)(x))
    check_grads(apply, (params, x), 1, ["rev"], atol=1e-6)


@pytest.mark.parametrize(("mode", "ways"), [("train", ["rev"]), ("eval", ["fwd", "rev"])])
def test_norm_and_relu_are_differentiated_twice_and_in_evaluation_mode_forward(mode, ways):
  with jax.enable_x64(True):
    norm = BatchNorm(3, dtype="float64")
    norm.weight[...] = jnp.array([1.0, 0.5, -2.0])
    graphdef, state = nnx.split(norm)

    @jax.jit
    def function(x):
      norm = nnx.merge(graphdef, nnx.clone(state))
      getattr(norm, mode)()
      return jnp.square(relu(norm(x)))

    x = jax.random.normal(jax.random.key(0), (2, 4, 3, 3), "float64")
    # Of finite differences in float64; no ReLU's input is that near to 0.
    check_grads(function, (x,), 2, ways, atol=1e-6, rtol=1e-6, eps=1e-6)


def test_the_parts_of_a_layer_are_put_together_by_hand_as_by_the_network():
  config, block = SMALL, SMALL.blocks[0]
  ours = spatial_layer("basic", config, block, rngs=nnx.Rngs(3))
  conv = GraphConv(3, 8, config.adjacency(), rngs=nnx.Rngs(3))
  by_hand = Residual(ConvNorm(conv, BatchNorm(8), identity), None, jax.nn.relu)
  x = jax.random.normal(jax.random.key(0), (2, 25, 4, 3))
  np.testing.assert_array_equal(ours(x), by_hand(x))
