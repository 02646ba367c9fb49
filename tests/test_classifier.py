"""A run as a function: which clips it takes, which it refuses, what it does to a recording."""

import dataclasses

import jax
import numpy as np
import pytest
import stick_poses
import tiny
from flax import nnx

from data_prep.readers.interface import Clip
from mstgcn_jax import files, skeletons
from mstgcn_jax.data import facing, normalise
from mstgcn_jax.data.data_set import Persons, open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import MSTGCN, ModelConfig
from mstgcn_jax.training import checkpoints
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.train_step import TrainState, split_model
from mstgcn_jax.use.classifier import Classifier, in_batches, of_streams
from mstgcn_jax.use.stream import Stream

NTU = skeletons.get("ntu_rgbd")
MODEL = {
  "num_classes": 3,
  "blocks": ((3, 8, False, 1), (8, 8, True, 1)),
  "block_type": "basic",
  "kernel_size": 3,
}


def write_run(
  workdir,
  rotated=True,
  center=NTU.center,
  stream="joint",
  normalization=None,
  preparation=None,
  **changes,
):
  """A workdir of a network as it is initialised, as if it had been trained on such data.

  Of several streams, given as a tuple, all have the same values.
  """
  streams = [stream] if isinstance(stream, str) else list(stream)
  config = ModelConfig(**(MODEL | changes))
  _, params, batch_stats = split_model(MSTGCN(config, rngs=nnx.Rngs(0)))
  zero = np.zeros((), np.int32)
  key = np.zeros(2, np.uint32)
  state = TrainState(zero, key, params, batch_stats, opt_state={}, normalization=normalization)
  with checkpoints.make_manager(workdir) as manager:
    states = dict.fromkeys(streams, jax.tree.map(jax.numpy.asarray, state))
    checkpoints.save(manager, 0, states, checkpoints.Progress())
    checkpoints.wait(manager)
  facts = {
    "model": config.to_dict(),
    "class_names": ["a", "b", "c"],
    "streams": streams,
    "input": {"window": 12, "num_persons": config.num_persons, "sampling": "loop"},
    "loading": {"fill": "loop", "center": center},
    "preparation": {"rotated": rotated} | (preparation or {}),
  }
  files.write_json(workdir / "model.json", facts)
  return workdir


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def classify(workdir):
  return Classifier(workdir)


def recording(persons=2, seed=0):
  """[person, frame, joint, 3] in the coordinates of some camera."""
  return np.random.default_rng(seed).normal(size=(persons, 9, 25, 3)).astype(np.float32)


def clips(seed=0):
  return np.random.default_rng(seed).normal(size=(1, 2, 12, 25, 3)).astype(np.float32)


def test_a_batch_is_started_before_the_one_before_it_is_read():
  happened = []

  class OnDevice:
    def __init__(self, batch):
      happened.append(f"{batch} started")
      self.batch = batch

    def __array__(self, *args, **kwargs):
      happened.append(f"{self.batch} read")
      return self.batch

  found = list(in_batches(OnDevice, map(np.float32, (1, 2, 3)), 2))
  assert [rows.tolist() for rows in found] == [[1, 2], [3]]
  first, second = "[1. 2.]", "[3. 0.]"
  assert happened == [f"{first} started", f"{second} started", f"{first} read", f"{second} read"]


def test_a_joint_of_score_0_is_not_tracked(tmp_path):
  coco = skeletons.get("coco")
  options = {"rotated": False, "center": None, "skeleton": coco}
  classify = Classifier(write_run(tmp_path, preparation={"scored": True}, **options))
  joints = np.random.default_rng(0).uniform(0.1, 1, (1, 12, 17, 3)).astype(np.float32)
  joints[0, 3, 5, 2] = 0
  expected = joints.copy()
  expected[0, 3, 5] = 0
  np.testing.assert_array_equal(classify.from_recording(joints)[0], expected[0])
  stream = Stream(classify, frames=12)
  joints[..., 2] = 0
  assert all(stream.push(frame) is None for frame in joints[0])  # nobody is tracked


def test_what_was_trained_in_bfloat16_computes_in_float32_on_a_cpu(tmp_path, classify):
  half = Classifier(write_run(tmp_path, dtype="bfloat16"))
  # The same weights, so bit for bit the same numbers.
  np.testing.assert_array_equal(half(clips()), classify(clips()))


def test_a_recording_is_turned_as_the_training_data_were(classify):
  raw = recording()
  read = Clip("x", 0, normalise.normalise(list(raw), NTU, by_sum=True))
  expected = classify.from_recording(read.persons)
  as_it_is = classify.from_recording(Persons(list(raw)))
  assert np.abs(expected - as_it_is).max() > 0.1  # turning matters
  np.testing.assert_allclose(classify.from_recording(raw), expected, atol=1e-5)
  np.testing.assert_allclose(classify.from_recording(list(raw)), expected, atol=1e-5)
  # The spine is upright where the shoulders are level; here they point along x.
  shoulders = classify.from_recording(raw[:1])[0, 0, [4, 8]]
  np.testing.assert_allclose((shoulders[0] - shoulders[1])[1:], 0, atol=1e-5)


def test_pixels_become_the_fractions_of_the_picture_that_the_run_takes(tmp_path):
  coco = skeletons.get("coco")
  options = {"rotated": False, "center": None, "skeleton": coco}
  taken = {"scored": True, "units": "image fractions"}
  classify = Classifier(write_run(tmp_path / "run", preparation=taken, **options))
  pixels = np.random.default_rng(0).uniform(1, 400, (12, 17, 3)).astype(np.float32)
  pixels[..., 2] = 0.9
  pixels[3, 5] = pixels[:, 8:] = 0  # most joints are not tracked
  with pytest.raises(DataError, match=r"reach 39\d\.\d+, 39\d\.\d+: pixels.*does not know"):
    classify.from_recording(pixels)
  known = taken | {"picture": [640, 480]}
  classify = Classifier(write_run(tmp_path / "known", preparation=known, **options))
  clip = classify.from_recording(pixels)[0]
  expected = pixels / [640, 480, 1] + [-0.5, -0.5, 0]
  expected[..., 1] *= -1
  expected *= pixels.any(-1, keepdims=True)
  np.testing.assert_allclose(clip, expected, atol=1e-6)
  clip[0, 0, 0] = 5  # far off
  np.testing.assert_array_equal(classify.from_recording(clip)[0], clip)  # fractions as they are
  far = pixels.copy()
  far[0, 0, 0] = 6400  # estimators put single joints anywhere
  assert classify.from_recording(far)[0, 0, 0, 0] == 9.5
  with pytest.raises(DataError, match=r"the picture \(640x480\)"):
    classify.from_recording(2 * pixels)
  classify.picture = (1280, 960)
  pixels[..., :2] *= 2
  np.testing.assert_allclose(classify.from_recording(pixels)[0], expected, atol=1e-6)
  stream = Stream(classify, frames=12)
  *_, clip = map(stream.take, pixels)
  np.testing.assert_allclose(clip[0], expected, atol=1e-6)


def test_a_recording_is_turned_to_the_front_first_where_the_training_data_were(tmp_path):
  mediapipe = skeletons.get("mediapipe")
  back = stick_poses.as_layout(stick_poses.people(0, seed=1, frames=12)[:1], "mediapipe")
  (back,) = facing.to_the_front(list(back), mediapipe, "y")
  back = back[None] * np.float32([-1, 1, -1])  # half a turn: the back to the camera
  back[:, :, 11, 1] += 0.02  # a shoulder higher: the shortest way to the front is over the head
  options = {"center": None, "skeleton": mediapipe, "preparation": {"upward": "y"}}
  classify = Classifier(write_run(tmp_path, **options))
  read = Persons(normalise.normalise(list(back), mediapipe, by_sum=False, upward="y"))
  expected = classify.from_recording(read)
  np.testing.assert_allclose(classify.from_recording(back), expected, atol=1e-6)
  without = normalise.normalise(list(back), mediapipe, by_sum=False)
  assert np.abs(classify.from_recording(Persons(without)) - expected).max() > 0.1
  z_up = np.stack([back[..., 0], -back[..., 2], back[..., 1]], -1)
  np.testing.assert_allclose(classify.from_recording(z_up, upward="z"), expected, atol=1e-5)
  classify.upward = "-y"  # as MediaPipe has it
  upside_down = back * np.float32([1, -1, -1])
  np.testing.assert_allclose(classify.from_recording(upside_down), expected, atol=1e-5)
  with pytest.raises(ConfigError, match="upward is 'up'; expected one of x, y, z"):
    classify.from_recording(back, upward="up")
  classify.upward = ""
  with pytest.raises(ConfigError, match="upward is ''; expected one of x, y, z"):
    classify.from_recording(back)


def test_centred_data_that_were_not_turned_take_recordings_as_they_are(tmp_path):
  classify = Classifier(write_run(tmp_path, rotated=False))
  raw = recording()
  expected = classify.from_recording(Persons(list(raw)))
  np.testing.assert_allclose(classify.from_recording(raw), expected, atol=1e-6)


def test_a_centre_that_is_missing_lies_on_the_line_where_data_are_centred_but_not_turned(tmp_path):
  classify = Classifier(write_run(tmp_path, rotated=False))
  filled = recording()
  filled[0, 4, NTU.center] = (filled[0, 3, NTU.center] + filled[0, 5, NTU.center]) / 2
  missing = filled.copy()
  missing[0, 4, NTU.center] = 0
  expected = classify.from_recording(filled)
  np.testing.assert_allclose(classify.from_recording(missing), expected, atol=1e-6)


def test_a_run_that_was_rematerialised_can_be_closed_over(tmp_path):
  remat = checkpoints.load_model(write_run(tmp_path / "remat", remat=True))
  plain = checkpoints.load_model(write_run(tmp_path / "plain"))
  traced = jax.jit(lambda x: remat(x))(clips())
  np.testing.assert_allclose(traced, plain(clips()), atol=1e-5)


def test_an_axis_becomes_another_without_mirroring():
  person = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
  for up, axis in facing.AXES.items():
    for wanted, other in facing.AXES.items():
      (turned,) = facing.with_up([person], up, wanted)
      np.testing.assert_allclose(turned @ other, person @ axis, atol=1e-6)
      handed = lambda clip: np.linalg.det(clip[:, :3].astype(np.float64))
      np.testing.assert_allclose(handed(turned), handed(person), atol=1e-5)


@pytest.mark.parametrize(
  "wrong",
  [
    *({"upward": "up"}, {"units": 1}, {"picture": [640]}, {"picture": [640, 0]}, {"other": 1}),
    *({"rotated": "yes"}, {"scored": None}, {"by_sum": "y"}, {"picture": ["640", "480"]}),
    *({"reading": ["own"]}, {"reading": {"own": [1]}}),
  ],
)
def test_a_preparation_that_nobody_wrote_is_damage(tmp_path, wrong):
  with pytest.raises(DataError, match=r"model\.json is damaged"):
    workdir_lib.read(write_run(tmp_path, preparation=wrong))


@pytest.mark.parametrize(
  "wrong",
  [
    *({"class_names": ["a", "b"]}, {"class_names": "abc"}, {"streams": []}, {"other": 1}),
    *({"class_names": ["a", "b", 3]}, {"streams": ["knee"]}, {"streams": {"joint": 1}}),
    *({"input": {"window": 2.5}}, {"input": {"body_size": 1}}, {"input": {"other": 1}}),
    *({"loading": {"fill": "none", "center": 1}}, {"loading": {"fill": "loop"}}),
    *(
      {"joint_at_zero": 25},
      {"joint_at_zero": 1.0},
      {"joint_at_zero": True},
      {"loading": {"fill": "loop", "center": 25}},
    ),
    *({"data": {"name": 3}}, {"input": {"num_persons": 3}}, {"input": {"window": 0}}),
    *({"input": {"origin": "middle"}}, {"input": {"views": 1.5}}),
  ],
)
def test_facts_that_nobody_wrote_are_damage(workdir, tmp_path, wrong):
  facts = files.read_json(workdir / "model.json")
  ((name, value),) = wrong.items()
  value = facts["input"] | value if name == "input" else value
  files.write_json(tmp_path / "model.json", facts | {name: value})
  with pytest.raises(DataError, match=rf"model\.json is damaged, .*\({name} is "):
    workdir_lib.read(tmp_path)


def test_facts_are_read_as_they_were_written(workdir, tmp_path):
  known = {
    "data_name": "mine",
    "data_identity": {"clips": 3},
    "code": "0123",
    "joint_at_zero": None,
  }
  prepared = {"scored": True, "upward": "y", "picture": (640, 480), "reading": {"own": ["--flat"]}}
  prepared |= {"rotated": False, "by_sum": True, "units": "image fractions"}
  facts = dataclasses.replace(workdir_lib.read(workdir), **known, **prepared)
  bones = facts.model.skeleton.bone_parents
  changes = {"kind": "uniform", "views": 4, "origin": "first_frame", "bone_parents": bones}
  changes |= {"fill": "zero", "center": 3}
  facts = dataclasses.replace(facts, sampling=dataclasses.replace(facts.sampling, **changes))
  facts.write(tmp_path)
  assert workdir_lib.read(tmp_path) == facts


@pytest.mark.parametrize("center", [1, None])
def test_what_earlier_runs_do_not_say_is_as_it_was_then(workdir, tmp_path, center):
  facts = files.read_json(workdir / "model.json") | {"loading": {"fill": "loop", "center": center}}
  del facts["preparation"]
  files.write_json(tmp_path / "model.json", facts)
  found = workdir_lib.read(tmp_path)
  assert (found.rotated, found.joint_at_zero) == (center is not None, NTU.center)


def test_what_one_side_does_not_know_is_no_difference(workdir):
  facts = workdir_lib.read(workdir)
  assert facts.data_differences(None) == []  # as of imported weights
  known = dataclasses.replace(facts, code="0123")
  assert known.code_differences(facts) == facts.code_differences(known) == []
  assert dataclasses.replace(facts, rotated=None).clip_differences(facts) == []
  assert dataclasses.replace(facts, units="px").clip_differences(facts) == []


@pytest.mark.parametrize(
  ("here", "there", "said"),
  [
    ({"rotated": True}, {"rotated": False}, ("turned upright", "not turned")),
    ({"joint_at_zero": 0}, {"joint_at_zero": None}, ("centred at joint 0", "not centred")),
    ({"scored": True}, {}, ("of coordinates and a score", "of coordinates alone")),
    ({"units": "m"}, {"units": "px"}, ("in m", "in px")),
    ({"fill": "loop"}, {"fill": "zero"}, ("looped to the window", "ending in zeros")),
    ({"origin": "frame"}, {"origin": "first_frame"}, ("data.center=frame", "center=first_frame")),
    ({"bone_parents": (0,)}, {"bone_parents": None}, ("data.body_size=True", "body_size=False")),
  ],
)
def test_what_clips_were_prepared_otherwise_is_said_of_both(workdir, here, there, said):
  facts = workdir_lib.read(workdir)

  def of(changes):
    if changes.keys() & {"fill", "origin", "bone_parents"}:
      return dataclasses.replace(facts, sampling=dataclasses.replace(facts.sampling, **changes))
    return dataclasses.replace(facts, **changes)

  (found,) = of(here).clip_differences(of(there))
  assert all(text.endswith(words) for text, words in zip(found, said, strict=True))


def test_a_network_that_is_another_function_is_named_by_its_fields(workdir):
  facts = workdir_lib.read(workdir)
  changed = lambda **fields: facts.model_differences(dataclasses.replace(facts.model, **fields))
  assert changed() == changed(dtype="bfloat16", remat=True) == []
  assert changed(dropout=0.5) == ["dropout: 0.0 in the run, 0.5 here"]
  skeleton = facts.model.skeleton
  turned = dataclasses.replace(skeleton, joints=skeleton.joints[::-1])
  assert changed(skeleton=turned) == [f"skeleton: another {skeleton.name} in the run"]


def test_code_that_changed_and_streams_that_are_not_there_are_named(workdir, tmp_path):
  facts = dataclasses.replace(workdir_lib.read(workdir), code="0123", streams=("bone", "joint"))
  assert facts.code_differences(facts) == []
  (line,) = facts.code_differences(dataclasses.replace(facts, code="4567"))
  assert line.endswith("is not what it was when the run was trained")
  by_a_loss = dataclasses.replace(facts, loss_code="01")
  by_a_loss.write(tmp_path)
  assert workdir_lib.read(tmp_path) == by_a_loss
  assert by_a_loss.code_differences(facts) == facts.code_differences(by_a_loss) == []
  (line,) = by_a_loss.code_differences(dataclasses.replace(facts, loss_code="23"))
  assert line == "the file of the loss is not what it was when the run was trained"
  assert (facts.stream(None), facts.stream("joint")) == ("bone", "joint")
  with pytest.raises(ConfigError, match="no stream 'knee'; it has bone, joint"):
    facts.stream("knee")


def test_a_recording_is_turned_by_sum_where_its_data_set_was(tmp_path):
  classify = Classifier(write_run(tmp_path, preparation={"by_sum": True}))
  first, second = recording()
  first[0] = first[4] = 0  # the reference moves the other frames together
  second[2, 5] = (1, 1, -2)
  stored = Persons(normalise.normalise([first, second], NTU, by_sum=True))
  np.testing.assert_array_equal(
    classify.from_recording([first, second]), classify.from_recording(stored)
  )


def test_persons_that_a_reader_has_turned_are_not_turned_again(classify):
  read = Clip("x", 0, normalise.normalise(list(recording()), NTU, by_sum=True)).persons
  first = classify.from_recording(read)[0]
  np.testing.assert_array_equal(classify.from_recording(read[:1])[0], first)


def test_a_recording_for_data_taken_as_they_are_is_not_turned(tmp_path):
  classify = Classifier(write_run(tmp_path, rotated=False, center=None))
  raw = recording()
  raw[1, 5:] = 0  # who leaves does not come again before the others
  np.testing.assert_array_equal(classify.from_recording(raw)[:, :9], raw)


def test_a_recording_is_placed_as_the_training_data_were(tmp_path):
  workdir = write_run(tmp_path)
  facts = files.read_json(workdir / "model.json")
  facts["input"] |= {"sampling": "random_sorted", "origin": "first_frame", "body_size": True}
  files.write_json(workdir / "model.json", facts)
  classify = Classifier(workdir)
  raw = recording()
  one, thrice = (classify.from_recording(size * raw) for size in (1, 3))
  np.testing.assert_allclose(
    thrice, one, rtol=1e-4, atol=1e-5
  )  # whatever size they are recorded at
  assert np.abs(one[0, -1, NTU.center]).max() > 0.1  # the way they went is there
  assert workdir_lib.read(workdir).sampling == classify.sampling
  workdir_lib.read(workdir).write(tmp_path)
  assert files.read_json(workdir / "model.json")["input"] == facts["input"] | {"views": 1}


def test_an_upward_axis_is_refused_where_nothing_is_turned_about_it(classify):
  with pytest.raises(ConfigError, match=r"upward is 'y'; .* no such axis: leave it out"):
    classify.from_recording(recording(), upward="y")
  with pytest.raises(ConfigError, match="upward is 'up'; expected one of x"):
    classify.from_recording(recording(), upward="up")


def test_arrays_of_jax_are_taken_of_every_type(classify):
  joints = jax.numpy.asarray(recording())
  np.testing.assert_array_equal(
    classify.from_recording(joints), classify.from_recording(recording())
  )
  half = jax.numpy.asarray(clips(), jax.numpy.bfloat16)
  np.testing.assert_array_equal(classify(half), classify(half.astype(np.float32)))


@pytest.mark.parametrize("shape", [(0, 2, 12, 25, 3), (1, 0, 2, 12, 25, 3)])
def test_no_clip_is_refused(classify, shape):
  for function in (classify, classify.features):
    with pytest.raises(ConfigError, match="there is none; give at least one"):
      function(np.zeros(shape))


def test_a_row_that_a_data_set_does_not_have_is_refused(classify, tiny_data):
  data_set = open_data_set(tiny_data / "tiny")
  for row in (-1, len(data_set)):
    with pytest.raises(ConfigError, match=f"row is {row}; tiny has {len(data_set)} clips"):
      classify.from_data_set(data_set, row)
  for row in ("a", None, 0.5, True):
    with pytest.raises(ConfigError, match=f"row is {row!r}; expected a clip's number"):
      classify.from_data_set(data_set, row)


def test_a_clip_is_filled_and_centred_as_its_data_set_says(tiny_data, tmp_path):
  options = {"rotated": False, "center": None, "skeleton": tiny.SKELETON}
  facts = files.read_json(write_run(tmp_path, **options) / "model.json")
  facts["loading"]["fill"], facts["input"]["window"] = "zero", 40
  files.write_json(tmp_path / "model.json", facts)
  data_set = open_data_set(tiny_data / "tiny")
  expected = data_set.sampling(40, 2, "loop", 1).windows(data_set.read([0])[0])
  np.testing.assert_array_equal(Classifier(tmp_path).from_data_set(data_set, 0), expected)


def test_one_person_needs_no_axis_of_persons(classify):
  one = recording(persons=1)
  np.testing.assert_array_equal(classify.from_recording(one[0]), classify.from_recording(one))


@pytest.mark.parametrize(
  ("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (2e9, r"2e\+09")]
)
def test_a_coordinate_that_is_none_is_named_and_not_classified(classify, value, shown):
  bad = clips()
  bad[0, 1, 3, 7, 2] = bad[0, 1, 4, 0, 0] = value  # the first is named
  with pytest.raises(
    DataError, match=f"batch 0, person 1, frame 3, joint 7, channel 2 is {shown};"
  ):
    classify(bad)
  with pytest.raises(
    DataError, match=f"frame 3, joint 7, channel 2 is {shown}; .* not tracked is 0"
  ):
    classify.from_recording(bad[0, :, :9])


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32, bool, np.ndarray.tolist])
def test_any_kind_of_number_is_taken(classify, kind):
  values = np.round(3 * clips())
  same = kind(values) if kind is np.ndarray.tolist else values.astype(kind)
  got = classify(same)
  np.testing.assert_array_equal(got, classify(np.asarray(same, np.float32)))
  assert got.dtype == np.float32


@pytest.mark.parametrize(
  "wrong",
  [
    *(clips()[0], clips()[..., :20, :], clips()[..., :2], clips()[:, :1], clips()[:, :, :0]),
    *(clips()[:, [0, 1, 0]], clips()[None, None], [], [[1.0], [1.0, 2.0]], "text", None, 3.0),
  ],
)
def test_clips_of_another_shape_are_refused_with_what_is_expected(classify, wrong):
  with pytest.raises(ConfigError, match=r"expected \[batch, person, .*25 joints|takes 2 persons"):
    classify(wrong)


@pytest.mark.parametrize("wrong", [np.ones((25, 3)), [np.ones((9, 20, 3))], [np.ones(3)], ["a"]])
def test_a_recording_of_another_shape_is_refused_with_what_is_expected(classify, wrong):
  with pytest.raises(
    ConfigError, match=r"expected \[frame, joint, channel\] with 25 joints of ntu"
  ):
    classify.from_recording(wrong)


@pytest.mark.parametrize("wrong", [np.float32(3), 3.0, None, "text"])
def test_what_holds_no_persons_is_no_recording(classify, wrong):
  with pytest.raises(ConfigError, match=r"a recording is .*; expected one array \[frame"):
    classify.from_recording(wrong)


@pytest.mark.parametrize(
  "nobody",
  [
    *([], np.zeros((2, 9, 25, 3)), Persons([]), np.zeros((0, 25, 3))),
    Persons([*np.zeros((2, 9, 25, 3)), np.ones((9, 25, 3))]),  # a third, whom the run does not see
  ],
)
def test_a_recording_with_nobody_in_it_is_refused(classify, nobody):
  with pytest.raises(DataError, match="nobody is tracked in this recording"):
    classify.from_recording(nobody)


def test_a_stream_that_doubles_channels_takes_those_of_the_joints(tmp_path):
  changes = {"in_channels": 6, "blocks": ((6, 8, False, 1), (8, 8, True, 1))}
  classify = Classifier(write_run(tmp_path, stream="joint+bone", **changes))
  assert classify(clips()).shape == (1, 3)


def test_the_centre_counts_as_tracked_where_it_is_normalised(tmp_path, classify):
  normalization = {"mean": np.full((25, 3), 3, "f4"), "std": np.ones((25, 3), "f4")}
  normalised = Classifier(write_run(tmp_path, normalization=normalization))
  joints = clips()
  joints[..., NTU.center, :] = 0
  expected = joints - 3
  expected[:, 1, :, NTU.center] = 0  # of the second person, who is not centred on it
  np.testing.assert_allclose(normalised.logits(joints), classify.logits(expected), atol=1e-5)


def test_features_are_the_mean_over_persons_frames_and_joints(classify):
  expected = classify.model.features(clips()).mean((1, 2, 3))
  np.testing.assert_allclose(classify.features(clips()), expected, atol=1e-5)


def test_no_initial_values_are_computed_that_would_be_overwritten(workdir, monkeypatch):
  drawn = []
  original = MSTGCN.__init__

  def init(self, *args, **kwargs):
    original(self, *args, **kwargs)
    drawn.append(not isinstance(self.classifier.kernel[...], jax.core.Tracer))

  monkeypatch.setattr(MSTGCN, "__init__", init)
  Classifier(workdir)
  assert drawn and not any(drawn)


def test_a_checkpoint_may_be_a_number(workdir):
  assert isinstance(checkpoints.load_model(workdir, checkpoint=0), MSTGCN)
  with pytest.raises(DataError, match=r"no checkpoint 27; there are \[0\]"):
    checkpoints.load_model(workdir, checkpoint=27)


def test_a_recording_is_cut_as_the_clips_that_its_run_fills_with_zeros(tmp_path):
  facts = files.read_json(write_run(tmp_path, rotated=False, center=None) / "model.json")
  facts["loading"]["fill"], facts["input"]["sampling"] = "zero", "uniform"
  files.write_json(tmp_path / "model.json", facts)
  classify = Classifier(tmp_path)
  first, second = recording()
  first[:], second[5:] = 0, 0  # who is never there keeps the first place
  np.testing.assert_array_equal(
    classify.from_recording([first, second, np.zeros_like(first)]),
    classify.from_recording(Persons([first[:0], second[:5]])),
  )


def test_several_streams_are_of_one_step_though_their_run_goes_on(tmp_path, monkeypatch):
  run = write_run(tmp_path / "run", stream=("joint", "bone"))
  load, asked = checkpoints.load_variables, []
  given = lambda *a, **k: asked.append((a[1], k["streams"])) or load(*a, **k)
  monkeypatch.setattr(checkpoints, "load_variables", given)
  found = of_streams(run, ("joint", "bone"))
  assert [(name, found[name].stream) for name in found] == [("joint", "joint"), ("bone", "bone")]
  assert asked == [("newest", ("joint",)), (0, ("bone",))]
