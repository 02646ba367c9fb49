"""Public sets in their documented files, made of stick people: what comes out, what is refused."""

import pickle
import warnings

import numpy as np
import pytest
import stick_poses
from formats import prepare

from data_prep.readers import msr_action3d, shrec17
from mstgcn_jax.data import protocols
from mstgcn_jax.data.data_set import REPORT


def body(layout: str, seed: int, frames: int) -> np.ndarray:
  """One stick person [frame, joint, 3] as Kinect has it: x to its left, z away from it.

  Those of even seeds are seen from behind.
  """
  person = stick_poses.as_layout(stick_poses.people(2, seed, frames), layout)[0]
  return person * ([-1, 1, -1] if seed % 2 else [1, 1, 1]) + [0, 0, 2.5]


def lines(rows: np.ndarray, first=None) -> str:
  """Rows of numbers as text, with a whole number in front of each where `first` is given."""
  texts = [" ".join(f"{value:.6f}" for value in row) for row in rows]
  if first is not None:
    texts = [f"{number} {text}" for number, text in zip(first, texts, strict=True)]
  return "\n".join(texts) + "\n"


def upright(data) -> bool:
  """Whether each clip is turned: shoulders along x (a hand: wrist to palm along z), head up."""
  skeleton = data.skeleton
  (start, end), axis = skeleton.vertical, 2
  if skeleton.horizontal is not None:
    (start, end), axis = skeleton.horizontal[::-1], 0
  for persons in data.read(range(len(data))):
    joints = persons[0][0]
    bone, up = joints[end] - joints[start], np.subtract(*joints[list(skeleton.vertical[::-1])])
    if np.abs(np.delete(bone, axis)).max() > 1e-5 or bone[axis] <= 0 or up[2] <= 0:
      return False
  return True


# --- UTKinect


def write_utkinect(raw) -> None:
  (raw / "joints").mkdir(parents=True)
  labels = []
  for subject in (1, 2):
    name = f"s{subject:02d}_e01"
    frames = [100 + 2 * t for t in range(30)]
    frames[5] = frames[4]  # a frame twice
    rows = body("nw_ucla", subject, 30).reshape(30, -1)
    (raw / "joints" / f"joints_{name}.txt").write_text(lines(rows, frames))
    nowhere = "160 NaN" if subject == 1 else "NaN 190"
    labels += [name, "walk: 100 120", "sitDown: 130 150", f"carry: {nowhere}"]
    labels += ["clapHands: 200 300 "]
  (raw / "actionLabel.txt").write_text("\n".join([*labels, "s03_e01", "walk: 1 2"]))


def test_utkinect_actions_are_clips_of_its_recordings(raw, capsys):
  write_utkinect(raw)
  data = prepare("utkinect", raw, "--max-bad", 50)
  assert data.table["name"].tolist() == [
    f"s{s:02d}_e01_{action}" for s in (1, 2) for action in ("walk", "sitDown")
  ]
  assert [data.class_names[label] for label in data.table["label"]] == 2 * ["walk", "sit down"]
  # 100 to 120 in steps of 2 are 11 frames, one of which is there twice; 130 to 150 are 11
  assert data.table["frames"].tolist() == 2 * [10, 11]
  assert data.table["subject"].tolist() == [1, 1, 2, 2]
  assert data.table["replication"].tolist() == [1, 1, 1, 1] and data.upward == "y"
  report = (data.path / REPORT).read_text()
  assert "clapHands,joints_s01_e01.txt has no frame in 200 to 300" in report
  assert "s03_e01_walk,cannot be read: No such file or directory" in report
  assert "195 fewer than the published 199" in capsys.readouterr().err
  train, evaluate = protocols.split(data, "leave_one_out:column=sequence,value=s02_e01")
  assert (train.tolist(), evaluate.tolist()) == ([0, 1], [2, 3])
  assert upright(data) and data.sample(1, 16, num_persons=1).shape == (1, 16, 20, 3)
  # as far from where the first joint was first as in the file, frame by frame
  before, after = body("nw_ucla", 1, 30)[:5], data.read([0])[0][0][:5]
  far = [np.linalg.norm(points - points[0, 0], axis=-1) for points in (before, after)]
  np.testing.assert_allclose(*far, atol=1e-5)


@pytest.mark.parametrize(
  ("label", "message"),
  [
    ("s01_e01\nrun: 1 2", "line 2 is 'run: 1 2'; expected such as 'walk: 252 390'"),
    ("walk: 1 2", "line 1 is 'walk: 1 2'"),
    ("s01_e01\nwalk: a 2", "has no two frame numbers"),
    ("s01_e01\nwalk\xe9: 1 2", "line 2 is 'walk\ufffd: 1 2'"),
    ("", "lists no action"),
  ],
)
def test_utkinects_list_of_labels_is_checked(raw, capsys, label, message):
  write_utkinect(raw)
  (raw / "actionLabel.txt").write_bytes(label.encode("latin-1"))
  prepare("utkinect", raw, status=1)
  assert message in capsys.readouterr().err
  (raw / "joints/actionLabel.txt").touch()
  prepare("utkinect", raw, status=1)
  assert "holds 2 files actionLabel.txt; expected one" in capsys.readouterr().err
  (raw / "joints/actionLabel.txt").unlink()
  (raw / "actionLabel.txt").unlink()
  prepare("utkinect", raw, status=1)
  assert "holds 0 files actionLabel.txt" in capsys.readouterr().err


# --- SHREC'17


def hand22(frames: int, seed: int) -> np.ndarray:
  """A hand in SHREC's 22 joints: the 21 of others, and a palm."""
  hand = stick_poses.hand(frames, seed) @ np.diag([1, -1, 1]) + [0, 0, 0.5]
  palm = 0.5 * (hand[:, :1] + hand[:, 9:10])
  return np.concatenate([hand[:, :1], palm, hand[:, 1:]], axis=1)


def write_shrec(raw) -> None:
  raw.mkdir()
  for name, subjects in (("train", (1, 2)), ("test", (3,))):
    rows = []
    for subject in subjects:
      for gesture, finger in ((1, 1), (1, 2), (14, 2)):
        folder = raw / f"gesture_{gesture}/finger_{finger}/subject_{subject}/essai_1"
        folder.mkdir(parents=True)
        hand = hand22(20, 7 * subject + finger)
        (folder / "skeletons_world.txt").write_text(lines(hand.reshape(20, -1)))
        (folder / "skeletons_image.txt").write_text(lines(hand[..., :2].reshape(20, -1)))
        fine = 2 * (gesture - 1) + finger
        rows.append(f"{gesture} {finger} {subject} 1 {gesture} {fine} 20")
    (raw / f"{name}_gestures.txt").write_text("\n".join(rows) + "\n")


def test_shrec_has_14_or_28_classes_and_the_tracks_split(raw, capsys):
  write_shrec(raw)
  coarse, fine = prepare("shrec17_14", raw), prepare("shrec17_28", raw)
  assert "9 clips, 2,791 fewer than the published 2,800" in capsys.readouterr().err
  assert len(coarse.class_names) == 14 and coarse.class_names[13] == "shake"
  assert coarse.table["label"].tolist() == 3 * [0, 0, 13]
  assert fine.table["label"].tolist() == 3 * [0, 1, 27]
  assert fine.class_names[:3] == ("grab (one finger)", "grab (whole hand)", "class 3")
  assert fine.class_names[27] == "shake (whole hand)"
  for data in (coarse, fine):
    train, evaluate = protocols.split(data, "given")
    assert (len(train), len(evaluate)) == (6, 3)
    assert data.table["subject"][evaluate].tolist() == [3, 3, 3]
    assert upright(data) and data.sample(0, 32, num_persons=1).shape == (1, 32, 22, 3)
  assert coarse.table["name"][2] == "g14_f2_s01_e01" and set(coarse.table["replication"]) == {1}
  assert coarse.table["finger"].tolist() == 3 * [1, 2, 2]
  # what is stored is what was written, turned: all distances are the same
  written, read = hand22(20, 8), coarse.read([0])[0][0]
  for joints in (written, read):
    lengths = np.linalg.norm(joints[:, :, None] - joints[:, None], axis=-1)
    np.testing.assert_allclose(lengths, np.linalg.norm(
      written[:, :, None] - written[:, None], axis=-1), atol=1e-5)  # fmt: skip


def test_a_line_of_the_lists_that_cannot_be_names_no_class(raw):
  write_shrec(raw)
  names = shrec17.open_28(raw, None).class_names
  for line in ("15 1 1 1 1 3 20", "0 1 1 1 1 3 20", "1 3 1 1 1 3 20", "1 2 1 1 1 29 20"):
    (raw / "test_gestures.txt").write_text(f"{line}\n1 1 1 1 1 0 20\n")
    assert shrec17.open_28(raw, None).class_names == names


def test_a_damaged_gesture_and_a_damaged_list_are_named(raw, capsys):
  write_shrec(raw)
  path = raw / "gesture_1/finger_1/subject_2/essai_1/skeletons_world.txt"
  path.write_text("1 2 3\n")
  data = prepare("shrec17_14", raw, "--max-bad", 20)
  report = (data.path / REPORT).read_text()
  assert "g01_f1_s02_e01,line 1 has 3 numbers; expected 66" in report
  (raw / "test_gestures.txt").write_text("1 1 1 1 1 1\n")
  prepare("shrec17_14", raw, "--overwrite", status=1)
  assert "test_gestures.txt: line 1 has 6 numbers; expected 7" in capsys.readouterr().err
  (raw / "test_gestures.txt").write_text("1 1 1 1 1 1.5 20\n")
  prepare("shrec17_14", raw, "--overwrite", status=1)
  assert "test_gestures.txt holds other than whole numbers" in capsys.readouterr().err
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    (raw / "test_gestures.txt").write_text("1 1 1 1 1 inf 20\n")
    prepare("shrec17_14", raw, "--overwrite", status=1)
  assert "test_gestures.txt holds other than whole numbers" in capsys.readouterr().err
  (raw / "test_gestures.txt").write_text(f"1 1 1 1 1 1 {'x' * 9999}\n")
  prepare("shrec17_14", raw, "--overwrite", status=1)
  assert len(said := capsys.readouterr().err) < 600 and "line 1 holds no number" in said
  (raw / "gesture_1/test_gestures.txt").touch()
  prepare("shrec17_14", raw, "--overwrite", status=1)
  assert "holds 2 files test_gestures.txt; expected one" in capsys.readouterr().err
  (raw / "gesture_1/test_gestures.txt").unlink()
  (raw / "test_gestures.txt").unlink()
  prepare("shrec17_14", raw, "--overwrite", status=1)
  assert "holds 0 files test_gestures.txt; expected one" in capsys.readouterr().err


# --- MSR-Action3D


def write_msr(raw) -> None:
  raw.mkdir()
  for action in (1, 2, 20):
    for subject in (1, 2):
      joints = body("msr_action3d", action + subject, 12)
      confidence = np.ones((12, 20, 1))
      confidence[3:6, 5, 0] = 0, 0.3, np.nan
      confidence *= (action, subject) != (20, 2)  # where all are 0, none was written
      rows = np.concatenate([joints, confidence], axis=-1).reshape(-1, 4)
      name = f"a{action:02d}_s{subject:02d}_e03_skeleton3D.txt"
      (raw / name).write_text(lines(rows))


def test_msr_action3d_has_its_subjects_and_its_three_sets(raw, capsys):
  write_msr(raw)
  data = prepare("msr_action3d", raw)
  assert "6 clips, 561 fewer than the published 567" in capsys.readouterr().err
  assert len(data) == 6 and data.class_names[19] == "pick up and throw"
  assert data.table["label"].tolist() == [0, 0, 1, 1, 19, 19]
  train, evaluate = protocols.split(data, "cross_subject")
  assert (train.tolist(), evaluate.tolist()) == ([0, 2, 4], [1, 3, 5])
  sets = {
    name: [part.tolist() for part in protocols.split(data, f"given:column=split_{name}")]
    for name in ("as1", "as2", "as3")
  }
  # actions 2 and 20 are in the first, 1 in the second, 20 in the third
  assert sets == {"as1": [[2, 4], [3, 5]], "as2": [[0], [1]], "as3": [[4], [5]]}
  assert upright(data) and data.sample(0, 16, num_persons=1).shape == (1, 16, 20, 3)
  person = data.read([0])[0][0]
  assert person[2:6, 5].any(axis=-1).tolist() == [True, False, True, False]  # 1, 0, 0.3 and nan
  assert data.upward == "y" and set(data.table["replication"]) == {3}


def test_the_sets_of_msr_action3d_are_those_of_its_paper(raw):
  raw.mkdir()
  sets = {"as1": set(), "as2": set(), "as3": set()}
  for action in range(1, 21):
    path = raw / f"a{action:02d}_s01_e01_skeleton3D.txt"
    path.write_text("1 2 3 1\n" * 20)
    facts = msr_action3d.read_recording(path).facts
    for name, of in sets.items():
      of |= {action} if facts[f"split_{name}"] else set()
  assert sets == {  # Li et al. 2010, table 1
    "as1": {2, 3, 5, 6, 10, 13, 18, 20},
    "as2": {1, 4, 7, 8, 9, 11, 12, 14},
    "as3": {6, 14, 15, 16, 17, 18, 19, 20},
  }


def test_places_in_the_picture_are_no_skeletons_in_metres(raw, capsys):
  (raw / "flat").mkdir(parents=True)
  (raw / "flat/a01_s01_e01_SKELETON.txt").write_text("1 2 3 1\n" * 20)
  prepare("msr_action3d", raw, status=1)
  assert "of the archive MSRAction3DSkeletonReal3D" in capsys.readouterr().err
  write_msr(raw / "metres")
  (raw / "metres/a00_s01_e01_skeleton3D.txt").write_text("1 2 3 1\n" * 20)
  (raw / "metres/a21_s01_e01_skeleton3D.txt").write_text("1 2 3 1\n" * 20)
  (raw / "metres/a03_s01_e01_skeleton3D.txt").write_text("1 2 3 1\n" * 21)
  report = (prepare("msr_action3d", raw, "--max-bad", 40).path / REPORT).read_text()
  assert "action 0 is outside 1..20" in report and "action 21 is outside 1..20" in report
  assert "has 21 lines; expected 20 per frame" in report


# --- JHMDB


def write_jhmdb(raw) -> None:
  raw.mkdir()
  (raw / "GT_train_1.pkl.old").touch()
  clips = []
  for i in range(6):
    joints = stick_poses.pixels(stick_poses.as_layout(stick_poses.people(2, i, 10 + i), "jhmdb"))
    world = np.round((joints[0] / [480, 480] - [0.5 * 640 / 480, 0.5]) / 1.3, 3)
    clips.append((("brush_hair", "wave")[i % 2], world))
  for split in (1, 2, 3):
    train = [i for i in range(6) if i % 3 != split - 1]
    for part, rows in (("train", train), ("test", sorted(set(range(6)) - set(train)))):
      content = {"pose": [clips[i][1] for i in rows], "label": [clips[i][0] for i in rows]}
      (raw / f"GT_{part}_{split}.pkl").write_bytes(pickle.dumps(content))


def test_jhmdbs_three_splits_are_columns_of_the_same_clips(raw, capsys):
  write_jhmdb(raw)
  data = prepare("jhmdb", raw)
  assert len(data) == 6 and data.class_names == ("brush_hair", "wave")
  assert sorted(data.table["name"].tolist()) == [
    *(f"brush_hair_{i:03d}" for i in (1, 2, 3)), *(f"wave_{i:03d}" for i in (1, 2, 3))
  ]  # fmt: skip
  frames = {}
  for split in (1, 2, 3):
    train, evaluate = protocols.split(data, f"given:column=split_{split}")
    assert (len(train), len(evaluate)) == (4, 2)
    frames[split] = sorted(data.table["frames"][evaluate].tolist())
  assert frames == {1: [10, 13], 2: [11, 14], 3: [12, 15]}
  said = capsys.readouterr().err
  assert "not in all" not in said and "6 clips, 922 fewer than the published 928" in said
  person = data.read([0])[0][0]
  head, ankle = (data.skeleton.joints.index(name) for name in ("head", "left_ankle"))
  assert (person[:, head, 1] > person[:, ankle, 1]).all()  # y is up now
  assert data.channels == 2 and data.coordinates["up"] == "y"
  assert data.sample(0, 32, num_persons=1).shape == (1, 32, 15, 2)
  for path in raw.glob("*.pkl"):  # in another order they are still the same
    content = {field: of[::-1] for field, of in pickle.loads(path.read_bytes()).items()}
    path.write_bytes(pickle.dumps(content))
  (raw / "GT_test_3.pkl").unlink()
  again = prepare("jhmdb", raw, "--overwrite")
  assert "2 clips are not in all of the splits 1, 2, 3" in capsys.readouterr().err
  assert sorted(again.table["split_3"].tolist()) == ["", "", "train", "train", "train", "train"]
  frames = [dict(zip(of.table["name"], of.table["frames"], strict=True)) for of in (data, again)]
  assert frames[0] == frames[1]


class Bomb:
  def __reduce__(self):
    return (print, ("executed",))


def test_a_pickle_that_asks_for_more_than_data_is_not_executed(raw, capsys):
  raw.mkdir()
  (raw / "GT_train_1.pkl").write_bytes(pickle.dumps({"pose": [Bomb()], "label": ["a"]}))
  prepare("jhmdb", raw, status=1)
  said = capsys.readouterr()
  assert "executed" not in said.out and "asks for" in said.err and "not loaded" in said.err
  (raw / "GT_train_1.pkl").write_bytes(pickle.dumps([1, 2]))
  prepare("jhmdb", raw, status=1)
  assert 'holds no {"pose"' in capsys.readouterr().err
  (raw / "GT_train_1.pkl").unlink()
  prepare("jhmdb", raw, status=1)
  assert "holds no GT_train_1.pkl" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
  ("damaged", "said"),
  [
    (np.full((8, 15, 2), "a"), "GT_train_1.pkl: a pose of b holds <U1; expected numbers"),
    ({"a": 1}, 'GT_train_1.pkl holds no {"pose": …, "label": …} as DD-Net has it (DataError('),
    (np.full((8, 15, 2), 1e300), "b_001: frame 0, joint 0 has the coordinate inf"),
    (np.ones((8, 14, 2)), "b_001: the pose has the shape (8, 14, 2); expected (frames, 15, 2)"),
    (np.ones((15, 2)), "b_001: the pose has the shape (15, 2); expected (frames, 15, 2)"),
  ],
)
def test_a_damaged_pose_of_jhmdb_is_one_message(raw, capsys, damaged, said):
  raw.mkdir()
  pose = stick_poses.people(2, 0, 8)[0, :, :15, :2]
  content = {"pose": [pose, damaged], "label": ["a", "b"]}
  (raw / "GT_train_1.pkl").write_bytes(pickle.dumps(content))
  prepare("jhmdb", raw, status=1)
  assert said in capsys.readouterr().err


@pytest.mark.parametrize(
  ("content", "said"),
  [
    ({"pose": [np.ones((8, 15, 2))]}, 'holds no {"pose": …, "label": …} as DD-Net has it'),
    ({"pose": [np.ones((8, 15, 2))], "label": ["a", "b"]}, "has 1 poses and 2 labels; expected a"),
    ({"pose": [np.ones((8, 15, 2))], "label": [""]}, "has 1 poses and 1 labels; expected a name"),
  ],
)
def test_labels_of_jhmdb_that_cannot_be_are_one_message(raw, capsys, content, said):
  raw.mkdir()
  (raw / "GT_train_1.pkl").write_bytes(pickle.dumps(content))
  prepare("jhmdb", raw, status=1)
  assert f"GT_train_1.pkl {said}" in capsys.readouterr().err


def test_a_clip_twice_in_a_split_stays_two(raw):
  raw.mkdir()
  pose = stick_poses.people(2, 0, 8)[0, :, :15, :2]
  for part in ("train", "test"):
    content = {"pose": [pose, pose], "label": ["a", "a"]}
    (raw / f"GT_{part}_1.pkl").write_bytes(pickle.dumps(content))
  data = prepare("jhmdb", raw)
  assert len(data) == 4
  assert sorted(data.table["split_1"].tolist()) == ["train", "train", "val", "val"]


# --- of all of them

FRAME, JOINT = 2, 5


def write_with(raw, source: str, **values: float) -> None:
  """Writes a source, with these x, y, z of one joint in every recording."""
  write = {"utkinect": write_utkinect, "shrec17_14": write_shrec, "msr_action3d": write_msr}
  write.get(source, write_jhmdb)(raw)
  for axis, value in (("xyz".index(axis), value) for axis, value in values.items()):
    if source == "jhmdb":
      for path in raw.glob("*.pkl"):
        content = pickle.loads(path.read_bytes())
        for pose in content["pose"]:
          pose[FRAME, JOINT, axis] = value
        path.write_bytes(pickle.dumps(content))
    else:
      msr = source == "msr_action3d"
      row, column = (FRAME * 20 + JOINT, axis) if msr else (FRAME, 3 * JOINT + axis)
      endings = ("joints_*.txt", "skeletons_world.txt", "*3D.txt")
      for path in (path for ending in endings for path in raw.rglob(ending)):
        rows = [line.split(" ") for line in path.read_text().splitlines()]
        rows[row][column + (source == "utkinect")] = str(value)
        path.write_text("\n".join(map(" ".join, rows)))


SOURCES = pytest.mark.parametrize("source", ["utkinect", "shrec17_14", "msr_action3d", "jhmdb"])


@SOURCES
def test_a_joint_with_one_coordinate_nan_is_untracked(raw, source):
  write_with(raw, source, y=np.nan)
  person = prepare(source, raw, "--max-bad", 50).read([0])[0][0]
  assert not person[FRAME, JOINT].any()
  assert person[FRAME].any(-1).sum() == len(person[FRAME]) - 1


@SOURCES
def test_a_joint_whose_coordinates_happen_to_sum_to_zero_is_tracked(raw, source):
  write_with(raw, source, x=1, y=-1, **({} if source == "jhmdb" else {"z": 0}))
  assert prepare(source, raw, "--max-bad", 50).read([0])[0][0][FRAME, JOINT].any()


# The second axis of a hand is turned.
@pytest.mark.parametrize(
  ("source", "axis"), [*((source, "x") for source in SOURCES.args[1]), ("shrec17_14", "y")]
)
def test_a_coordinate_beyond_reason_is_named_as_it_stands_in_the_file(raw, source, axis, capsys):
  write_with(raw, source, **{axis: 2e9})
  prepare(source, raw, status=1)
  said = f"frame {FRAME}, joint {JOINT} has the coordinate 2e+09; expected at most 1e+09"
  assert said in capsys.readouterr().err
