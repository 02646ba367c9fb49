"""Partition strategies against the reference's matrices and by hand."""

import json

import numpy as np
import pytest
from golden import golden

from mstgcn_jax import graph, skeletons
from mstgcn_jax.errors import ConfigError

ARM = skeletons.Skeleton("arm", ("shoulder", "elbow", "wrist"), bone_parents=(0, 0, 1))


@pytest.mark.parametrize("strategy", graph.STRATEGIES)
@pytest.mark.parametrize(("name", "prefix"), [("ntu_rgbd", "ntu"), ("kinetics", "kinetics")])
def test_every_strategy_equals_the_reference(name, prefix, strategy):
  expected = np.load(golden("data/adjacency.npz"))[f"{prefix}/{strategy}"]
  actual = graph.adjacency(skeletons.get(name), strategy)
  assert actual.ndim == 3
  # The same few float64 operations: only the order of a product may differ.
  np.testing.assert_allclose(actual, expected.reshape(actual.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "prefix"), [("ntu_rgbd", "ntu"), ("kinetics", "kinetics")])
def test_edges_and_part_edges_are_the_references(name, prefix):
  data = np.load(golden("data/adjacency.npz"))
  skeleton = skeletons.get(name)
  assert set(skeleton.inward) == {tuple(edge) for edge in data[f"{prefix}/inward"].tolist()}
  expected = json.loads(str(data[f"{prefix}/parts_json"]))
  assert [sorted(part) for part in skeleton.part_edges] == [
    sorted(tuple(edge) for edge in part) for part in expected
  ]


def test_spatial_puts_the_source_first_and_normalises_by_target():
  identity, inward, outward = graph.adjacency(ARM, "spatial")
  np.testing.assert_array_equal(identity, np.eye(3))
  # Inward: the elbow (target, column 1) gathers from the shoulder, the wrist from the elbow.
  np.testing.assert_array_equal(inward, [[0, 1, 0], [0, 0, 1], [0, 0, 0]])
  np.testing.assert_array_equal(outward, [[0, 0, 0], [1, 0, 0], [0, 1, 0]])


def test_an_edge_in_both_directions_is_one_link():
  pair = skeletons.Skeleton("pair", ("a", "b"), inward=((0, 1), (1, 0)), bone_parents=(0, 0))
  np.testing.assert_array_equal(graph.adjacency(pair, "binary"), [[[0, 1], [1, 0]]])
  np.testing.assert_array_equal(graph.adjacency(pair, "uniform"), [[[0.5, 0.5], [0.5, 0.5]]])


def test_uniform_columns_sum_to_one():
  for name in skeletons.names():
    np.testing.assert_allclose(graph.adjacency(skeletons.get(name), "uniform").sum(1), 1)


@pytest.mark.parametrize("strategy", graph.STRATEGIES)
def test_every_layout_has_finite_matrices_in_every_strategy(strategy):
  for name in skeletons.names():
    assert np.isfinite(graph.adjacency(skeletons.get(name), strategy)).all()


def test_a_strategy_without_its_parts_refuses_by_name():
  with pytest.raises(ConfigError, match=r"'parts' needs `part_edges`.*'arm'"):
    graph.adjacency(ARM, "parts")


def test_an_unknown_strategy_is_refused_with_the_known_ones():
  with pytest.raises(ConfigError, match="'spatail' is unknown; known: uniform"):
    graph.adjacency(ARM, "spatail")


def test_by_hops_links_joints_by_their_distance_and_each_to_itself():
  chain = np.eye(4, k=1) + np.eye(4, k=-1)
  itself, one, two, three, four = graph.by_hops(chain, 5)
  np.testing.assert_array_equal(itself, np.eye(4))
  np.testing.assert_allclose(one[:, 0], [1 / 2, 1 / 2, 0, 0])
  np.testing.assert_allclose(two[:, 1], [0, 1 / 2, 0, 1 / 2])
  np.testing.assert_allclose(three[:, 3], [1 / 2, 0, 0, 1 / 2])
  np.testing.assert_array_equal(four, np.eye(4))  # farther than any two are
