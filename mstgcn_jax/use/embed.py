"""Features of a data set's clips, to look at: an archive of arrays, TensorBoard's projector."""

import pathlib

import numpy as np
import tqdm

from mstgcn_jax import files
from mstgcn_jax.data.data_set import DataSet
from mstgcn_jax.use.classifier import Classifier, finite, in_batches

_AT_ONCE = 32  # clips that go through the network together


def features(classify: Classifier, data_set: DataSet) -> np.ndarray:
  """`Classifier.features` of all clips of a data set, as evaluation sees them: [clip, channel].

  ConfigError where it has another layout of joints than the run's, DataError where the network's
  numbers are not finite.
  """
  rows = tqdm.tqdm(range(len(data_set)), unit=" clips", leave=False, disable=None)
  clips = (classify.from_data_set(data_set, row) for row in rows)
  found = np.concatenate(list(in_batches(classify.features, clips, _AT_ONCE)))
  return finite(found, classify.step)


def save(path: pathlib.Path, found: np.ndarray, data_set: DataSet) -> None:
  """Writes features [clip, channel], names, labels [clip] and class_names as .npz."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.written_whole(path) as aside, open(aside, "wb") as file:
    np.savez(
      file,
      features=found,
      names=data_set.table["name"].astype(str),
      labels=data_set.table["label"],
      class_names=np.array(data_set.class_names),
    )


def save_projector(folder: pathlib.Path, found: np.ndarray, data_set: DataSet) -> None:
  """Writes what `tensorboard --logdir FOLDER` shows under Projector: features, classes, names."""
  folder.mkdir(parents=True, exist_ok=True)
  rows = ["\t".join(f"{x:.6g}" for x in row) for row in map(np.ndarray.tolist, found)]
  _write(folder / "features.tsv", rows)
  table = data_set.table
  known = [name for name in ("subject", "camera", "setup") if name in table]
  lines = ["\t".join(["class", "name", *known])]
  for i, label in enumerate(table["label"].tolist()):
    facts = [data_set.class_names[label], table["name"][i], *(table[name][i] for name in known)]
    lines.append("\t".join(" ".join(str(fact).split()) for fact in facts))
  _write(folder / "metadata.tsv", lines)
  _write(
    folder / "projector_config.pbtxt",
    [
      "embeddings {",
      f'  tensor_name: "features of {len(found)} clips"',
      '  tensor_path: "features.tsv"',
      '  metadata_path: "metadata.tsv"',
      "}",
    ],
  )


def _write(path: pathlib.Path, lines: list[str]) -> None:
  with files.written_whole(path) as aside:
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
