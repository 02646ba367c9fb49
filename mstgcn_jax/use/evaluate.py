"""A trained run on the clips of a protocol: `evaluate`."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from mstgcn_jax import words
from mstgcn_jax.data.data_set import DataSet, open_data_set
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.evaluation import calibration, fusion, metrics
from mstgcn_jax.evaluation.calibration import Calibration
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.training import checkpoints, devices, split_logits, train_step
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import Experiment, make_split, set_up
from mstgcn_jax.training.train_step import EvalVariables
from mstgcn_jax.training.workdir import RunFacts
from mstgcn_jax.use.classifier import finite


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a network says of the evaluation clips of a protocol.

      run = mst.evaluate("runs/quickstart")
      run.headline, run.figures[run.headline]["mean_class"], run.scores["joint"].logits

  Attributes:
    scores: stream or fusion -> names, labels and logits of its clips.
    class_names: one per class.
    data_name, protocol: which clips they are.
    step: training step of the parameters; None for fresh ones.
    selected_on: what that step was selected on as the best; '' where it was not selected.
    trained_on: how many of the clips were trained on.
    copies: names of clips that were not, but clips with the same frames were.
    holdout: as `scores`, of the clips held out of training; empty where the run has none.
    holdout_subjects: whose they are.
    notes: what may make the figures worse than the network is, one line each.
  """

  scores: dict[str, Scores]
  class_names: tuple[str, ...]
  data_name: str
  protocol: str
  step: int | None = None
  selected_on: str = ""
  trained_on: int = 0
  copies: tuple[str, ...] = ()
  holdout: dict[str, Scores] = dataclasses.field(default_factory=dict)
  holdout_subjects: tuple[int, ...] = ()
  notes: tuple[str, ...] = ()

  @property
  def headline(self) -> str:
    """The stream or fusion that the run is judged by."""
    return fusion.headline_name(self.scores)

  @property
  def figures(self) -> dict[str, dict[str, float]]:
    """stream or fusion -> loss, top1, top5, mean_class, from 0 to 1, and calibration_error."""
    return {name: _figures(scores) for name, scores in self.scores.items()}

  @property
  def figures_without_copies(self) -> dict[str, dict[str, float]]:
    """As `figures`, of the clips that are not in `copies`; empty where there are no others."""
    kept = {name: scores.without(self.copies) for name, scores in self.scores.items()}
    return {name: _figures(scores) for name, scores in kept.items() if len(scores.labels)}

  def per_class(self, name: str | None = None) -> dict[str, float]:
    """Class -> top-1 accuracy of a stream or fusion; by default the headline's.

    It is nan where a class has no clip.
    """
    scores = self.scores[name or self.headline]
    accuracies = metrics.per_class(scores.logits, scores.labels)
    return dict(zip(self.class_names, accuracies.tolist(), strict=True))

  def calibrate(self) -> Calibration:
    """Temperatures of the streams and fusions, fitted on the clips held out of training.

    Raises:
      ConfigError: none were, or the network has fresh weights.
    """
    if not self.holdout or self.step is None:
      raise ConfigError(
        "a temperature is fitted on training subjects that were held out, and this run has none; "
        "train with, for instance, --config.data.holdout_subjects='(1,)', and evaluate by the "
        "run's own protocol"
      )
    fitted = {
      name: calibration.fit_temperature(s.logits, s.labels) for name, s in self.holdout.items()
    }
    clips = words.counted(len(next(iter(self.holdout.values())).labels), "held-out clip")
    subjects = ", ".join(map(str, self.holdout_subjects))
    word = "subject" if len(self.holdout_subjects) == 1 else "subjects"
    return Calibration(fitted, self.step, f"{clips} of {word} {subjects}")


def _figures(scores: Scores) -> dict[str, float]:
  logits, labels = scores.logits, scores.labels
  error = calibration.expected_calibration_error(logits, labels)
  return metrics.summarize(logits, labels) | {"calibration_error": error}


def evaluate(
  workdir: str | pathlib.Path,
  *,
  checkpoint: str | int = "newest",
  protocol: str | None = None,
  data_set: DataSet | str | pathlib.Path | None = None,
  trust: bool = False,
) -> Evaluation:
  """Evaluates a trained run.

      run = mst.evaluate("runs/quickstart", protocol="cross_subject")
      run.figures["joint"]["top1"], run.per_class()["sit down"]

  Args:
    checkpoint: 'newest' (the last epoch of a finished run), 'best' (selected on the evaluation
      split) or a step.
    protocol: as in the config's data.protocol; default as in training.
    data_set: a prepared data set or its folder, by default the one that was trained on. Another one
      has to have the same layout and classes.
    trust: allows importing layers of its own that the run names.
  Raises:
    DataError: no workdir or data set, no such checkpoint, or a damaged one; or the network's
      numbers are not finite.
    ConfigError: run, data and protocol don't fit each other, or the run is not trusted.
  """
  workdir = pathlib.Path(workdir)
  facts = workdir_lib.read(workdir)
  trained = config_lib.read(workdir / "config.json")
  for model in (facts.model, trained.model):
    workdir_lib.check_trusted(model, trust)
  with trained.ignore_type():  # as recorded: the file that the config names may be gone
    trained.model.graph = facts.model.graph
  trained_on = facts.data_name or trained.data.name
  run = _set_up(trained, protocol, data_set, trained_on)
  notes = _check_fit(workdir, facts, run)
  variables, step = _load(workdir, checkpoint, run)
  selected_on = ""
  if checkpoint != "newest" and step == checkpoints.best_step(workdir):
    selected_on = _selected_on(trained, trained_on, run)
  evaluation = _evaluate(run, variables)
  for scores in evaluation.scores.values():
    finite(scores.logits, step)
  rows = _trained_rows(trained, facts, run)
  copies = run.data_set.copies_of(rows, run.split.eval)
  return dataclasses.replace(
    evaluation,
    step=step,
    selected_on=selected_on,
    trained_on=int(np.isin(run.split.eval, rows).sum()),
    copies=tuple(run.data_set.column("name")[list(copies)].tolist()),
    notes=tuple(notes),
  )


def _selected_on(trained: ConfigDict, trained_on: str, run: Experiment) -> str:
  """What a run of this config chose its best checkpoint by, as seen from what is evaluated."""
  if trained.data.holdout_subjects:
    return "held-out subjects"
  if (run.data_set.name, run.config.data.protocol) == (trained_on, trained.data.protocol):
    return "this very split"
  return f"{trained_on}, {trained.data.protocol}"


def _load(
  workdir: pathlib.Path, checkpoint: str | int, run: Experiment
) -> tuple[dict[str, EvalVariables], int]:
  """Stream -> what a checkpoint holds for its network, on its devices; and the step."""
  found, step = checkpoints.load_variables(workdir, checkpoint, streams=tuple(run.meshes))
  variables = {}
  for name, mesh in run.meshes.items():
    saved = found[name]
    checkpoints.check_fits(run.abstract, saved, f"checkpoint {step} of {workdir}")
    # With numbers for blocks, which a checkpoint holds as text.
    trees = {kind: nnx.restore_int_paths(saved[kind]) for kind in ("params", "batch_stats")}
    variables[name] = train_step.replicate(mesh, saved | trees)
  return variables, step


def evaluate_fresh(
  config: ConfigDict,
  *,
  protocol: str | None = None,
  data_set: DataSet | str | pathlib.Path | None = None,
) -> Evaluation:
  """Evaluates a config's network as it is initialised: shows that data and network fit together."""
  run = _set_up(config, protocol, data_set, config.data.name)
  states = run.initial_states()
  return _evaluate(run, {name: train_step.eval_variables(s) for name, s in states.items()})


def _set_up(config: ConfigDict, protocol: str | None, data_set, trained_on: str) -> Experiment:
  """The experiment of a config with another protocol or data set, which leave the config alone.

  Args:
    trained_on: what the config's data set calls itself; its folder may have another name.
  """
  config = config.copy_and_resolve_references()
  if isinstance(data_set, str | pathlib.Path):
    data_set = open_data_set(data_set)
  other_data = data_set is not None and data_set.name != trained_on
  if other_data or protocol not in (None, config.data.protocol):
    config.data.holdout_subjects = ()  # of the split that was trained on
  config.data.protocol = protocol or config.data.protocol
  # None makes another network, and devices may be others than in training.
  count = jax.device_count()
  config.stream_devices = 0
  config.eval_batch_size = -(-config.eval_batch_size // count) * count
  config.model.dtype = devices.dtype_for_use(config.model.dtype)
  return set_up(config, train=False, data_set=data_set)


def _evaluate(run: Experiment, variables: Mapping[str, EvalVariables]) -> Evaluation:
  splits = split_logits.predict_splits(run, variables, bar=True)
  return Evaluation(
    scores=split_logits.scores(run, "eval", splits["eval"]),
    holdout=split_logits.scores(run, "holdout", splits.get("holdout", {})),
    holdout_subjects=tuple(run.config.data.holdout_subjects),
    class_names=tuple(run.data_set.class_names),
    data_name=run.data_set.name,
    protocol=run.config.data.protocol,
  )


def _check_fit(workdir: pathlib.Path, facts: RunFacts, run: Experiment) -> list[str]:
  """Notes on the data; ConfigError where it is none that the run could have been trained on."""
  data_set, here = run.data_set, run.facts()
  notes = facts.code_differences(here) + run.stale_code()
  differences = facts.model_differences(run.model_config)
  if facts.data_name == data_set.name:
    differences += facts.data_differences(data_set)
  elif facts.data_name is not None:
    if facts.class_names != tuple(data_set.class_names):
      differences.append("the names of the classes, or their order")
    for then, now in facts.clip_differences(here):
      notes.append(f"clips of {data_set.name} are {now}, those trained on {then}")
  if differences == [workdir_lib.UNKNOWN_DATA]:
    return [f"whether {data_set.path} fits is not known: {workdir_lib.UNKNOWN_DATA}", *notes]
  if differences:
    raise ConfigError(
      f"{data_set.path} does not fit the run in {workdir} ({'; '.join(differences)}); "
      "--data names another folder of data sets, --data-name another one in it"
    )
  return notes


def _trained_rows(trained: ConfigDict, facts: RunFacts, run: Experiment) -> np.ndarray:
  """Rows of the evaluated data set that a run of this config was trained on."""
  if facts.data_name != run.data_set.name:  # an imported model doesn't know its data
    return np.zeros(0, np.int64)
  return make_split(trained, run.data_set).train
