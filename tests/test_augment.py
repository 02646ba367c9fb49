"""Augmentation: cores against the reference and by hand; draws keyed, per clip, mask kept."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import golden

from mstgcn_jax import skeletons
from mstgcn_jax.data import augment
from mstgcn_jax.data.augment import Augmentation
from mstgcn_jax.errors import ConfigError

NTU = skeletons.get("ntu_rgbd")
KINETICS = skeletons.get("kinetics")
ALL = Augmentation(
  rotation=(0.3, 0.3, 0.3),
  scale=(0.8, 1.2),
  shear=0.2,
  jitter=0.01,
  mirror=0.5,
  random_move=True,
)
KEY = jax.random.key(7)
apply = functools.partial(
  jax.jit(augment.apply, static_argnames=("options", "skeleton", "center")), center=None
)
drop = jax.jit(augment.drop, static_argnames="options")
openpose_match = jax.jit(augment.openpose_match)


def clips_of(batch: int = 4, frames: int = 6) -> jax.Array:
  """Random clips; person 1 is tracked in the first frames only, joint 5 of person 0 never."""
  clips = np.random.default_rng(0).normal(size=(batch, 2, frames, 25, 3)).astype(np.float32)
  clips[:, 1, frames // 2 :] = 0
  clips[:, 0, :, 5] = 0
  return jnp.asarray(clips)


def reference_clip(name: str) -> np.ndarray:
  return np.load(golden("data/augment.npz"))[name].transpose(3, 1, 2, 0)


def test_move_with_the_drawn_poses_equals_the_reference():
  moved = augment.move(
    jnp.asarray(reference_clip("input"), jnp.float32),
    degrees=jnp.array([-10.0, 5.0]),
    scales=jnp.array([0.9, 1.1]),
    shifts=jnp.array([[-0.2, 0.0], [0.1, 0.2]]),
  )
  expected = reference_clip("random_move/angle(-10,5)_scale(0.9,1.1)_tx(-0.2,0.1)_ty(0,0.2)")
  np.testing.assert_allclose(moved, expected, rtol=0, atol=2e-6)  # float32 against float64


def test_openpose_match_equals_the_reference():
  clip = jnp.asarray(reference_clip("openpose_match/input"), jnp.float32)
  expected = reference_clip("openpose_match/output")
  # The same numbers at other places; the golden file is float64.
  np.testing.assert_allclose(openpose_match(clip), expected, rtol=1e-6)


def test_rotation_about_each_axis_is_the_right_handed_one():
  quarter = jnp.pi / 2
  x, y, z = jnp.eye(3)
  for angles, start, end in (((1, 0, 0), y, z), ((0, 1, 0), z, x), ((0, 0, 1), x, y)):
    matrix = augment.rotation_matrix(quarter * jnp.array(angles, jnp.float32))
    np.testing.assert_allclose(augment.transform(start, matrix), end, atol=1e-6)


def test_rotation_is_about_x_then_y_then_z():
  a, b, c = 0.3, -0.7, 1.1
  turn = lambda *angles: augment.rotation_matrix(jnp.array(angles))
  expected = turn(0, 0, c) @ turn(0, b, 0) @ turn(a, 0, 0)
  np.testing.assert_allclose(turn(a, b, c), expected, atol=1e-6)


def test_transform_leaves_a_score_alone():
  point = jnp.array([1.0, 2.0, 0.5])
  np.testing.assert_array_equal(augment.transform(point, 2 * jnp.eye(2)), [2, 4, 0.5])


def test_shear_leans_every_axis_on_the_others():
  offsets = jnp.arange(9.0).reshape(3, 3)
  np.testing.assert_array_equal(augment.shear_matrix(offsets), [[1, 1, 2], [3, 1, 5], [6, 7, 1]])


def test_mirror_negates_x_and_swaps_left_and_right():
  clip = jnp.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]])
  np.testing.assert_array_equal(augment.mirror(clip, ((0, 2),)), [[-3, 7], [-2, 6], [-1, 5]])


def test_normalise_counts_a_standard_deviation_of_zero_as_one_and_keeps_the_untracked_at_zero():
  x = jnp.array([[5.0, 5.0], [0.0, 0.0]])
  mean, std = jnp.array([[1.0, 2.0], [1.0, 2.0]]), jnp.array([[2.0, 0.0], [2.0, 0.0]])
  np.testing.assert_array_equal(augment.normalise(x, mean, std), [[2, 3], [-0.5, -2]])
  seen = jnp.array([True, False])
  np.testing.assert_array_equal(augment.normalise(x, mean, std, seen), [[2, 3], [0, 0]])


def test_nothing_is_done_when_everything_is_off():
  clips = clips_of()
  assert augment.apply(KEY, clips, Augmentation(), NTU, None) is clips
  assert augment.apply(KEY, clips, Augmentation(dimensions=2), NTU, None) is clips


def test_what_is_untracked_stays_zero():
  clips = clips_of()
  options = dataclasses.replace(ALL, mirror=0.0)
  result = apply(KEY, clips, options, NTU)
  untracked = np.zeros((4, 2, 6, 25), bool)  # as `clips_of` says
  untracked[:, 1, 3:] = True
  untracked[:, 0, :, 5] = True
  assert not np.any(np.asarray(result)[untracked])


def test_mirroring_takes_an_untracked_joint_to_the_other_side():
  result = apply(KEY, clips_of(), Augmentation(mirror=1.0), NTU)
  assert not result[:, 0, :, 9].any()  # the left elbow was untracked, the right one is now
  np.testing.assert_allclose(result[:, 0, :, 5, 0], -clips_of()[:, 0, :, 9, 0])


def test_the_draws_follow_the_key():
  first, again = (apply(KEY, clips_of(), ALL, NTU) for _ in range(2))
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, apply(jax.random.key(8), clips_of(), ALL, NTU))


def test_a_clips_draws_do_not_depend_on_the_batch_size():
  whole = apply(KEY, clips_of(), ALL, NTU)
  part = apply(KEY, clips_of()[:2], ALL, NTU)
  # Other shapes may be summed in another order, the draws are the same.
  np.testing.assert_allclose(part, whole[:2], rtol=0, atol=1e-5)


def test_clips_of_a_batch_get_draws_of_their_own_and_persons_share_them():
  clips = jnp.broadcast_to(clips_of()[:1, :1], (3, 2, 6, 25, 3))
  options = Augmentation(rotation=(0.3, 0.3, 0.3), scale=(0.8, 1.2), shear=0.1, random_move=True)
  result = apply(KEY, clips, options, NTU)
  np.testing.assert_array_equal(result[:, 0], result[:, 1])
  assert not np.array_equal(result[0], result[1])


def test_rotation_keeps_lengths_and_scale_is_within_its_bounds():
  clips = jnp.ones((200, 1, 1, 25, 3))
  length = jnp.sqrt(3.0)
  rotated = apply(KEY, clips, Augmentation(rotation=(0.5, 0.5, 0.5)), KINETICS)
  np.testing.assert_allclose(jnp.linalg.norm(rotated, axis=-1), length, rtol=1e-6)
  factors = jnp.linalg.norm(apply(KEY, clips, Augmentation(scale=(0.8, 1.5)), KINETICS), axis=-1)
  assert 0.8 <= factors.min() / length < 0.85 and 1.45 < factors.max() / length <= 1.5


def test_an_untracked_centre_of_another_person_stays_untracked():
  clips = clips_of().at[:, :, :, NTU.center].set(0)  # of person 0, because clips are centred on it
  options = Augmentation(jitter=0.1, random_move=True)
  result = apply(KEY, clips, options, NTU, center=NTU.center)
  assert np.all(result[:, 0, :, NTU.center].any(-1))
  assert not np.any(result[:, 1, :, NTU.center])


def test_an_untracked_centre_stays_untracked_where_clips_are_not_centred():
  clips = clips_of().at[:, :, :, NTU.center].set(0)
  result = apply(KEY, clips, Augmentation(jitter=0.1, random_move=True), NTU, center=None)
  assert not np.any(result[:, :, :, NTU.center])


def test_a_rotation_is_within_its_limits_and_goes_both_ways():
  clips = jnp.zeros((2000, 1, 1, 25, 3)).at[..., 0].set(1.0)
  turned = apply(KEY, clips, Augmentation(rotation=(0.0, 0.0, 0.4)), KINETICS)[:, 0, 0, 0]
  angles = np.arctan2(turned[:, 1], turned[:, 0])
  assert -0.4 <= angles.min() < -0.39 and 0.39 < angles.max() <= 0.4
  assert abs(angles.mean()) < 0.03  # 0.4 / sqrt(3 * 2000) = 0.005


def test_clips_are_mirrored_with_the_probability_asked_for():
  clips = jnp.ones((400, 1, 1, 25, 3))
  mirrored = apply(KEY, clips, Augmentation(mirror=0.3), NTU)[:, 0, 0, 0, 0] < 0
  assert abs(mirrored.mean() - 0.3) < 0.09  # four standard deviations


def test_random_move_draws_its_two_poses_from_the_reference_s_candidates():
  # Joints at x = 1 and x = 2, y = 0: their difference tells angle and scale, the rest the shift.
  clips = jnp.zeros((400, 1, 2, 25, 3)).at[..., 0].set(1.0).at[..., 1, 0].set(2.0)
  moved = apply(KEY, clips, Augmentation(random_move=True), KINETICS)
  moved = np.asarray(moved, np.float64)[:, 0]
  across = moved[:, :, 1, :2] - moved[:, :, 0, :2]  # [clip, frame, x and y]
  shift = moved[:, :, 0, :2] - across
  angle = np.degrees(np.arctan2(across[..., 1], across[..., 0]))
  size = np.linalg.norm(across, axis=-1)
  found = lambda values: np.unique(values.round(3) + 0.0).tolist()
  for frame in range(2):
    assert found(angle[:, frame]) == [-10, -5, 0, 5, 10]
    assert found(size[:, frame]) == [0.9, 1.0, 1.1]
    for axis in range(2):
      assert found(shift[:, frame, axis]) == [-0.2, -0.1, 0, 0.1, 0.2]
  # The poses are drawn apart, and so are x and y.
  assert np.abs(angle[:, 0] - angle[:, 1]).max() > 19
  assert np.abs(size[:, 0] - size[:, 1]).max() > 0.19
  assert np.abs(shift[:, 0] - shift[:, 1]).max() > 0.39
  assert np.abs(shift[..., 0] - shift[..., 1]).max() > 0.39


def test_shear_is_within_its_limit_and_comes_before_the_rotation():
  clips = jnp.zeros((200, 1, 1, 25, 3)).at[..., :3, :].set(jnp.eye(3))  # joints one along each axis
  turned = lambda **options: np.asarray(apply(KEY, clips, Augmentation(**options), KINETICS))
  columns = lambda **options: turned(**options)[:, 0, 0, :3].swapaxes(1, 2)  # what each clip drew
  shear = columns(shear=0.2)
  off = shear[:, ~np.eye(3, dtype=bool)]
  assert -0.2 <= off.min() < -0.19 and 0.19 < off.max() <= 0.2
  np.testing.assert_array_equal(shear[:, np.eye(3, dtype=bool)], 1)
  rotation = columns(rotation=(0.5, 0.5, 0.5))
  both = columns(rotation=(0.5, 0.5, 0.5), shear=0.2)
  np.testing.assert_allclose(both, rotation @ shear, atol=1e-6)


def test_dropout_probabilities_are_those_asked_for():
  clips = jnp.ones((50, 2, 40, 25, 3))
  joints = drop(KEY, clips, Augmentation(joint_dropout=0.2))
  dropped = np.all(joints == 0, axis=(2, 4))  # [batch, person, joint]: throughout the clip
  assert dropped.sum() == (joints == 0).sum() / 120
  # 2500 joints, 2000 frames: within 4 standard deviations of 0.008.
  assert abs(dropped.mean() - 0.2) < 0.035
  frames = drop(KEY, clips, Augmentation(frame_dropout=0.2))
  dropped = np.all(frames == 0, axis=(1, 3, 4))  # for both persons
  assert abs(dropped.mean() - 0.2) < 0.035 and dropped.sum() == (frames == 0).sum() / 150


def test_dropped_joints_are_each_person_s_own_and_dropped_frames_everybody_s():
  clips = jnp.ones((20, 2, 8, 25, 3))
  joints = np.asarray(drop(KEY, clips, Augmentation(joint_dropout=0.5)))[..., 0]
  assert (joints == joints[:, :, :1]).all() and (joints[:, 0] != joints[:, 1]).any()
  frames = np.asarray(drop(KEY, clips, Augmentation(frame_dropout=0.5)))[..., 0]
  assert (frames == frames[:, :1, :, :1]).all() and (frames[0] != frames[1]).any()


def test_what_is_dropped_follows_the_key_and_not_the_batch_size():
  clips, options = jnp.ones((4, 2, 8, 25, 3)), Augmentation(joint_dropout=0.5, frame_dropout=0.5)
  whole = drop(KEY, clips, options)
  np.testing.assert_array_equal(drop(KEY, clips[2:], options, first=2), whole[2:])
  assert not np.array_equal(drop(jax.random.key(8), clips, options), whole)
  assert augment.drop(KEY, clips, Augmentation()) is clips


def test_noise_is_every_joint_s_frame_s_and_coordinate_s_own():
  noise = np.asarray(apply(KEY, jnp.ones((1, 2, 3, 25, 3)), Augmentation(jitter=1.0), KINETICS))
  assert len(np.unique(noise)) == noise.size


def test_jitter_has_the_standard_deviation_asked_for():
  clips = jnp.ones((8, 2, 40, 25, 3))
  noise = apply(KEY, clips, Augmentation(jitter=0.05), KINETICS) - 1
  assert abs(float(noise.std()) - 0.05) < 0.001
  flat = apply(KEY, clips, Augmentation(jitter=0.05, dimensions=2), KINETICS)
  np.testing.assert_array_equal(flat[..., 2], 1)


def test_switching_one_operation_on_leaves_the_others_draws_alone():
  clips = clips_of()
  alone = apply(KEY, clips, Augmentation(scale=(0.5, 2.0)), KINETICS)
  both = apply(KEY, clips, Augmentation(scale=(0.5, 2.0), mirror=1.0), NTU)
  np.testing.assert_allclose(both, augment.mirror(alone, NTU.mirror), atol=1e-6)


def test_openpose_match_is_applied_before_the_rest():
  clip = np.random.default_rng(1).uniform(0.1, 1, (1, 3, 5, 18, 3)).astype(np.float32)
  options = Augmentation(openpose_match=True, dimensions=2)
  linked = apply(KEY, jnp.asarray(clip), options, KINETICS)[0]
  np.testing.assert_array_equal(linked, openpose_match(clip[0]))


def test_what_the_skeleton_or_the_clips_do_not_have_is_refused_by_name():
  hand = skeletons.get("shrec")
  with pytest.raises(ConfigError, match=r"mirroring needs `mirror`.*'shrec'"):
    augment.apply(KEY, jnp.ones((1, 1, 2, 22, 3)), Augmentation(mirror=0.5), hand, None)
  with pytest.raises(ConfigError, match="dimensions is 3, the clips have 2 channels"):
    augment.apply(KEY, jnp.ones((1, 1, 2, 17, 2)), Augmentation(shear=0.5), hand, None)
  with pytest.raises(ConfigError, match="needs x, y and score"):
    augment.openpose_match(jnp.ones((2, 3, 18, 2)))


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("rotation", (1, 2)),
    ("rotation", (-0.1, 0, 0)),
    ("rotation", 0.3),
    ("rotation", (0, 0, float("nan"))),
    ("scale", (0, 1)),
    ("scale", (1.2, 0.8)),
    ("scale", (1, float("inf"))),
    ("shear", -1),
    ("jitter", "much"),
    ("joint_dropout", 1.0),
    ("frame_dropout", -0.1),
    ("mirror", 1.1),
    ("mirror", True),
    ("random_move", 1),
    ("openpose_match", 1),
    ("dimensions", 4),
  ],
)
def test_a_wrong_option_is_named_with_its_value(field, value):
  with pytest.raises(ConfigError, match=f"augment.{field} must be .*, not "):
    Augmentation(**{field: value})


def test_rotation_out_of_the_plane_is_refused_for_flat_clips():
  for rotation in ((0.1, 0, 0), (0, 0.1, 0)):
    with pytest.raises(ConfigError, match=r"rotation must be \(0, 0, angle\)"):
      Augmentation(rotation=rotation, dimensions=2)
  assert Augmentation(rotation=[0, 0, 1], dimensions=2).rotation == (0.0, 0.0, 1.0)


def test_augmentation_that_fits_the_data_leaves_out_what_they_do_not_allow():
  wanted = Augmentation(rotation=(0.1, 0.2, 0.3), mirror=0.5, dimensions=0)
  bare = skeletons.Skeleton("bare", ("a", "b"), bone_parents=(0, 0))
  assert wanted.fitted(3, skeletons.get("ntu_rgbd")) == dataclasses.replace(wanted, dimensions=3)
  flat = Augmentation(rotation=(0, 0, 0.3), dimensions=2)
  assert wanted.fitted(2, bare) == flat
  said = dataclasses.replace(wanted, dimensions=3)
  assert said.fitted(2, bare) == said  # and `apply` refuses it
