"""A data set and an experiment so small that a run takes seconds."""

import itertools
import pathlib
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import prepared

from data_prep.readers.interface import Clip
from mstgcn_jax import skeletons
from mstgcn_jax.training import config as config_lib

CONFIG = pathlib.Path(__file__).with_name("tiny_config.py")
TRAIN = [sys.executable, str(pathlib.Path(__file__).parents[1] / "train.py")]
SKELETON = skeletons.get("utd_mhad")
SUBJECTS, CLASSES, TRIALS = 6, 3, 3


def read(key: tuple[int, int, int], num_joints: int, first_subject: int = 1) -> Clip:
  """A clip whose class is the speed at which the right hand circles."""
  subject, label, trial = key
  rng = np.random.default_rng(key)
  frames = int(rng.integers(12, 24))
  joints = rng.normal(0, 0.05, (frames, num_joints, 3)).astype(np.float32)
  joints += np.arange(num_joints, dtype=np.float32)[:, None] * 0.1
  angle = 0.3 * (label + 1) * np.arange(frames)
  joints[:, 11, 0] += np.cos(angle)
  joints[:, 11, 1] += np.sin(angle)
  facts = {"subject": subject + first_subject, "trial": trial}
  return Clip(f"a{label + 1}_s{subject + 1}_t{trial + 1}", label, [joints], facts)


def prepare(
  directory: pathlib.Path,
  name: str = "tiny",
  skeleton: skeletons.Skeleton = SKELETON,
  *,
  first_subject: int = 1,
  center: int | None = 2,
) -> pathlib.Path:
  """Writes a data set (27 training and 27 evaluation clips) below a folder."""
  keys = itertools.product(range(SUBJECTS), range(CLASSES), range(TRIALS))
  clips = [read(key, skeleton.num_joints, first_subject) for key in keys]
  fields = {"skeleton": skeleton, "class_names": ("slow", "medium", "fast"), "center": center}
  prepared.prepare(directory, clips, arguments_={"name": name}, **fields)
  return directory


def config(data_dir: pathlib.Path | str, **changes):
  """The tiny experiment; changes are given as dotted fields, as on the command line."""
  c = config_lib.load(CONFIG)
  c.data.dir = str(data_dir)
  c.update_from_flattened_dict(changes)
  return c


def state(workdir: pathlib.Path) -> tuple[int, dict]:
  """Step of a run's newest checkpoint, and all that its state holds."""
  newest = max((workdir / "checkpoints").glob("[0-9]*/state"), key=lambda path: int(path.parts[-2]))
  handler = ocp.PyTreeCheckpointHandler()
  as_numpy = jax.tree.map(
    lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(newest).tree
  )
  tree = handler.restore(newest, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
  return int(newest.parts[-2]), tree


def arrays(workdir: pathlib.Path) -> tuple[int, dict[str, bytes]]:
  """As `state`, every array as bytes."""
  step, tree = state(workdir)
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return step, {jax.tree_util.keystr(path): leaf.tobytes() for path, leaf in leaves}
