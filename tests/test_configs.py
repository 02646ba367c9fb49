"""Every file in configs/: it validates, and those for other data start on data in raw form."""

import json
import pathlib
import pickle
import shutil

import estimator_files
import jax
import numpy as np
import prepared
import pytest
import test_public_sets
from flax import nnx
from formats import prepare

from data_prep.readers.interface import Clip
from data_prep.synthetic import skeleton_files
from mstgcn_jax import skeletons
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.model import MSTGCN
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import loop
from mstgcn_jax.training.experiment import set_up

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
FILES = sorted(path.name for path in CONFIGS.glob("*.py"))
STREAMS = ("joint", "bone", "joint_motion", "bone_motion")


@pytest.mark.parametrize("name", FILES)
def test_a_config_file_describes_an_experiment(name):
  config = config_lib.load(CONFIGS / name)
  config_lib.validate(config)
  known = config_lib.flatten(config_lib.default().to_dict())
  assert set(config_lib.flatten(config.to_dict())) == set(known), "a field that nothing reads"


@pytest.mark.parametrize("name", ["ctrgcn", "mstgcn_modern", "stgcnpp", "dgstgcn", "msg3d"])
def test_recipes_of_ctrgcn_and_pyskl_centre_clips_where_they_begin(name):
  assert config_lib.load(CONFIGS / f"ntu_{name}.py").data.center == "first_frame"


@pytest.mark.parametrize(
  ("name", "facts", "parameters"),
  [
    # Chen et al. 2021, less the batch norms that their code holds and never uses: reference.md §1.
    ("ntu_joint.py", {}, 2_891_351),
    ("ntu_streams.py", {}, 2_891_351),
    # 60 more classes: 60 * 448 weights and 60 biases.
    ("ntu120_joint.py", {"num_classes": 120}, 2_891_351 + 60 * 449),
  ],
)
def test_published_configs_describe_the_published_network(name, facts, parameters):
  config = config_lib.load(CONFIGS / name)
  model = config_lib.model_config(config, **facts)
  widths = [(b.in_channels, b.out_channels, b.residual, b.stride) for b in model.blocks]
  assert widths == [
    *((3, 112, False, 1), (112, 112, True, 1), (112, 112, True, 1), (112, 112, True, 1)),
    *((112, 224, True, 2), (224, 224, True, 1), (224, 224, True, 1)),
    *((224, 448, True, 2), (448, 448, True, 1), (448, 448, True, 1)),
  ]
  assert (config.data.window, model.num_persons, model.block_type) == (300, 2, "ms")
  recipe = (config.epochs, config.batch_size, config.label_smoothing, config.mixup)
  assert recipe == (110, 32, 0, 0)
  abstract = nnx.eval_shape(lambda: MSTGCN(model, rngs=nnx.Rngs(0)))
  params = jax.tree.leaves(nnx.state(abstract, nnx.Param))
  assert sum(leaf.size for leaf in params) == parameters


def test_a_copy_in_another_folder_inherits_as_the_shipped_one_does(tmp_path):
  copied = shutil.copy(CONFIGS / "poses.py", tmp_path / "mine.py")
  assert config_lib.load(copied).to_dict() == config_lib.load("poses").to_dict()


def test_ntu_120_differs_from_ntu_60_in_its_data_only():
  ntu60, ntu120 = (config_lib.load(CONFIGS / f"{name}_joint.py") for name in ("ntu", "ntu120"))
  assert config_lib.differences(ntu60, ntu120) == [
    "data.name: 'ntu60' -> 'ntu120'",
    "data.protocol: 'xview' -> 'xsub'",
  ]


@pytest.mark.parametrize("data", ["ntu", "utd_mhad", "nw_ucla"])
def test_four_streams_differ_from_one_in_the_streams_only(data):
  one, four = (config_lib.load(CONFIGS / f"{data}_{kind}.py") for kind in ("joint", "streams"))
  assert config_lib.differences(one, four) == [f"streams: ('joint',) -> {STREAMS}"]


# --- a start on each kind of raw data


def start(name: str, data_dir: pathlib.Path, workdir: pathlib.Path, channels: int) -> Scores:
  """One epoch of a config file with batches and a network, of one block, that take seconds."""
  config = config_lib.load(CONFIGS / name)
  config.data.dir = str(data_dir)
  config.model.blocks = ((channels, 8, False, 1),)
  config.data.window = 16
  config.batch_size = config.eval_batch_size = 4
  config.epochs, config.min_steps_per_epoch = 1, 0
  results = loop.train(config, workdir)
  assert all(np.isfinite(row["loss"]) for row in results.values())
  return Scores.load(workdir / "scores.npz")


def wave(frames: int, joints: int, channels: int, seed: int) -> np.ndarray:
  """Joints [frame, joint, channel] that move, in 0.1 to 0.9."""
  start = np.random.default_rng(seed).uniform(0.3, 0.7, (joints, channels))
  return start + 0.2 * np.sin(np.arange(frames) / 3)[:, None, None]


def test_ntu120_starts_on_skeleton_files(tmp_path, raw):
  classes = len(skeleton_files.CLASS_NAMES)
  for path in skeleton_files.generate(raw, performers=3, repetitions=1, cameras=1, frames=24):
    action = int(path.stem[-3:])
    path.rename(path.with_name(f"{path.stem[:-3]}{120 - action:03d}.skeleton"))
  prepare("ntu120", raw)
  scores = start("ntu120_joint.py", tmp_path, tmp_path / "run", channels=3)
  # Performers 1 and 2 train, 3 evaluates.
  assert all("P003" in name for name in scores.names.tolist())
  assert scores.logits.shape == (classes, 120)


def test_the_modern_recipe_starts_on_generated_clips(tmp_path, raw):
  skeleton_files.generate(raw, performers=3, repetitions=1, cameras=1, frames=24)
  prepare("ntu60", raw)
  scores = start("ntu_mstgcn_modern.py", tmp_path, tmp_path / "run", channels=3)
  assert all("P003" in name for name in scores.names.tolist())  # performers 1 and 2 train
  assert scores.logits.shape == (len(skeleton_files.CLASS_NAMES), 60)


def test_kinetics_starts_on_json_files(tmp_path, raw):
  for part, count in (("train", 8), ("val", 3)):
    folder = raw / f"kinetics_{part}"
    folder.mkdir(parents=True)
    labels = {}
    for i in range(count):
      x = np.round(wave(10 + i, 18, 3, seed=i), 3)
      frames = [{"pose": pose[:, :2].ravel().tolist(), "score": pose[:, 2].tolist()} for pose in x]
      facts = {"label": f"class {i % 2}", "label_index": i % 2}
      data = [{"frame_index": t, "skeleton": [frame]} for t, frame in enumerate(frames)]
      (folder / f"{part}{i}.json").write_text(json.dumps({"data": data, **facts}))
      labels[f"{part}{i}"] = {"has_skeleton": True, **facts}
    (raw / f"kinetics_{part}_label.json").write_text(json.dumps(labels))
  prepare("kinetics", raw)
  scores = start("kinetics_joint.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.names.tolist() == ["val0", "val1", "val2"]
  assert scores.logits.shape == (3, 400)


def test_nw_ucla_starts_on_json_files(tmp_path, raw):
  raw.mkdir()
  names = [f"a{1 + i % 2:02d}_s01_e{i // 3:02d}_v{1 + i % 3:02d}" for i in range(9)]
  for i, name in enumerate(names):
    content = {"file_name": name, "skeletons": wave(8 + 2 * i, 20, 3, seed=i).tolist()}
    (raw / f"{name}.json").write_text(json.dumps(content | {"label": 1 + i % 2}))
  prepare("nw_ucla", raw)
  scores = start("nw_ucla_joint.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.names.tolist() == sorted(name for name in names if name.endswith("v03"))
  assert scores.logits.shape == (3, 10)


@pytest.mark.parametrize(
  ("name", "layout"),
  [("utd_mhad", "utd_mhad"), ("utkinect", "nw_ucla"), ("msr_action3d", "msr_action3d")],
)
def test_small_sets_start_on_generated_clips(name, layout, tmp_path):
  skeleton = skeletons.get(layout)
  clips = []
  for i in range(8):
    joints = np.float32(wave(10 + i, skeleton.num_joints, 3, seed=i))
    facts = {"subject": 1 + i % 2, "sequence": f"s{1 + i % 2:02d}_e01"}
    clips.append(Clip(f"c{i}", i % 2, [joints], facts))
  layout_facts = {"skeleton": skeleton, "center": skeleton.center}
  prepared.prepare(tmp_path, clips, arguments_={"name": name}, **layout_facts)
  scores = start(f"{name}_joint.py", tmp_path, tmp_path / "run", channels=3)
  assert len(scores.names) == 4
  shown = json.loads((tmp_path / "run" / "model.json").read_text())["input"]
  assert (shown["origin"], shown["body_size"]) == ("first_frame", True)


def test_coco_starts_on_a_pyskl_pickle(tmp_path):
  annotations = [
    {
      "frame_dir": f"S001C001P{i:03d}R001A001",
      "label": i % 3,
      "img_shape": (1080, 1920),
      "total_frames": 8 + 4 * i,
      "keypoint": (1000 * wave(8 + 4 * i, 17, 2, seed=i)[None]).astype(np.float16),
      "keypoint_score": np.ones((1, 8 + 4 * i, 17), np.float16),
    }
    for i in range(8)
  ]
  names = [annotation["frame_dir"] for annotation in annotations]
  split = {"xsub_train": names[:5], "xsub_val": names[5:], "xview_train": names, "xview_val": []}
  raw = tmp_path / "ntu60_hrnet.pkl"
  raw.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
  prepare("pyskl", raw)
  scores = start("coco_joint.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.names.tolist() == names[5:]


def test_poses_start_on_a_folder_of_openpose_files_in_class_folders(tmp_path, raw):
  for name, action in (("pick up", 2), ("open a drawer", 6)):
    for i in range(6):
      people = estimator_files.seen("body_25", action, seed=i, frames=12)
      estimator_files.openpose(raw / name / f"clip{i}", people)
  prepare("poses", raw)
  scores = start("poses.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.logits.shape == (3, 2)  # 12 clips in five groups, one of which is tested
  facts = json.loads((tmp_path / "run" / "model.json").read_text())
  assert facts["model"]["skeleton"]["name"] == "body_25"
  assert facts["class_names"] == ["open a drawer", "pick up"]


def test_shrec_starts_on_its_text_files(tmp_path, raw):
  test_public_sets.write_shrec(raw)
  prepare("shrec17_14", raw)
  scores = start("shrec17_14_joint.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.logits.shape == (3, 14)  # the third subject's gestures are the track's test


def write_own(raw: pathlib.Path, channels: int) -> None:
  """Twelve clips of 15 joints by three people, as a newcomer would hand them over."""
  raw.mkdir()
  lines = ["name,label,subject"]
  for i in range(12):
    np.save(raw / f"clip{i}.npy", wave(10 + 3 * i, 15, channels, seed=i))
    lines.append(f"clip{i},{('wave', 'clap')[i % 2]},{('ann', 'bob', 'eve')[i // 4]}")
  (raw / "clips.csv").write_text("\n".join(lines))
  edges = [[joint, (joint - 1) // 2] for joint in range(1, 15)]
  layout = {"name": "tree", "joints": [f"joint {i}" for i in range(15)], "inward": edges}
  (raw / "skeleton.json").write_text(json.dumps(layout | {"center": 0}))


def test_own_recordings_start_on_a_folder_of_arrays(tmp_path, raw):
  write_own(raw, channels=3)
  prepare("own", raw)
  scores = start("own_recordings.py", tmp_path, tmp_path / "run", channels=3)
  assert scores.logits.shape == (4, 2)  # one of three people is tested
  facts = json.loads((tmp_path / "run" / "model.json").read_text())
  assert len(facts["model"]["skeleton"]["joints"]) == 15
  assert facts["class_names"] == ["clap", "wave"]


def test_own_flat_recordings_need_no_change_of_the_config(tmp_path, raw):
  write_own(raw, channels=2)
  prepare("own", raw)
  config = config_lib.load(CONFIGS / "own_recordings.py")
  config.data.dir = str(tmp_path)
  config.batch_size = 4
  run = set_up(config)
  assert (run.model_config.in_channels, run.model_config.skeleton.num_joints) == (2, 15)
  # What the recipe has and flat clips of a layout without pairs cannot have is left out.
  options = run.task.augmentation
  assert (options.dimensions, options.rotation, options.mirror) == (2, (0, 0, 0.3), 0)
  assert run.facts().sampling.bone_parents is None


def test_scores_of_own_recordings_are_not_turned_and_sheared(tmp_path, raw):
  write_own(raw, channels=3)
  prepare("own", raw, "--as-is")
  config = config_lib.load(CONFIGS / "own_recordings.py")
  config.data.dir = str(tmp_path)
  config.batch_size = 4
  assert set_up(config).task.augmentation.dimensions == 2
  config.augment.dimensions = 3
  with pytest.raises(ConfigError, match="dimensions is 3, but the channels of own are x, y, score"):
    set_up(config)
  config.augment = config_lib.load(CONFIGS / "ntu_mstgcn_modern.py").augment
  assert set_up(config).task.augmentation.rotation == (0, 0, 0.3)
