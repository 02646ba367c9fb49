"""Why: occlusion, gradient × input, deletion curves, their pictures; features and the projector."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tiny
from matplotlib.axes import Axes
from PIL import Image
from prepared import NTU, prepare, random_clips
from test_classifier import write_run

from data_prep.look import show
from mstgcn_jax import files
from mstgcn_jax.commands import embed as embed_command
from mstgcn_jax.commands import explain as command
from mstgcn_jax.commands import predict
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation.calibration import Calibration
from mstgcn_jax.training import loop
from mstgcn_jax.use import drawing, embed, explain, recordings
from mstgcn_jax.use.classifier import Classifier


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("explain") / "run"
  loop.train(tiny.config(tiny_data, epochs=5), workdir)
  return workdir


class Linear:
  """A network of two classes whose logits are (sum of weights * joints, 0)."""

  step = 7

  def __init__(self, weights):
    self.weights = weights

  def logits(self, clips):
    import jax.numpy as jnp

    first = (jnp.asarray(clips) * self.weights).sum((1, 2, 3, 4))
    return jnp.stack([first, 0 * first], axis=1)

  def __call__(self, clips):
    import jax

    return jax.nn.softmax(self.logits(clips))


def linear(seed=0):
  rng = np.random.default_rng(seed)
  weights = rng.normal(0, 0.1, (2, 16, 3, 2)).astype(np.float32)
  clip = rng.normal(size=(2, 16, 3, 2)).astype(np.float32)
  clip[1, 8:] = 0  # the second person leaves
  return Linear(weights), clip, weights


def test_occlusion_is_the_loss_of_log_probability_without_the_block():
  classify, clip, weights = linear()
  found = explain.occlusion(classify, clip, 0)
  without = np.array(clip)
  without[0, 2:4, 1] = 0  # the second of eight blocks of 16 frames
  total, left = (clip * weights).sum(), (without * weights).sum()
  log_sigmoid = lambda x: -np.log1p(np.exp(-x))
  # float32, and a difference of two logarithms
  np.testing.assert_allclose(found[0, 2:4, 1], log_sigmoid(total) - log_sigmoid(left), atol=1e-5)
  assert not found[1, 8:].any()  # nobody to leave out
  assert not explain.occlusion(classify, np.zeros_like(clip), 0).any()


def test_gradient_times_input_of_a_linear_network_is_each_joints_share():
  classify, clip, weights = linear()
  found = explain.gradient_times_input(classify, clip, 0)
  total = (clip * weights).sum()
  slope = 1 / (1 + np.exp(total))  # of log sigmoid
  np.testing.assert_allclose(found, slope * (clip * weights).sum(-1), atol=1e-6)


def test_the_gradient_is_compiled_once_for_all_clips_and_classes():
  classify, clip, weights = linear()
  logits, traces = classify.logits, []
  classify.logits = lambda clips: traces.append(clips.shape) or logits(clips)
  found = [explain.gradient_times_input(classify, x, k) for x in (clip, 2 * clip) for k in (0, 1)]
  assert traces == [(1, *clip.shape)]
  # The logarithms of both classes' probabilities differ by the logit; float32.
  np.testing.assert_allclose(found[0] - found[1], (clip * weights).sum(-1), atol=1e-6)
  np.testing.assert_allclose(found[2] - found[3], 2 * (clip * weights).sum(-1), atol=1e-6)


def test_a_network_whose_numbers_are_not_finite_is_neither_explained_nor_embedded(tiny_data):
  classify, clip, _ = linear()
  classify.weights = np.nan
  for asked in (explain.explain, lambda *_: explain.deletion_curves(classify, [clip])):
    with pytest.raises(DataError, match="network of step 7 gives no finite numbers"):
      asked(classify, clip)
  classify.from_data_set, classify.features = lambda *_: clip, lambda clips: np.nan * clips
  with pytest.raises(DataError, match="network of step 7 gives no finite numbers"):
    embed.features(classify, open_data_set(tiny_data / "tiny"))


def test_of_fused_streams_each_counts_by_its_share_of_the_probability():
  (first, clip, _), (second, _, _) = linear(0), linear(1)
  probability = lambda classify: float(classify(clip[None])[0, 0])
  shares = np.array([2 * probability(first), probability(second)])
  alone = [explain.gradient_times_input(classify, clip, 0) for classify in (first, second)]
  expected = sum(share * found for share, found in zip(shares, alone, strict=True)) / shares.sum()
  found = explain.fused_gradient_times_input([first, second], [2, 1], clip, 0)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_clip_is_found_by_its_name_before_its_row(tmp_path):
  names = ["001", "000", "7"]
  clips = [
    dataclasses.replace(clip, name=name) for clip, name in zip(random_clips(3), names, strict=True)
  ]
  data = prepare(tmp_path, clips)
  assert [command._row(data, text) for text in ("001", "000", "7", "2")] == [0, 1, 2, 2]


def test_the_most_important_are_deleted_first_and_only_what_is_tracked():
  clip = np.ones((1, 2, 2, 3), np.float32)
  clip[0, 1, 1] = 0
  order = explain.by_importance(clip, np.array([[[0.1, 0.9], [0.5, 7.0]]]))
  assert order.tolist() == [1, 2, 0]
  assert explain.deleted(clip, order, 1 / 3)[0, 0, 1].tolist() == [0, 0, 0]
  assert explain.deleted(clip, order, 1 / 3).sum() == 6
  assert explain.deleted(clip, order, 0.5).sum() == 3  # 1.5 of three cells are two
  assert not explain.deleted(clip, order, 1.0).any() and explain.deleted(clip, order, 0).sum() == 9
  assert sorted(explain.at_random(clip, np.random.default_rng(0)).tolist()) == [0, 1, 2]


def test_the_area_below_a_curve_is_by_trapezoids():
  assert explain.area(np.ones(len(explain.SHARES))) == pytest.approx(1)
  assert explain.area(1 - np.array(explain.SHARES)) == pytest.approx(0.5)


def test_what_a_trained_network_calls_important_is_worth_more_than_chance(run, tiny_data):
  classify, data = Classifier(run), open_data_set(tiny_data / "tiny")
  clips = [classify.from_data_set(data, row) for row in range(0, 54, 9)]
  curves = explain.deletion_curves(classify, clips)
  assert {name: curve[0] for name, curve in curves.items()} == pytest.approx(
    dict.fromkeys(curves, curves["random"][0])
  )
  assert explain.area(curves["occlusion"]) < explain.area(curves["random"])
  assert explain.area(curves["gradient × input"]) < explain.area(curves["random"])


def test_a_deletion_curve_is_the_mean_over_clips():
  (classify, first, weights), (_, second, _) = linear(0), linear(1)
  classify.weights, first, second = (x[:, :2] for x in (weights, first, second))
  one, other, both = (
    explain.deletion_curves(classify, some) for some in ([first], [second], [first, second])
  )
  for name in explain.METHODS:
    np.testing.assert_allclose(both[name], (one[name] + other[name]) / 2, atol=1e-6)


def test_of_several_views_the_middle_one_is_explained():
  views = np.arange(3.0)[:, None, None, None, None] * np.ones((1, 2, 4, 5, 3))
  assert (explain.middle_view(views) == 1).all() and explain.middle_view(views[0]).shape[0] == 2


def test_a_window_that_shows_nobody_is_not_drawn(tmp_path):
  empty = explain.Explanation(np.zeros((2, 8, 25, 3)), 0, 0.5, {"occlusion": np.zeros((2, 8, 25))})
  with pytest.raises(DataError, match="a: nobody is tracked in the window"):
    drawing.explanation(empty, NTU, None, "a", tmp_path / "a.png", {})


def test_a_picture_shows_those_who_are_tracked_with_their_weights(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  clip, importance = np.zeros((3, 8, 25, 3)), np.zeros((3, 8, 25))
  clip[1:] = rng.normal(size=(2, 8, 25, 3))  # the first person is not there
  importance[1, 2, 3], importance[2, 5, 6], importance[1, 0, 0] = 4, 2, -9
  drawn, maps, draw, imshow = [], [], show.draw_persons, Axes.imshow
  monkeypatch.setattr(
    show, "draw_persons", lambda *args, **how: drawn.append((args, how)) or draw(*args, **how)
  )
  monkeypatch.setattr(
    Axes, "imshow", lambda ax, *a, **how: maps.append((ax, a, how)) or imshow(ax, *a, **how)
  )
  found = explain.Explanation(clip, 0, 0.5, {"one": importance, "none": 0 * importance})
  drawing.explanation(found, NTU, 20, "title", tmp_path / "a.png", {})
  weights = np.zeros((2, 8, 25))
  weights[0, 2, 3], weights[1, 5, 6] = 1, 0.5
  for (args, how), method, expected in zip(
    drawn, ("one", "none"), (weights, 0 * weights), strict=True
  ):
    np.testing.assert_array_equal(args[0], clip[1:])
    np.testing.assert_array_equal(how["weights"], expected)
    # The joint at zero is one of the first person.
    assert (args[3], how["at_zero"], how["moments"]) == (f"by {method}", None, show.MOMENTS)
  assert [ax.get_xlabel() for ax, *_ in maps] == [
    f"frame of the window, person {number}" for number in (2, 3, 2, 3)
  ]
  for (ax, (values,), how), expected in zip(maps, (*weights, *0 * weights), strict=True):
    np.testing.assert_array_equal(values, expected.T)
    assert (how["vmin"], how["vmax"]) == (0, 1)
    assert ax.get_xlim() == (0.5, 8.5) and ax.get_ylim() == (24.5, -0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(NTU.joints)
  with Image.open(tmp_path / "a.png") as picture:
    pixels = np.asarray(picture.convert("L"))
  quarters = np.array_split(pixels, 4)  # strip, map, strip, map
  assert all((quarter < 128).any() for quarter in quarters)


def test_the_command_draws_a_clip_of_a_data_set_and_a_file(run, tiny_data, tmp_path, capsys):
  data = tiny_data / "tiny"
  out = tmp_path / "new" / "why.png"
  assert command.main([str(run), str(data), "a2_s1_t3", "--out", str(out)]) == 0
  printed = capsys.readouterr().out
  assert "a2_s1_t3: " in printed and "(labelled medium)" in printed
  assert "by occlusion: " in printed and "by gradient × input: " in printed and "frames " in printed
  with Image.open(out) as picture:
    pixels = np.asarray(picture.convert("RGB")).astype(int)
  assert ((pixels[..., 0] > 150) & (pixels[..., 1:] < 60).all(-1)).any()  # what decides, in red
  row = open_data_set(data).table["name"].tolist().index("a2_s1_t3")
  assert command.main([str(run), str(data), str(row), "--out", str(out)]) == 0
  assert capsys.readouterr().out == printed
  np.save(tmp_path / "wave.npy", tiny.read((0, 1, 2), 20).persons[0])
  assert command.main([str(run), str(tmp_path / "wave.npy"), "--out", str(out)]) == 0
  assert capsys.readouterr().out.startswith("wave: ")


def test_another_class_than_the_likeliest_is_explained_on_demand(run, tiny_data, tmp_path, capsys):
  argv = [str(run), str(tiny_data / "tiny"), "a2_s1_t3", "--out", str(tmp_path / "why.png")]
  names = open_data_set(tiny_data / "tiny").class_names
  said = {}
  for name in names:
    assert command.main([*argv, "--class", name]) == 0
    first, *said[name] = capsys.readouterr().out.splitlines()[:3]
    assert first.startswith(f"a2_s1_t3: {name} ")
  assert command.main(argv) == 0
  first, *likeliest = capsys.readouterr().out.splitlines()[:3]
  assert [name for name in names if said[name] == likeliest] == [first.split()[1]]


def test_of_a_run_of_several_streams_the_one_that_is_explained_is_named(tmp_path, capsys):
  run = write_run(tmp_path / "run", stream=("joint", "bone"))
  np.save(tmp_path / "clip.npy", np.random.default_rng(0).normal(size=(2, 12, 25, 3)))
  out = tmp_path / "why.png"
  argv = [str(run), str(tmp_path / "clip.npy"), "--stream", "bone", "--out", str(out)]
  assert command.main(argv) == 0
  assert "% by stream bone\n" in capsys.readouterr().out
  with Image.open(out) as picture:
    pixels = np.asarray(picture.convert("RGB")).astype(int)
  for color in show.COLORS[:2]:  # bones are as the legend says, in pale
    tints = pixels[: picture.height // 8] - (np.array(color) // 3 + 170)
    assert (np.abs(tints).max(-1) < 2).sum() > 100


def test_the_joint_at_zero_is_drawn_where_the_clips_came_centred(tmp_path, monkeypatch):
  run = write_run(tmp_path / "run", rotated=None, center=None)
  joints = np.random.default_rng(0).normal(size=(12, 25, 3))
  joints[:, NTU.center] = 0
  np.save(tmp_path / "clip.npy", joints)
  drawn, draw = [], show.draw_persons
  monkeypatch.setattr(
    show, "draw_persons", lambda *args, **how: drawn.append(how["at_zero"]) or draw(*args, **how)
  )
  assert command.main([str(run), str(tmp_path / "clip.npy"), "--out", str(tmp_path / "a.png")]) == 0
  assert set(drawn) == {NTU.center}


def test_of_several_views_the_one_that_is_explained_is_named(tmp_path, capsys):
  run = write_run(tmp_path / "run")
  facts = files.read_json(run / "model.json")
  files.write_json(
    run / "model.json", facts | {"input": facts["input"] | {"sampling": "uniform", "views": 3}}
  )
  np.save(tmp_path / "clip.npy", np.random.default_rng(0).normal(size=(2, 30, 25, 3)))
  assert command.main([str(run), str(tmp_path / "clip.npy"), "--out", str(tmp_path / "a.png")]) == 0
  assert "% in the middle one of 3 views\n" in capsys.readouterr().out


def test_a_recording_is_read_as_predict_reads_it(run, tmp_path, capsys, monkeypatch):
  persons, asked = tiny.read((0, 1, 2), 20).persons, []

  @contextlib.contextmanager
  def find(path, source, options, **_):
    asked.extend([path.name, source, options])
    yield recordings.Found([lambda: recordings.Recording("wave", persons, persons)], ("a note",))

  monkeypatch.setattr(recordings, "find", find)
  argv = [str(run), "wave.xyz", "--source", "xyz", "--out", str(tmp_path / "why.png")]
  assert command.main([*argv, "--", "--keep", "score"]) == 0
  assert asked == ["wave.xyz", "xyz", ["--keep", "score"]]
  assert capsys.readouterr().err.endswith("a note\n")


def test_probabilities_are_calibrated_as_those_of_predict(tmp_path, capsys):
  run = write_run(tmp_path / "run")
  Calibration({"joint": 4.0}, Classifier(run).step, "8 clips").save(run)
  file = tmp_path / "clip.npy"
  np.save(file, np.random.default_rng(0).normal(size=(2, 12, 25, 3)))
  assert predict.main([str(run), str(file), "--top", "1"]) == 0
  predicted = capsys.readouterr()
  assert command.main([str(run), str(file), "--out", str(tmp_path / "why.png")]) == 0
  explained = capsys.readouterr()
  assert explained.out.startswith(predicted.out) and "temperature 4, fitted" in explained.err


def test_the_command_draws_and_prints_deletion_curves(run, tiny_data, tmp_path, capsys):
  out = tmp_path / "deletion.png"
  argv = [str(run), str(tiny_data / "tiny"), "--deletion", "--clips", "3", "--out", str(out)]
  assert command.main(argv) == 0
  printed = capsys.readouterr().out
  assert "of 3 evaluation clips" in printed and "area" in printed and "random" in printed
  with Image.open(out) as picture:
    assert picture.width > 400


@pytest.mark.parametrize(
  ("what", "flags", "kind", "said"),
  [
    ("tiny", [], ConfigError, "is a data set of 54 clips; say which"),
    ("tiny", ["99"], ConfigError, "has no clip '99'"),
    ("tiny", ["54"], ConfigError, "has no clip '54'"),  # they count from 0
    ("tiny", ["0", "--out", "a.pdf"], ConfigError, "must end in .png"),
    ("absent", [], DataError, "does not exist"),
    ("absent", ["0"], DataError, "there is no data set"),
    ("absent", ["--deletion"], DataError, "there is no data set"),
    ("tiny", ["--deletion", "--clips", "0"], ConfigError, "--clips 0 is none; expected 1 or more"),
    ("tiny", ["--deletion", "--", "--as-is"], ConfigError, "and --source"),
    ("tiny", ["0", "--", "--as-is"], ConfigError, "of a recording; a data set takes none"),
    ("tiny", ["0", "--deletion"], ConfigError, "leave ROW out"),
    ("tiny", ["--deletion", "--source", "own"], ConfigError, "and --source"),
    ("tiny", ["--deletion", "--class", "slow"], ConfigError, "each by its likeliest class"),
    (
      "tiny",
      ["0", "--class", "slo"],
      ConfigError,
      "'slo' is no class of the run; did you mean slow",
    ),
    ("tiny", ["0", "--class", "x"], ConfigError, "is no class of the run; there are slow, "),
    ("tiny", ["0", "--source", "own"], ConfigError, "of a recording; a data set takes none"),
  ],
)
def test_what_is_wrong_is_said(run, tiny_data, what, flags, kind, said):
  with pytest.raises(kind, match=said):
    command.main([str(run), str(tiny_data / what), *flags])


def test_features_are_written_with_names_and_labels_and_for_the_projector(
  run, tiny_data, tmp_path, capsys
):
  data_set = open_data_set(tiny_data / "tiny")
  out, folder = tmp_path / "features.npz", tmp_path / "a projector"
  argv = [str(run), str(tiny_data / "tiny"), "--out", str(out), "--projector", str(folder)]
  assert embed_command.main(argv) == 0
  printed = capsys.readouterr().out
  assert "54 clips, 8 channels of stream joint" in printed
  assert printed.endswith(f"; look: tensorboard --logdir '{folder}'\n")
  with np.load(out) as file:
    features = file["features"]
    assert file["names"].tolist() == data_set.table["name"].tolist()
    assert file["labels"].tolist() == data_set.table["label"].tolist()
    assert file["class_names"].tolist() == ["slow", "medium", "fast"]
  classify = Classifier(run)
  clip = classify.from_data_set(data_set, 40)
  # another batch size, so float32 sums in another order
  np.testing.assert_allclose(features[40], classify.features(clip[None])[0], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(np.loadtxt(folder / "features.tsv"), features, rtol=1e-5, atol=1e-6)
  lines = (folder / "metadata.tsv").read_text().splitlines()
  assert lines[0] == "class\tname\tsubject" and len(lines) == 55
  assert lines[41] == f"{data_set.class_names[data_set.table['label'][40]]}\t" + "\t".join(
    str(data_set.table[column][40]) for column in ("name", "subject")
  )


def test_tensorboard_finds_the_projectors_files(run, tiny_data, tmp_path):
  from google.protobuf import text_format
  from tensorboard.plugins.projector import projector_config_pb2

  argv = [str(run), str(tiny_data / "tiny"), "--projector", str(tmp_path)]
  assert embed_command.main(argv) == 0
  config = projector_config_pb2.ProjectorConfig()
  text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
  (embedding,) = config.embeddings
  assert (tmp_path / embedding.tensor_path).exists()
  assert (tmp_path / embedding.metadata_path).exists()


def test_a_data_set_of_another_layout_is_refused(tmp_path, tiny_data):
  workdir = write_run(tmp_path)  # of NTU's joints
  with pytest.raises(ConfigError, match="has the joints of utd_mhad; this run takes those of ntu"):
    command.main([str(workdir), str(tiny_data / "tiny"), "0", "--out", str(tmp_path / "a.png")])
  with pytest.raises(ConfigError, match="has the joints of utd_mhad; this run takes those of ntu"):
    embed_command.main([str(workdir), str(tiny_data / "tiny"), "--out", str(tmp_path / "a.npz")])
  with pytest.raises(ConfigError, match="nothing is to be written"):
    embed_command.main([str(workdir), str(tiny_data / "tiny")])


def test_what_decides_is_said_with_its_shares():
  importance = np.zeros((2, 16, 20))  # of a second person without a say
  importance[0, 4:6, 11], importance[0, 12, 3] = 3, 2
  importance[0, 0, 0] = -9  # speaks against the class
  found = explain.in_words(importance, tiny.SKELETON, 2)
  names = tiny.SKELETON.joints
  assert found == f"{names[11]} (75 %), {names[3]} (25 %); frames 5 to 6 of 16 (75 %)"
  assert explain.in_words(importance[:, 5:6], tiny.SKELETON, 1).endswith("frame 1 of 1 (100 %)")
