"""Every network that MST-GCN is compared with: what training and inference do with it.

Equality with the published codes is tested in test_network_equality.py.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_model import check

from mstgcn_jax import torch_weights
from mstgcn_jax.data import augment
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import (
  MSTGCN,
  ModelConfig,
  abstract_network,
  block,
  disentangled,
  draws,
  make_network,
  neighbours,
  platform,
)
from mstgcn_jax.model.config import NEIGHBOURS, NETWORKS, BlockConfig
from mstgcn_jax.model.norm import BatchNorm
from mstgcn_jax.model.spatial import GraphConv
from mstgcn_jax.model.temporal import MaxPool, TemporalConv
from mstgcn_jax.training import optimizer, train_step

BLOCKS = ((3, 8, False, 1), (8, 16, True, 2))
CLIPS = jax.random.normal(jax.random.key(0), (2, 2, 9, 25, 3))
OTHERS = tuple(name for name in NETWORKS if name != "mstgcn")


def config(network: str, **fields) -> ModelConfig:
  return ModelConfig(**({"num_classes": 5, "network": network, "blocks": BLOCKS} | fields))


@functools.cache
def values(model_config: ModelConfig):
  """Parameters and running statistics of a network, drawn at random."""
  structure = abstract_network(model_config)
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    name = path[-1].key
    noise = rng.standard_normal(leaf.shape).astype(np.float32)
    # Norms' weights and running variances around 1.
    one = name == "running_var" or (name == "weight" and len(leaf.shape) == 1)
    return np.exp(0.2 * noise) if one else 0.3 * noise

  return tuple(
    jax.tree_util.tree_map_with_path(draw, tree) for tree in train_step.split_model(structure)[1:]
  )


def network_of(model_config: ModelConfig, params, batch_stats) -> nnx.Module:
  structure = abstract_network(model_config)
  arrays = jax.tree.map(jnp.asarray, (params, batch_stats))
  return nnx.merge(train_step.split_model(structure)[0], *arrays)


def trained(model_config: ModelConfig) -> nnx.Module:
  """The network with `values`, in evaluation mode."""
  model = network_of(model_config, *values(model_config))
  model.eval()
  return model


def run(model: nnx.Module, function):
  """function(model), compiled."""
  graphdef, state = nnx.split(model)
  return jax.jit(lambda state: function(nnx.merge(graphdef, state)))(state)


@pytest.mark.parametrize("network", OTHERS)
def test_a_network_trains_with_the_projects_step(network):
  """Loss falls on one batch; the state stays finite; frozen adjacencies stand still."""
  params, batch_stats = values(config(network))
  task = train_step.Task(
    graphdef=nnx.graphdef(network_of(config(network), params, batch_stats)),
    skeleton=config(network).skeleton,
    center=None,
    num_classes=5,
    streams=("joint", "bone"),
    augmentation=augment.Augmentation(),
    optimizer=optimizer.OptimizerConfig(
      learning_rate=0.02, warmup_epochs=0, freeze_adjacency_through=0
    ),
    steps_per_epoch=4,
    epochs=0,
    batch_size=2,
  )
  state = train_step.init_state(task, params, batch_stats, seed=0)
  batch = {"clips": CLIPS, "label": jnp.array([1, 3]), "stop": jnp.zeros(2, jnp.int32)}
  step = jax.jit(functools.partial(train_step.train_step, task))
  losses = []
  for _ in range(5):
    new, figures = step(state, batch, 0)
    assert figures["finite"]
    losses.append(float(figures["loss"]))
    moved = [
      bool(jnp.any(a != b))
      for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(new.params), jax.tree.leaves(state.params), strict=True
      )
      if optimizer.is_learned_adjacency(path)
    ]
    frozen = int(state.step) < 4
    assert moved and any(moved) != frozen
    state = new
  assert losses[-1] < losses[0]
  assert np.isfinite(float(step(state, batch, 1)[1]["loss"]))  # another stream, the same program


@pytest.mark.parametrize("network", OTHERS)
def test_folding_and_bfloat16_keep_a_networks_function(network):
  logits = run(trained(config(network)), lambda model: model(CLIPS))
  scale = float(jnp.abs(logits).max())
  folded = run(trained(config(network)), lambda model: model.fold()(CLIPS))
  np.testing.assert_allclose(folded, logits, atol=2e-5 * scale)  # float32, some twenty layers

  half = network_of(config(network, dtype="bfloat16"), *values(config(network)))
  half.eval()
  in_half = run(half, lambda model: model(CLIPS))
  assert in_half.dtype == "float32"
  # Eight bits of mantissa, and weights at random.
  close = jnp.linalg.norm(in_half - logits) < 0.1 * jnp.linalg.norm(logits)
  if not close and jax.__version_info__ >= (0, 11):  # not on every machine, nor every time
    pytest.xfail(
      "YNNPACK fusions of jaxlib 0.11 and 0.12.0 are wrong in bfloat16 on a CPU (docs/networks.md)"
    )
  assert close


@pytest.mark.parametrize("network", ["stgcnpp", "ctrgcn"])
def test_rematerialisation_keeps_a_networks_gradient(network):
  params, batch_stats = values(config(network))

  def gradient(remat):
    def loss(params):
      model = network_of(config(network, remat=remat), params, batch_stats)
      model.train()
      return jnp.square(model(CLIPS)).mean()

    return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

  for a, b in zip(gradient(remat=False), gradient(remat=True), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, float(jnp.abs(a).max())))


@pytest.mark.parametrize("network", OTHERS)
def test_features_and_adjacencies_have_their_shapes(network):
  model = trained(config(network))
  features, adjacencies = run(
    model, lambda model: (model.features(CLIPS), model.adjacencies(CLIPS))
  )
  assert features.shape == (2, 2, 5, 25, 16)
  subsets = {"dgstgcn": 8, "pyskl_msg3d": 13}.get(network, 3)
  assert [a.shape for a in adjacencies] == [(2, 2, subsets, 25, 25)] * 2
  inferred = "agcn" in network or "ctr" in network or network == "dgstgcn"
  depends = bool(jnp.any(adjacencies[1][0] != adjacencies[1][1]))
  assert depends == inferred


def test_2s_agcns_inferred_adjacency_has_columns_of_sum_one_besides_what_is_shared():
  model = trained(config("agcn"))
  adjacency = run(model, lambda model: model.adjacencies(CLIPS))[0]
  conv = model.blocks[0].spatial.body.conv
  np.testing.assert_allclose((adjacency - conv.effective_adjacency()).sum(-2), 1, atol=1e-5)


@pytest.mark.parametrize("network", ["agcn", "aagcn", "ctrgcn", "pyskl_ctrgcn", "dgstgcn"])
def test_what_is_inferred_says_from_which_joint_to_which_features_go(network):
  # As it starts, an adjacency is the same for all channels: what is shown is all of it.
  model = make_network(config(network, blocks=BLOCKS[:1]), rngs=nnx.Rngs(0))
  conv = model.blocks[0].spatial
  conv = (conv.layers[0] if network == "aagcn" else conv).body.conv
  x = jax.random.normal(jax.random.key(1), (2, 25, 3, 3))
  adjacency = jnp.moveaxis(conv.infer(x), 1, 0)
  collect = lambda a, y: jnp.einsum("bvw,bvtc->bwtc", a, y)
  if network == "dgstgcn":
    groups = jnp.split(conv.reduce(x), len(adjacency), axis=-1)
    expected = conv.expand(jnp.concatenate([*map(collect, adjacency, groups)], -1))
  elif "ctr" in network:
    expected = sum(collect(a, value(x)) for a, value in zip(adjacency, conv.value, strict=True))
  else:
    pairs = zip(adjacency, conv.project, strict=True)
    expected = sum(project(collect(a, x)) for a, project in pairs)
  # float32 sums in another order
  np.testing.assert_allclose(conv(x), expected, atol=1e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize(
  "block_type",
  [
    *("ctrgcn/ms", "ms/ctrgcn", "agcn/sep", "stgcnpp/stgcn", "basic/dgstgcn"),
    *("msg3d/ms", "sep/msg3d", "msg3d/stgcnpp"),
  ],
)
def test_layers_of_two_networks_are_mixed_by_the_config(block_type):
  model = trained(config("mstgcn", block_type=block_type, blocks=((3, 16), (16, 16, True, 2))))
  assert isinstance(model, MSTGCN)
  features = nnx.eval_shape(lambda model: model.features(CLIPS), model)
  assert features.shape == (2, 2, 5, 25, 16)  # one of both layers takes the stride
  # Where the temporal layer has no shortcut of its own, the block has one.
  temporal = block_type.split("/")[1]
  assert (model.blocks[1].shortcut is not None) == (temporal in NEIGHBOURS[:-1])
  state = torch_weights.state_dict(model)
  held = jax.tree.leaves(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))
  assert sum(map(np.size, state.values())) >= sum(leaf.size for leaf in held)  # no name twice


@pytest.mark.parametrize("network", NETWORKS)
def test_a_config_survives_json_and_can_be_hashed(network):
  model_config = config(network, graph="ntu_rgbd_pyskl", branches=((3, 1), ("max", 3), "1x1"))
  again = ModelConfig.from_dict(json.loads(json.dumps(model_config.to_dict())))
  assert again == model_config and hash(again) == hash(model_config)


def test_mstgcn_refuses_the_config_of_another_network():
  with pytest.raises(ConfigError, match="make_network makes any"):
    MSTGCN(config("stgcn"), rngs=nnx.Rngs(0))


# Initial values, as the publications' programs draw them.


def initial(network: str):
  blocks = ((3, 32, False, 1), (32, 64, True, 2))
  return make_network(config(network, blocks=blocks, num_classes=60), rngs=nnx.Rngs(0))


def own_layer_without_bias(config, block, *, rngs):
  return nnx.Linear(block.in_channels, block.out_channels, use_bias=False, rngs=rngs)


def test_initial_values_reach_depthwise_and_own_layers():
  blocks = ((3, 32, False, 1), (32, 64, True, 2))
  make = lambda network, spatial: make_network(
    config(network, blocks=blocks, block_type=f"{spatial}/stgcn"), rngs=nnx.Rngs(0)
  )
  depthwise = lambda model: model.blocks[1].spatial.body.depthwise.conv
  check(depthwise(make("stgcn", "sep")).weight[...], 0.02)
  check(depthwise(make("pyskl_stgcn", "sep")).weight[...], 1 / np.sqrt(3))  # uniform in ±1
  own = make("stgcn", f"{__name__}:own_layer_without_bias").blocks[1].spatial
  check(own.kernel[...], 0.02)


def test_keys_are_those_that_rngs_gives_and_are_counted_by_it():
  ours, rngs = nnx.Rngs(params=3), nnx.Rngs(params=3)
  keys = [draws.key(ours), draws.key(ours), ours.params()]
  expected = [rngs.params() for _ in keys]
  assert [jax.random.key_data(key).tolist() for key in keys] == [
    jax.random.key_data(key).tolist() for key in expected
  ]


def test_the_first_blocks_three_channels_need_not_bear_attention_nor_reduction():
  for fields in ({"network": "ctrgcn", "attention": "stja"}, {"block_type": "bottle"}):
    ModelConfig(**{"num_classes": 5, "network": "stgcn", "reduction": 4} | fields)


def test_st_gcn_starts_with_small_normal_weights_and_edges_of_importance_1():
  model = initial("stgcn")
  for _, module in nnx.iter_modules(model):
    if isinstance(module, GraphConv | TemporalConv):
      check(module.weight[...], 0.02)
      assert not module.bias[...].any()
    if isinstance(module, GraphConv):
      assert (module.learned_adjacency[...] == 1).all()
    if isinstance(module, BatchNorm):
      check(module.weight[...] - 1, 0.02)
  check(model.classifier.kernel[...], 0.02)
  assert not model.classifier.bias[...].any()


@pytest.mark.parametrize("network", ["agcn", "aagcn", "ctrgcn"])
def test_spatial_layers_of_2s_agcn_and_ctr_gcn_start_as_their_shortcut(network):
  spatial = initial(network).blocks[1].spatial
  if network == "aagcn":
    gates, spatial = spatial.layers[1], spatial.layers[0]
    check(gates.joint.weight[...], np.sqrt(2 / (65 * 25)))
    check(gates.reduce.kernel[...], np.sqrt(2 / 64))
    assert not gates.frame.weight[...].any() and not gates.expand.kernel[...].any()
  np.testing.assert_allclose(spatial.body.norm.weight[...], 1e-6)
  conv = spatial.body.conv
  if network != "ctrgcn":
    check(conv.project[0].weight[...], np.sqrt(2 / (3 * 32 * 64)))
    check(conv.theta[1].weight[...], np.sqrt(2 / 16))
  if network == "agcn":
    np.testing.assert_allclose(conv.learned_adjacency[...], 1e-6)
  else:
    np.testing.assert_array_equal(conv.learned_adjacency[...], config(network).adjacency())
    assert conv.alpha[...].tolist() == [0]


def test_pyskls_networks_start_with_pytorchs_defaults():
  model = initial("stgcnpp")
  conv = model.blocks[1].spatial.body.conv
  check(conv.weight[...], 1 / np.sqrt(3 * 32))  # uniform in ±1 / √32
  check(conv.bias[...], 1 / np.sqrt(3 * 32))
  assert float(jnp.abs(conv.weight[...]).max()) <= 1 / np.sqrt(32)
  check(model.classifier.kernel[...], 0.01)
  np.testing.assert_array_equal(conv.learned_adjacency[...], config("stgcnpp").adjacency())
  check(initial("dgstgcn").blocks[1].spatial.body.conv.learned_adjacency[...] - 0.04, 0.02)
  check(initial("pyskl_ctrgcn").blocks[1].shortcut.conv.weight[...], 1 / np.sqrt(3 * 32))


# Parts.


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("frames", [2, 7, 8])
def test_a_pool_takes_the_largest_and_gives_its_gradient_to_the_earliest(stride, frames):
  x = jnp.asarray(np.random.default_rng(0).integers(-3, 0, (1, 1, frames, 1)), jnp.float32)
  y, vjp = jax.vjp(MaxPool(3, stride=stride), x)
  values, expected, gradient = x.ravel(), [], np.zeros(frames)
  for centre in range(0, frames, stride):
    window = range(max(0, centre - 1), min(frames, centre + 2))
    best = max(window, key=lambda t: (float(values[t]), -t))
    expected.append(float(values[best]))
    gradient[best] += 1
  assert y.ravel().tolist() == expected
  assert vjp(jnp.ones_like(y))[0].ravel().tolist() == gradient.tolist()


@pytest.mark.parametrize("dilation", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [3, 13, 70])  # a CPU has a form of its own for few
def test_a_dilated_convolution_is_the_librarys_on_every_platform(dilation, stride, frames):
  conv = TemporalConv(4, 6, 5, stride=stride, dilation=dilation, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(1), (2, 3, frames, 4))
  expected = jax.lax.conv_general_dilated(
    *(x.reshape(6, frames, 4), conv.weight[...], (stride,), [(2 * dilation, 2 * dilation)]),
    rhs_dilation=(dilation,),
    dimension_numbers=("NWC", "WIO", "NWC"),
  )
  for form in ("cpu", "gpu"):
    with platform.forced(form):
      np.testing.assert_allclose(conv(x).reshape(expected.shape), expected, atol=1e-5)


def test_branches_share_the_channels_and_one_takes_what_is_left_over():
  # reference: 64 = 14 + 5 · 10 in ST-GCN++; a quarter each in CTR-GCN, the rest to the last.
  model_config = config("stgcnpp", blocks=((3, 64, False, 1),))
  branches = make_network(model_config, rngs=nnx.Rngs(0)).blocks[0].temporal.body.branches
  widths = [branch.layers[0].conv.weight.shape[-1] for branch in branches[:5]]
  assert [*widths, branches[5].weight.shape[-1]] == [14, 10, 10, 10, 10, 10]
  assert neighbours.BRANCHES["ctrgcn"][:2] == ((5, 1), (5, 2))


@pytest.mark.parametrize(
  ("network", "embedded"),
  [
    # As published: an eighth, but 8 of a clip's 3 or 9 channels; in PYSKL of all up to 16.
    ("ctrgcn", {3: 8, 9: 8, 8: 1, 16: 2, 64: 8, 128: 16}),
    ("pyskl_ctrgcn", {3: 8, 16: 8, 24: 3, 64: 8}),
  ],
)
def test_ctr_gcn_embeds_the_channels_of_a_clip_in_eight(network, embedded):
  def conv_of(channels):
    layer = BlockConfig(channels, 64)
    return block.spatial_layer(network, config(network), layer, rngs=nnx.Rngs(0)).body.conv

  for channels, expected in embedded.items():
    conv = nnx.eval_shape(functools.partial(conv_of, channels))
    assert {part.weight.shape[-1] for part in (*conv.left, *conv.right)} == {expected}
    assert {part.weight.shape for part in conv.mix} == {(1, expected, 64)}


@pytest.mark.parametrize(("frames", "stride"), [(7, 1), (7, 2), (8, 2)])
def test_a_window_holds_the_joints_of_its_frames_one_after_the_other(frames, stride):
  x = np.random.default_rng(0).normal(size=(1, 4, frames, 2)).astype(np.float32)
  found = disentangled.windows(x, 3, stride=stride)
  assert found.shape == (1, 12, -(-frames // stride), 2)
  for i, centre in enumerate(range(0, frames, stride)):
    for offset in (-1, 0, 1):
      expected = x[:, :, centre + offset] if 0 <= centre + offset < frames else 0
      joints = slice(4 * (offset + 1), 4 * (offset + 2))
      np.testing.assert_array_equal(found[:, joints, i], np.broadcast_to(expected, (1, 4, 2)))


def test_a_window_links_joints_across_its_frames():
  links = disentangled.window_links(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), 3)
  assert links.shape == (9, 9)
  assert links[0, 4] and links[0, 6] and not links[0, 8]  # a neighbour, itself later, two hops


def test_dropout_falls_between_layers_or_before_the_classifier():
  for network in ("stgcn", "ctrgcn"):
    model = nnx.eval_shape(lambda n=network: make_network(config(n, dropout=0.5), rngs=nnx.Rngs(0)))
    in_blocks = [block.dropout is not None for block in model.blocks]
    assert in_blocks == [False, network == "stgcn"]
    assert (model.dropout is not None) == (network == "ctrgcn")


def test_dropout_leaves_a_blocks_shortcut_alone():
  keep, double = lambda x: x, lambda x: 2 * x
  of_a_block = block.Block(keep, keep, shortcut=double, activation=jnp.sqrt, dropout=jnp.zeros_like)
  np.testing.assert_array_equal(of_a_block(jnp.full(3, 8.0)), 4.0)


def test_dropout_is_off_in_evaluation():
  model = make_network(config("stgcn", dropout=0.5), rngs=nnx.Rngs(0))
  model.eval()
  without = network_of(config("stgcn"), *train_step.split_model(model)[1:])
  without.eval()
  a, b = (run(m, lambda m: m(CLIPS)) for m in (model, without))
  np.testing.assert_array_equal(a, b)
