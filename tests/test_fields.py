"""Which fields a network reads, beside the program that JAX traces of it."""

import dataclasses
import re

import jax
import pytest
from flax import nnx

from mstgcn_jax.model import ModelConfig, abstract_network, fields
from mstgcn_jax.model.config import BLOCK_TYPES, NETWORKS

OTHERWISE = {
  "attention": "stja", "dropout": 0.5, "spatial_scales": 2, "temporal_scales": 2,
  "layer_type": "sep", "expand_ratio": 1, "reduction": 8, "embedding": 2, "gates": False,
  "branches": ("1x1",), "gcn_scales": 2, "g3d_scales": 2, "windows": (3,), "subsets": 5,
  "edge_weights": "fixed", "kernel_size": 5,
}  # fmt: skip


@pytest.mark.parametrize("network", [*NETWORKS, *BLOCK_TYPES, "ctrgcn/ms", "ms/agcn"])
def test_a_field_changes_the_program_where_a_layer_is_said_to_read_it(network):
  named = {"network": network} if network in NETWORKS else {"block_type": network}
  config = ModelConfig(3, "utd_mhad", blocks=((3, 16, False, 1), (16, 16, True, 2)), **named)
  read = fields.read_by_layers(config)
  assert OTHERWISE.keys() | {"block_type"} == read.keys()
  otherwise = {field: value for field, value in OTHERWISE.items() if not read[field]}
  program = program_of(config)
  assert program_of(dataclasses.replace(config, **otherwise)) == program
  if network in ("mstgcn", "aagcn", "sep"):  # each field takes as long
    for field in OTHERWISE.keys() - otherwise.keys():
      assert program_of(dataclasses.replace(config, **{field: OTHERWISE[field]})) != program, field


def program_of(config: ModelConfig) -> str:
  """What a network computes of clips in training, as JAX prints it."""
  graph, state = nnx.split(abstract_network(config))

  def logits(state, clips):
    model = nnx.merge(graph, state)
    model.train()
    return model(clips)

  clips = jax.ShapeDtypeStruct((1, 2, 16, 20, 3), "float32")
  return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(logits)(state, clips)))  # addresses
