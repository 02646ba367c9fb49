"""Streams against the reference's arrays and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from golden import golden

from mstgcn_jax import skeletons
from mstgcn_jax.data import streams
from mstgcn_jax.errors import ConfigError

PARTS = {
  "joint+bone": ("joint", "bone"),
  "joint+motion": ("joint", "joint_motion"),
  "bone+motion": ("bone", "bone_motion"),
}


@pytest.mark.parametrize(("name", "prefix"), [("ntu_rgbd", "ntu"), ("kinetics", "kinetics")])
@pytest.mark.parametrize("stream", streams.STREAMS)
def test_every_stream_equals_the_reference(name, prefix, stream):
  data = np.load(golden("data/streams.npz"))
  clips = {part: data[f"{prefix}/{part}"].transpose(0, 4, 2, 3, 1) for part in streams.STREAMS[:4]}
  expected = np.concatenate([clips[part] for part in PARTS.get(stream, (stream,))], axis=-1)
  actual = streams.apply(jnp.asarray(clips["joint"]), stream, skeletons.get(name).bone_parents)
  # One float32 subtraction in both; the reference's motion of bones is a second one.
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
  assert actual.shape[-1] == streams.num_channels(stream, 3)


def test_bone_is_joint_minus_parent_and_a_roots_bone_is_zero():
  joints = jnp.array([[[1.0, 2.0], [4.0, 7.0], [5.0, 5.0]]])
  expected = [[[0, 0], [3, 5], [1, -2]]]
  np.testing.assert_array_equal(streams.apply(joints, "bone", (0, 0, 1)), expected)


def test_motion_is_the_step_to_the_next_frame_and_the_last_is_zero():
  joints = jnp.array([1.0, 4.0, 2.0]).reshape(3, 1, 1)
  np.testing.assert_array_equal(streams.motion(joints).ravel(), [3, -2, 0])


def test_an_unknown_stream_is_refused_with_the_known_ones():
  with pytest.raises(ConfigError, match="'bones' is unknown; known: joint, bone, joint_motion"):
    streams.apply(jnp.zeros((1, 2, 3)), "bones", (0, 0))
  with pytest.raises(ConfigError, match="'motion' is unknown"):
    streams.num_channels("motion", 3)


def test_a_skeleton_of_another_data_set_is_refused():
  with pytest.raises(ConfigError, match="bone_parents has 3 joints, the clips have 2"):
    streams.bone(jnp.zeros((1, 2, 3)), (0, 0, 1))
