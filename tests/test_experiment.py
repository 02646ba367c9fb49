"""What a config and its data set become: statistics of the stream, worked out by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from prepared import prepare

from data_prep.readers.interface import Clip
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import Constant, ModelConfig
from mstgcn_jax.skeletons import Skeleton
from mstgcn_jax.training import experiment, own_parts, train_step, workdir
from mstgcn_jax.training.experiment import set_up
from mstgcn_jax.training.train_step import random_streams

ROOT, CENTER, NEVER = range(3)
SKELETON = Skeleton("three", ("root", "center", "never"), bone_parents=(0, 0, 1), center=CENTER)


def person(root, center) -> np.ndarray:
  """Two frames; x as given (0: untracked), y ten times x, z 1; joint NEVER is never tracked."""
  joints = np.zeros((2, 3, 3), np.float32)
  for joint, values in ((ROOT, root), (CENTER, center)):
    for frame, x in enumerate(values):
      joints[frame, joint] = (x, 10 * x, 1) if x else 0
  return joints


def normalization(tmp_path, clips, stream="joint", center=None, **changes):
  """Mean and deviation of x of every joint, of a run on these (split, subject, persons)."""
  clips = [
    Clip(f"c{i}", 0, persons, {"split": split, "subject": subject})
    for i, (split, subject, persons) in enumerate(clips)
  ]
  prepare(tmp_path, clips, skeleton=SKELETON, center=center)
  changes = {"data.window": 2, "data.normalize": True, "data.protocol": "given", **changes}
  config = tiny.config(tmp_path, batch_size=2, eval_batch_size=2, streams=(stream,), **changes)
  config.data.name = "fake"
  run = set_up(config)
  assert run.task.center == center
  values = run.initial_states()[stream].normalization
  np.testing.assert_allclose(values["mean"][:2, 1], 10 * values["mean"][:2, 0], rtol=1e-5)
  return values["mean"][:, 0], values["std"][:, 0]


def test_before_all_clips_are_read_to_normalise_it_is_said(tmp_path, caplog):
  caplog.set_level("INFO", "mstgcn_jax")
  persons = [person((1, 3), (2, 0))]
  normalization(tmp_path, [(split, 1, persons) for split in ("train", "train", "val")])
  assert "reading 2 training clips for the mean and deviation of joint …" in caplog.text


def test_normalisation_counts_what_is_tracked_in_training_joint_by_joint(tmp_path):
  clips = [
    ("train", 1, [person((1, 3), (2, 0))]),
    (
      "train",
      1,
      [person((5, 5), (4, 6)), person((500, 500), (500, 500))],
    ),  # the second is not seen
    ("train", 1, [person((7, 7), (0, 0))]),
    ("train", 9, [person((2000, 2000), (2000, 2000))]),  # held out
    ("val", 1, [person((1000, 1000), (1000, 1000))]),
    ("", 1, [person((3000, 3000), (3000, 3000))]),
  ]
  mean, std = normalization(tmp_path, clips, **{"data.holdout_subjects": (9,)})
  np.testing.assert_allclose(mean, [np.mean([1, 3, 5, 5, 7, 7]), np.mean([2, 4, 6]), 0], rtol=1e-6)
  np.testing.assert_allclose(std, [np.std([1, 3, 5, 5, 7, 7]), np.std([2, 4, 6]), 0], rtol=1e-6)


def test_what_never_changes_has_no_deviation_not_even_of_rounding(tmp_path):
  clips = [(split, 1, [person((0.1, 0.1), (1, 1.0001))]) for split in (*("train",) * 3, "val")]
  _, std = normalization(tmp_path, clips, **{"data.window": 300})  # 900 numbers: their sums round
  assert std[ROOT] == 0
  np.testing.assert_allclose(std[CENTER], 5e-5, rtol=2e-3)  # 1.0001 is float32


@pytest.mark.parametrize(
  ("center", "root", "joint", "expected"),
  [
    # Centred, the centre lies at 0 and is tracked: bones of 1 and 3.
    (CENTER, (1, 1), (2, 4), (2, 1)),
    # Not centred, it is untracked in the second frame: one bone of 2, not also one of -3.
    (None, (1, 3), (3, 0), (2, 0)),
  ],
)
def test_the_centre_counts_as_tracked_where_the_data_are_centred(
  tmp_path, center, root, joint, expected
):
  clips = [(split, 1, [person(root, joint)]) for split in ("train", "train", "train", "val")]
  mean, std = normalization(tmp_path, clips, "bone", center)
  np.testing.assert_allclose((mean[CENTER], std[CENTER]), expected, atol=1e-6)


def test_statistics_are_of_clips_as_they_are_placed(tmp_path):
  # Bones of 2 and 4, scaled to one length; the root stands still, the centre a bone away from it.
  clips = [
    (split, 1, [person((1, 1), values)])
    for split, values in (("train", (3, 3)), ("train", (5, 5)), ("val", (5, 5)))
  ]
  changes = {"data.center": "first_frame", "data.body_size": True}
  mean, std = normalization(tmp_path, clips, "bone", CENTER, **changes)
  # x is a part of 1 / sqrt(1 + 10²) of the way: y is ten times x, z the same at both ends
  np.testing.assert_allclose(mean[CENTER], 3.6 / np.sqrt(101), rtol=1e-5)
  np.testing.assert_allclose(std[CENTER], 0, atol=1e-3)  # a difference of squares in float32


def test_statistics_are_of_clips_as_a_loop_shows_them_however_they_are_sampled(tmp_path):
  clips = [(split, 1, [person((1, 9), (2, 4))]) for split in ("train", "train", "val")]
  changes = {"data.window": 1, "data.sampling": "random_crop", "data.views": 3}
  mean, std = normalization(tmp_path, clips, **changes)
  np.testing.assert_allclose((mean[ROOT], std[ROOT]), (1, 0), atol=1e-6)


def test_a_layout_without_bones_has_no_body_size(tmp_path):
  joints = np.ones((2, 3, 3), np.float32)
  clips = [Clip(f"c{i}", 0, [joints], {"split": "train"}) for i in range(2)]
  points = Skeleton("points", ("a", "b", "c"), bone_parents=(0, 1, 2), center=0)
  data_set = prepare(tmp_path, clips, skeleton=points, center=0)
  with pytest.raises(ConfigError, match="the layout points of fake has none"):
    data_set.sampling(2, body_size=True)


class Graph(nnx.Module):
  """A spatial layer that holds the adjacency as `keep` makes it."""

  def __init__(self, config, block, *, rngs, keep):
    self.adjacency = keep(config.adjacency())
    self.project = nnx.Linear(block.in_channels, block.out_channels, rngs=rngs)

  def __call__(self, x):
    return jnp.einsum("kvw,nvtc->nwtc", jnp.asarray(self.adjacency), self.project(x))


def constant(config, block, *, rngs):
  return Graph(config, block, rngs=rngs, keep=Constant)


def jax_array(config, block, *, rngs):
  return Graph(config, block, rngs=rngs, keep=jnp.asarray)


def numpy_array(config, block, *, rngs):
  return Graph(config, block, rngs=rngs, keep=np.asarray)


def failing(config, block, *, rngs):
  return config.no_such_field


def of_layer(name):
  """A network of this module's layer, shapes only."""
  blocks = ((3, 4, False, 1), (4, 4, True, 1))
  config = ModelConfig(num_classes=2, blocks=blocks, block_type=f"{__name__}:{name}/ms")
  return own_parts.network(config, window=4)


def test_people_are_not_followed_by_a_coordinate_as_if_it_were_a_score(tiny_data):
  config = tiny.config(tiny_data, **{"augment.openpose_match": True})
  data_set = set_up(config).data_set  # of channels that nobody named
  named = dataclasses.replace(data_set, coordinates={"channels": ["x", "y", "z"]})
  with pytest.raises(ConfigError, match="by their scores, but the channels of tiny are x, y, z"):
    set_up(config, data_set=named)
  about_x, *_ = set_up(tiny.config(tiny_data), data_set=named).task.augmentation.rotation
  assert about_x  # the three channels are coordinates, which turn about every axis


def test_a_layer_of_ones_own_keeps_its_adjacency_as_a_constant():
  assert random_streams(of_layer("constant")) == ()
  with pytest.raises(ConfigError, match=r"attribute that is neither .*model\.Constant\(array\)"):
    of_layer("jax_array")
  with pytest.raises(ConfigError, match=r"of the kind array; .*model\.Constant\(array\)"):
    random_streams(of_layer("numpy_array"))


def test_a_layer_of_ones_own_that_cannot_be_made_is_named_with_its_line():
  line = failing.__code__.co_firstlineno + 1
  with pytest.raises(
    ConfigError, match=rf"made \(.*{__name__}\.py, line {line}: AttributeError: .*"
  ):
    of_layer("failing")


def of_each(model, clips, targets, key):
  return model(clips).mean(-1), model(clips)


def without_logits(model, clips, targets, key):
  return model(clips).mean()


def of_classes(model, clips, targets, key):
  return model(clips).mean(), model(clips).argmax(-1)


def of_a_field(model, clips, targets, key):
  return model.no_such_field, targets


@pytest.mark.parametrize(
  ("name", "said"),
  [
    (f"{__name__}:of_each", r"gives \(2,\) and \(2, 3\) for two clips .*, here \(\) and \(2, 3\)"),
    (f"{__name__}:of_classes", r"gives \(\) and \(2,\) for two clips .*, here \(\) and \(2, 3\)"),
    (f"{__name__}:without_logits", r"fails \(TypeError: .*\); it takes \(model, clips, targets"),
    (f"{__name__}:of_a_field", rf"fails \(.*{__name__}\.py, line {{line}}: AttributeError: "),
    (f"{__name__}:nothing", f"loss names '{__name__}:nothing', which cannot be imported: Attr"),
  ],
)
def test_a_loss_of_ones_own_that_does_not_fit_is_named(tiny_data, name, said):
  said = said.replace("{line}", str(of_a_field.__code__.co_firstlineno + 1))
  config = tiny.config(tiny_data, loss=name)
  with pytest.raises(ConfigError, match=said):
    set_up(config)
  run = set_up(config, train=False)  # which needs no loss and imports none
  assert run.task.loss is train_step.cross_entropy


def as_a_step_calls_it(model, clips, targets, key):
  assert not model.norm_in.use_running_average
  assert (targets.shape, targets.dtype) == ((2, 3), clips.dtype)
  assert jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
  logits = model(clips)
  return -(targets * nnx.log_softmax(logits)).mean(), logits


def test_a_loss_of_ones_own_is_tried_as_a_step_calls_it(tiny_data):
  run = set_up(tiny.config(tiny_data))
  run.abstract.eval()
  args = run.abstract, run.model_config, run.sampling.window
  assert own_parts.loss(f"{__name__}:as_a_step_calls_it", *args) is as_a_step_calls_it
  assert run.abstract.norm_in.use_running_average  # the caller's is as it was


def of_two_views(model, clips, targets, key):
  logits = model(clips)
  return jnp.square(logits - model(clips[::-1])).mean(), logits


def test_a_step_has_the_loss_that_a_config_names(tiny_data):
  run = set_up(tiny.config(tiny_data, loss=f"{__name__}:of_two_views"))
  assert run.task.loss is of_two_views
  plain = set_up(tiny.config(tiny_data))
  assert run.task.graphdef == plain.task.graphdef  # as before it was tried
  assert run.facts().loss_code and not run.facts().code + plain.facts().loss_code


def test_a_step_knows_the_last_epoch_where_the_rate_falls_until_then(tiny_data):
  task = lambda **changes: set_up(tiny.config(tiny_data, **changes)).task
  assert task(**{"optimizer.schedule": "cosine"}).epochs == 3 and task().epochs == 0
  mixed = task(mixup=0.2, label_smoothing=0.1)
  assert (mixed.mixup, mixed.label_smoothing) == (0.2, 0.1)


def test_a_batch_of_an_evaluation_is_no_larger_than_its_clips_need(tiny_data, monkeypatch):
  size = lambda *_, batch_size, **options: batch_size
  monkeypatch.setattr(experiment.input_pipeline, "eval_batches", size)
  monkeypatch.setattr(experiment.Experiment, "_on_devices", lambda self, batches, fields: batches)
  monkeypatch.setattr(jax, "device_count", lambda: 4)
  for views, sizes in ((1, {1: 4, 4: 4, 5: 8, 20: 8}), (3, {1: 4, 2: 8, 20: 8})):
    changes = {"data.sampling": "uniform", "data.views": views, "eval_batch_size": 8}
    run = set_up(tiny.config(tiny_data, **changes))
    assert {rows: run.eval_batches(np.arange(rows)) for rows in sizes} == sizes
    assert run.sampling.views == views


def test_batches_are_drawn_from_the_seed(tiny_data, monkeypatch):
  told = lambda *_, **options: options
  monkeypatch.setattr(experiment.input_pipeline, "train_batches", told)
  monkeypatch.setattr(experiment.Experiment, "_on_devices", lambda self, batches, fields: batches)
  given = set_up(tiny.config(tiny_data, seed=7)).train_batches(first_step=5)
  assert (given["seed"], given["first_step"], given["batch_size"]) == (7, 5, 4)


def test_states_are_drawn_from_the_seed_and_may_start_from_a_stream_of_a_run(
  tiny_data, monkeypatch
):
  told = []

  def warm_start(workdir, stream, *fresh, ignore):
    told.append((workdir, stream, ignore))
    return fresh

  monkeypatch.setattr(experiment.checkpoints, "warm_start", warm_start)
  changes = {"streams": ("joint", "bone"), "init_from": "there", "init_ignore": ("classifier",)}
  kernels = []
  for seed in (0, 1):
    states = set_up(tiny.config(tiny_data, seed=seed, **changes)).initial_states()
    kernels += [states[name].params["classifier"]["kernel"] for name in ("joint", "bone")]
  assert told == 2 * [("there", name, ("classifier",)) for name in ("joint", "bone")]
  np.testing.assert_array_equal(kernels[0], kernels[1])  # one seed, the same for every stream
  assert np.any(kernels[0] != kernels[2])


def test_where_flat_clips_have_a_score_only_what_moves_it_is_refused(tiny_data):
  numbers = {"channels": ("x", "y", "score")}
  data_set = dataclasses.replace(open_data_set(tiny_data / "tiny"), coordinates=numbers)
  augmentation = lambda **changes: (
    set_up(tiny.config(tiny_data, **changes), data_set=data_set).task.augmentation
  )
  assert augmentation(**{"augment.dimensions": 0}).rotation == (0, 0, 0.1)  # in the picture
  solid = {"augment.dimensions": 3}
  with pytest.raises(ConfigError, match="the channels of tiny are x, y, score; set it to 2, or to"):
    augmentation(**solid)
  still = {"augment.rotation": (0.0, 0.0, 0.0), "augment.joint_dropout": 0.1}
  assert augmentation(**solid, **still).joint_dropout == 0.1


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"epochs": 0}, "epochs is 0; it must be at least 1"),
    ({"epochs": 2**30}, r"more than 2\*\*31 steps"),
    ({"epochs": 2**28, "min_steps_per_epoch": 8}, "epochs is 268435456: more than 2"),
    ({"optimizer.warmup_epochs": 2**30}, r"warmup_epochs is 1073741824: more than 2\*\*31 steps"),
    ({"batch_size": 28}, "27 training clips cannot fill one batch of 28"),
    ({"optimizer.accumulate": 3}, "batch_size is 4, .* and 3 micro-batches; take a multiple of 3"),
    ({"data.holdout_subjects": (1, 3, 5)}, "would hold out 27 of 27 training clips"),
  ],
)
def test_what_these_data_do_not_allow_is_refused(tiny_data, changes, said):
  with pytest.raises(ConfigError, match=said):
    set_up(tiny.config(tiny_data, **changes))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_clips_to_train_on_and_clips_to_evaluate_are_both_needed(tiny_data, monkeypatch, sizes):
  monkeypatch.setattr(experiment.protocols, "split", lambda *_: tuple(map(np.arange, sizes)))
  said = f"gives {sizes[0]} training and {sizes[1]} evaluation clips of 54; both are needed"
  with pytest.raises(ConfigError, match=said):
    set_up(tiny.config(tiny_data))


@pytest.mark.parametrize("by_sum", [False, True])
def test_a_run_knows_how_its_clips_were_turned_and_read(tmp_path, by_sum):
  splits, reading = ("train", "val"), {"poses": ["--keep", "score"]}
  clips = [Clip(f"c{i}", 0, [person((1, 3), (2, 4))], {"split": s}) for i, s in enumerate(splits)]
  how = {"rotated": True, "upward": "y", "by_sum": by_sum, "reading": reading}
  data_set = prepare(tmp_path, clips, skeleton=SKELETON, **how)
  changes = {"data.window": 2, "data.protocol": "given", "batch_size": 1, "eval_batch_size": 1}
  config = tiny.config(tmp_path, **changes)
  config.data.name = "fake"
  set_up(config).facts().write(tmp_path)
  facts = workdir.read(tmp_path)
  assert facts.by_sum is by_sum and facts.reading == reading
  assert facts.rotated is True and facts.upward == "y"
  assert facts.data_identity == data_set.identity


def test_a_run_knows_what_lies_at_zero_and_what_its_numbers_are(tiny_data):
  numbers = {"channels": ("x", "y", "score"), "units": "image fractions", "picture": (640, 480)}
  data_set = open_data_set(tiny_data / "tiny")
  data_set = dataclasses.replace(data_set, joint_at_zero=3, coordinates=numbers)
  config = tiny.config(tiny_data, **{"augment.rotation": (0.0, 0.0, 0.0)})
  run = set_up(config, data_set=data_set)
  facts = run.facts()
  assert facts.joint_at_zero == run.task.center == 3 != data_set.center
  assert (facts.scored, facts.units, facts.picture) == (True, "image fractions", (640, 480))
