"""`show` and `info`: what they draw and print of a prepared data set."""

import contextlib
import dataclasses
import errno
import re
import resource
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image
from prepared import prepare, random_clips

from data_prep import __main__ as command
from data_prep.look import info, show, video
from data_prep.look.scene import Scene
from data_prep.readers.interface import Clip
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError

NTU = skeletons.get("ntu_rgbd")
BLUE, ORANGE = show.COLORS[:2]


def figure(frames: int = 4, x: float = 0.0) -> np.ndarray:
  """A person in metres who stands at x, faces +y, z up: [frame, joint, 3]."""
  height = {"head": 1.7, "neck": 1.5, "shoulder": 1.4, "elbow": 1.2, "wrist": 1.0, "hand": 0.9}
  height |= {"spine_mid": 1.2, "spine_base": 1.0, "hip": 0.95, "knee": 0.5, "ankle": 0.1}
  person = np.zeros((frames, NTU.num_joints, 3), np.float32)
  for i, name in enumerate(NTU.joints):
    person[:, i, 0] = x + 0.2 * (name.startswith("right") - name.startswith("left"))
    person[:, i, 2] = next((z for word, z in height.items() if word in name), 0.02)
  return person


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  clips = [
    Clip("alone", 0, [figure(5)], {"subject": 1, "camera": 1, "setup": 1}),
    Clip("both", 2, [figure(8), figure(6, x=1.0)], {"subject": 2, "camera": 2, "setup": 1}),
  ]
  return prepare(tmp_path_factory.mktemp("look"), clips)


def has_color(picture: Image.Image, color: tuple[int, ...]) -> bool:
  """Whether some pixel is nearly of this colour."""
  difference = np.abs(np.asarray(picture.convert("RGB"), dtype=int) - color).max(axis=-1)
  return bool((difference < 12).any())


def test_a_gif_has_a_picture_for_every_frame(data, tmp_path):
  out = tmp_path / "new" / "clip.gif"
  assert command.main(["show", str(data.path), "--clip", "both", "--out", str(out)]) == 0
  with Image.open(out) as gif:
    assert gif.n_frames == 8
    assert has_color(gif, BLUE) and has_color(gif, ORANGE)
    gif.seek(7)  # the second person has left
    bottom = gif.convert("RGB").crop((0, 62, gif.width, gif.height - 30))
    assert has_color(bottom, BLUE) and not has_color(bottom, ORANGE)
    assert gif.convert("RGB").getpixel((gif.width // 2, 64)) == (255, 255, 255)


def test_a_png_is_a_strip_of_moments(data, tmp_path):
  out = tmp_path / "clip.png"
  assert command.main(["show", str(data.path), "--label", "2", "--out", str(out)]) == 0
  with Image.open(out) as strip:
    assert strip.width > 3 * strip.height and has_color(strip, ORANGE)


@pytest.mark.parametrize(
  "argv", [["show", "--out", "a.png"], ["show", "--out", "a.gif"], ["info", "--out", "a.png"]]
)
def test_a_disk_that_is_full_leaves_the_picture_before(data, tmp_path, monkeypatch, argv):
  monkeypatch.chdir(tmp_path)
  (tmp_path / argv[-1]).write_bytes(b"as it was")
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
  try:
    status = command.main([*argv, str(data.path)])
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert status == 1
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {argv[-1]: b"as it was"}


def scene_of(clip: np.ndarray) -> Scene:
  return Scene(clip, skeletons.tracked(clip), NTU)


def test_joints_that_are_missing_say_nothing_of_where_the_camera_stands():
  far = figure(4) + np.float32([0, 4, 0])
  whole = scene_of(far[None]).points
  far[:, 4] = 0  # a shoulder
  lacking = scene_of(far[None]).points
  seen = np.arange(25) != 4
  np.testing.assert_allclose(lacking[0][:, seen], whole[0][:, seen], atol=0.1)


def test_a_long_clip_is_thinned_out(tmp_path):
  long = prepare(tmp_path, [Clip("long", 0, [figure(400)])])
  pictures, stride = show.draw(long, 0)
  assert (len(pictures), stride) == (134, 3)


def test_a_thinned_out_clip_plays_as_long_as_it_took(tmp_path):
  data = prepare(tmp_path, [Clip("long", 0, [figure(300)])])
  out = tmp_path / "clip.gif"
  assert command.main(["show", str(data.path), "--out", str(out)]) == 0
  with Image.open(out) as gif:
    assert gif.n_frames == 150
    shown = [gif.seek(i) or gif.info["duration"] for i in range(gif.n_frames)]
  assert sum(shown) == 9900  # 300 frames of 33 ms


def test_a_clip_is_found_by_name_by_class_number_and_by_class_name(data):
  assert show.find(data, None, None) == 0
  assert show.find(data, "both", None) == 1
  assert show.find(data, None, "2") == 1
  assert show.find(data, None, "c") == 1


@pytest.mark.parametrize(
  ("arguments", "code", "message"),
  [
    (["--clip", "bofh"], 2, "has no clip 'bofh'; it has, for instance, both"),
    (["--label", "1"], 2, "has no label '1'; it has, for instance, a, c"),
    (["--out", "clip.avi"], 2, "must end in .gif, .png or .mp4"),
    (
      ["--out", "/dev/null/clip.gif"],
      1,
      "show: /dev/null/clip.gif cannot be written: /dev/null is a file",
    ),
  ],
)
def test_what_cannot_be_shown_is_said_in_one_line(data, capsys, tmp_path, arguments, code, message):
  given = ["show", str(data.path), "--out", str(tmp_path / "clip.gif"), *arguments]
  assert command.main(given) == code
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1


def fake_ffmpeg(folder, code):
  """A program 'ffmpeg' that writes its arguments and how many bytes came in into the video."""
  folder.mkdir()
  program = folder / "ffmpeg"
  program.write_text(
    f"#!{sys.executable}\nimport sys\n"
    "count = len(sys.stdin.buffer.read())\n"
    f"{code}\n"
    "open(sys.argv[-1], 'w').write(' '.join(sys.argv[1:-1]) + f' {count}')\n"
  )
  program.chmod(0o755)
  return str(folder)


@pytest.mark.parametrize("look", ["show", "info"])
def test_a_folder_that_may_not_be_read_is_said_in_one_line(monkeypatch, capsys, look):
  def refuse(path):
    raise PermissionError(errno.EACCES, "Permission denied", f"{path}/metadata.json")

  monkeypatch.setattr(show, "open_data_set", refuse)
  monkeypatch.setattr(info, "open_data_set", refuse)
  assert command.main([look, "data/mine"]) == 1
  assert capsys.readouterr().err == f"{look}: data/mine/metadata.json: Permission denied\n"


def test_ffmpeg_is_given_every_frame_of_a_video(data, tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", ""))
  out = tmp_path / "new" / "clip.mp4"
  assert command.main(["show", str(data.path), "--clip", "both", "--out", str(out)]) == 0
  said = out.read_text()
  assert "-s 440x462 -r 30.303 " in said  # 33 ms a frame
  assert said.endswith(f" {8 * 440 * 462 * 3}")


def test_a_video_that_ffmpeg_cannot_write_is_said_in_one_line(data, tmp_path, monkeypatch, capsys):
  code = "sys.exit('Unknown encoder\\nmore')"
  monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", code))
  out = tmp_path / "clip.mp4"
  assert command.main(["show", str(data.path), "--out", str(out)]) == 1
  assert capsys.readouterr().err == f"show: {out}: ffmpeg failed (Unknown encoder)\n"
  assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_without_ffmpeg_a_video_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
  assert command.main(["show", str(tmp_path / "nothing"), "--out", "clip.mp4"]) == 2
  error = capsys.readouterr().err
  assert "pip install imageio-ffmpeg), or take .gif" in error and error.count("\n") == 1
  brought = types.SimpleNamespace(get_ffmpeg_exe=lambda: "theirs")
  monkeypatch.setitem(sys.modules, "imageio_ffmpeg", brought)
  assert video.ffmpeg() == "theirs"


def real_ffmpeg():
  with contextlib.suppress(ConfigError):
    return video.ffmpeg()


@pytest.mark.skipif(real_ffmpeg() is None, reason="no ffmpeg on the PATH, nor imageio-ffmpeg")
def test_a_video_shows_every_frame(data, tmp_path):
  out = tmp_path / "clip.mp4"
  assert command.main(["show", str(data.path), "--clip", "both", "--out", str(out)]) == 0
  decode = [real_ffmpeg(), "-loglevel", "error", "-i", out, "-f", "rawvideo", "-pix_fmt", "rgb24"]
  raw = subprocess.run([*map(str, decode), "-"], capture_output=True, check=True).stdout
  frames = np.frombuffer(raw, np.uint8).reshape(-1, 462, 440, 3)
  assert len(frames) == 8
  body = frames[0, 62:-30].astype(int)
  # Somebody in blue and in orange; a video's colours are coarser than a picture's.
  assert (np.abs(body - BLUE).max(-1) < 60).any() and (np.abs(body - ORANGE).max(-1) < 60).any()


def test_who_faces_the_camera_has_the_right_hand_on_our_left_and_the_head_on_top():
  clip = figure()[None]
  scene = scene_of(clip)
  x, y, _ = scene.points[0, 0].T
  assert x[NTU.joints.index("right_hand")] < x[NTU.joints.index("left_hand")]
  assert y.argmax() == NTU.joints.index("head")


def test_two_people_one_behind_the_other_are_shown_side_by_side():
  behind = figure() + np.array([0, -1.5, 0], np.float32) * (figure() != 0).any(-1, keepdims=True)
  first, second = scene_of(np.stack([figure(), behind])).points[:, 0, :, 0]
  assert abs(first.mean() - second.mean()) > 1.2  # of the 1.5 metres between them


def test_camera_coordinates_with_y_up_and_the_person_facing_minus_z_look_the_same():
  clip = figure()[None]
  turned = np.stack([-clip[..., 0], clip[..., 2], -clip[..., 1]], axis=-1)
  expected, found = scene_of(clip).points, scene_of(turned).points
  np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-6)


def test_a_joint_gone_astray_does_not_shrink_the_figure():
  clip = np.repeat(figure(), 50, axis=0)[None]
  straight = scene_of(clip).extent
  clip[0, 3, 7] = 1000
  assert np.all(scene_of(clip).extent < 1.5 * straight)


def test_flat_clips_and_hands_and_clips_with_gaps_are_drawn(tmp_path):
  rng = np.random.default_rng(0)
  for name, channels in (("coco", 2), ("kinetics", 3), ("shrec", 3), ("mediapipe", 3)):
    skeleton = skeletons.get(name)
    person = rng.uniform(0, 0.4, (5, skeleton.num_joints, channels)).astype(np.float32)
    person[2] = 0
    person[3, ::2] = 0
    data = prepare(tmp_path / name, [Clip("a", 0, [person])], skeleton=skeleton, channels=channels,
                   center=None)  # fmt: skip
    frames, _ = show.draw(data, 0)
    assert len(frames) == 5 and has_color(frames[0], BLUE)


@pytest.mark.parametrize(
  ("third", "flat"), [((0, 1), True), ((0.2, 1.02), True), ((0, 0), True), ((-0.1, 0.9), False),
                      ((0.5, 2.5), False)],
)  # fmt: skip
def test_scores_a_little_above_one_are_no_third_coordinate(third, flat):
  clip = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3, 17, 3)).astype(np.float32)
  clip[..., 2] = np.linspace(*third, clip[..., 2].size).reshape(1, 3, 17)
  scene = Scene(clip, skeletons.tracked(clip), skeletons.get("coco"))
  assert scene.flat == flat and (scene.shadow is None) == flat


def test_a_single_joint_is_drawn_where_nothing_says_what_is_up(tmp_path):
  person = np.zeros((1, 22, 3), np.float32)
  person[0, 3] = -0.4
  data = prepare(tmp_path, [Clip("a", 0, [person])], skeleton=skeletons.get("shrec"), center=None)
  frames, _ = show.draw(data, 0)
  assert len(frames) == 1 and has_color(frames[0], BLUE)


def test_a_fourth_channel_such_as_visibility_is_not_drawn(tmp_path):
  person = figure(3)
  scored = np.concatenate([person, np.ones_like(person[..., :1])], axis=-1)
  data = prepare(tmp_path, [Clip("a", 0, [scored])], channels=4, center=None)
  assert command.main(["show", str(data.path), "--out", str(tmp_path / "clip.gif")]) == 0
  points = [scene_of(clip[None]).points for clip in (person, scored)]
  np.testing.assert_array_equal(*points)


def test_info_prints_counts_by_class_subject_and_protocol(data, capsys, tmp_path):
  out = tmp_path / "lengths.png"
  assert command.main(["info", str(data.path), "--out", str(out)]) == 0
  text = " ".join(capsys.readouterr().out.split())
  assert "2 clips of 6 classes" in text
  assert "frames: 5 to 8, median 6, mean 6.5" in text
  assert "persons: 1 in 1 clip, 2 in 1 clip" in text
  assert "class 2 c 1" in text and "class 1 b 0" in text
  assert "subject 1 1" in text
  assert "protocol xsub 2 train 0 evaluate" in text
  assert "protocol xview 1 train 1 evaluate" in text
  with Image.open(out) as picture:
    assert picture.width > 1000


def test_the_histogram_goes_into_the_data_sets_folder(data):
  assert command.main(["info", str(data.path)]) == 0
  assert (data.path / "histogram.png").is_file()


def test_the_histogram_of_clips_of_one_length_has_whole_frames(tmp_path, monkeypatch):
  figures = []

  def savefig(self, path, **_):
    figures.append(self)
    path.touch()

  monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
  info.histogram(prepare(tmp_path, random_clips(6, frames=(30, 31))), tmp_path / "h.png")
  ticks = figures[0].axes[0].get_xticks()
  assert len(ticks) and (ticks % 1 == 0).all()


def test_the_missing_share_counts_empty_frames_and_then_joints(tmp_path):
  person = figure(4)
  person[1] = 0
  person[2, :5] = 0
  data = prepare(tmp_path, [Clip("a", 0, [person])])
  assert info.missing(data) == (1 / 4, 5 / 75)


def test_a_long_list_of_classes_shows_its_ends_and_given_splits_are_counted(tmp_path):
  clips = [
    Clip(f"c{i}", i % 50, [figure(3)], {"split": "train" if i < 70 else "val"}) for i in range(80)
  ]
  data = prepare(tmp_path, clips, class_names=tuple(f"class {i}" for i in range(50)))
  text = "\n".join(info.describe(data))
  assert "50 values of class; the most and the least frequent:" in text
  assert "class 0" in text and "class 49" in text and "class 25" not in text
  assert "given       70 train       10 evaluate" in text
  info.histogram(data, tmp_path / "h.png")


def test_info_counts_copies_and_those_that_a_protocol_trains_on(tmp_path):
  clips = random_clips(14)
  for row in (8, 9):  # subjects 2 and 3; subjects 1 and 3 train
    clips[row] = dataclasses.replace(clips[row], persons=clips[0].persons)
  text = "\n".join(info.describe(prepare(tmp_path, clips)))
  assert "copies: 2 clips of earlier ones (clip008 is clip000, clip009 is clip000)" in text
  assert re.search("cross_subject .* 8 train .* 6 evaluate, 1 of them copies of training", text)


def test_info_refuses_what_is_no_picture(data, capsys):
  assert command.main(["info", str(data.path), "--out", "h.pdf"]) == 2
  assert "must end in .png" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["subject", "camera", "setup"])
def test_protocols_that_go_by_numbers_are_not_counted_where_there_is_text(tmp_path, text):
  facts = {"subject": 1, "camera": 1, "setup": 1} | {text: "left"}
  data = prepare(tmp_path, [Clip("a", 0, [figure()], facts)])
  described = "\n".join(info.describe(data))
  assert not any(name in described for name in ("xsub", "xview", "xset"))
  assert ("cross_subject" in described) == (text != "subject")


def test_random_clips_with_text_facts_are_described(tmp_path):
  clips = [Clip(f"n{i}", 0, clip.persons, {"subject": f"anna {i}"}) for i, clip in
           enumerate(random_clips(3))]  # fmt: skip
  text = "\n".join(info.describe(prepare(tmp_path, clips)))
  assert "anna 2" in text and "protocol" not in text
