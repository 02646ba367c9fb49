"""Orbax checkpoints of a run: the newest two and the best, each array with a digest.

A checkpoint holds `state`, {stream: TrainState as nested dicts}, and `facts`, JSON with the
digests and what the loop has to remember. Orbax writes it aside and renames it, so that a
process killed meanwhile leaves no half checkpoint; it does not notice a flipped bit, so digests
are verified on restore. It is saved before it is evaluated; what the evaluation found is put into
it afterwards, as `metrics`.
"""

import contextlib
import dataclasses
import glob
import hashlib
import json
import logging
import math
import pathlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from mstgcn_jax import files
from mstgcn_jax.errors import ConfigError, DataError, RunError, first_line
from mstgcn_jax.model import ModelConfig, Network, abstract_network, make_network
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import devices, train_step
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.train_step import EvalVariables, TrainState

_log = logging.getLogger("mstgcn_jax")


@dataclasses.dataclass(frozen=True)
class Progress:
  """What the loop remembers beside the state, at first before any evaluation.

  Attributes:
    best_top1: the highest accuracy by which checkpoints are chosen; -1 before the first.
    best_step: where it was.
    since_best: evaluations since then.
    judged_step: where the last evaluation was.
  """

  best_top1: float = -1.0
  best_step: int = 0
  since_best: int = 0
  judged_step: int = 0

  def judged(self, step: int, top1: float) -> "Progress":
    """As it is after an evaluation."""
    if top1 > self.best_top1:
      return Progress(top1, step, 0, step)
    return dataclasses.replace(self, since_best=self.since_best + 1, judged_step=step)


# What a network's values are kept as.
_KINDS = ((nnx.Param, "params"), (nnx.BatchStat, "batch_stats"))
_PROGRESS = tuple(field.name for field in dataclasses.fields(Progress))


def check_path(workdir: str | pathlib.Path) -> None:
  """Raises ConfigError where Orbax would write checkpoints that cannot be read.

  DataError as `files.check_is_text`.
  """
  path = pathlib.Path(workdir).absolute()
  files.check_is_text(path)
  if glob.has_magic(str(path)):
    raise ConfigError(
      f"workdir {path} has *, ? or [ in its path, which Orbax takes for a pattern, so that no "
      "checkpoint in it could be read; take another --workdir"
    )


def exist(workdir: str | pathlib.Path) -> bool:
  """Whether a workdir holds checkpoints, whole or damaged."""
  return any(_steps_in(pathlib.Path(workdir) / "checkpoints"))


def _steps_in(directory: pathlib.Path) -> list[pathlib.Path]:
  """Folders of checkpoints, without those that are being written or deleted."""
  return sorted(path for path in directory.glob("*") if path.name.isdecimal())


def make_manager(workdir: str | pathlib.Path, *, read_only: bool = False) -> ocp.CheckpointManager:
  """Orbax's manager of `workdir`/checkpoints; the best is the first of the highest top-1.

  Orbax reads every checkpoint's accuracy at once, so a damaged one would spoil them all: it is
  deleted, and that checkpoint is then never the best, unless it is evaluated again.

  Raises:
    DataError: an accuracy is damaged and the manager is read-only, Orbax's own facts are, or as
      `files.check_is_text`.
    ConfigError: see `check_path`; reading is possible there.
  """
  directory = pathlib.Path(workdir).absolute() / "checkpoints"
  if read_only:
    files.check_is_text(directory)
  else:
    check_path(workdir)
  if jax.process_index() == 0:
    for path in _damaged_metrics(directory):
      if read_only:
        raise DataError(f"{path} is damaged; delete it, or start the run again, which does so")
      shutil.rmtree(path.parent)
      _log.warning("the accuracy in %s is damaged and was deleted", path)
  if not read_only:
    multihost_utils.sync_global_devices("deleted damaged metrics")
  rank = lambda metrics: (metrics["top1"], -metrics.get("step", 0))
  policies = [
    preservation_policy.LatestN(2),
    preservation_policy.BestN(get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False),
  ]
  handlers = {"state": ocp.StandardCheckpointHandler(), "facts": ocp.JsonCheckpointHandler()}
  with _only_errors_logged():  # it warns of what it was asked for
    options = ocp.CheckpointManagerOptions(
      best_fn=rank,
      preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
      cleanup_tmp_directories=not read_only,
      create=not read_only,
      read_only=read_only,
    )
    for left in reversed(range(50)):
      try:
        return ocp.CheckpointManager(directory, options=options, item_handlers=handlers)
      except (FileNotFoundError, NotADirectoryError):
        # Of a checkpoint that a run beside deleted after Orbax had listed it.
        if not read_only or not left:
          raise
        time.sleep(0.02)
      except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
          f"Orbax cannot open {directory} ({first_line(error)}): the file _CHECKPOINT_METADATA of "
          "one of the checkpoints is damaged; delete it, the checkpoint is read without it"
        ) from error


@contextlib.contextmanager
def _only_errors_logged():
  logger = logging.getLogger("absl")
  level = logger.level
  logger.setLevel(max(level, logging.ERROR))
  try:
    yield
  finally:
    logger.setLevel(level)


def _damaged_metrics(directory: pathlib.Path) -> list[pathlib.Path]:
  paths = [checkpoint / "metrics" / "metrics" for checkpoint in _steps_in(directory)]
  # A checkpoint that a run beside deletes meanwhile is no damaged one.
  return [path for path in paths if path.exists() and not _evaluation(path) and path.exists()]


def _evaluation(path: pathlib.Path) -> dict[str, float]:
  """What `set_evaluated` wrote; empty where it was not or is damaged."""
  try:
    content = files.read_json(path)
  except DataError:
    return {}
  whole = isinstance(content, dict) and {"top1"} <= set(content) <= {"top1", "step", *_PROGRESS}
  return content if whole and _are_numbers(content.values()) else {}


def _are_numbers(values: Iterable[Any]) -> bool:
  return all(type(v) in (int, float) and math.isfinite(v) for v in values)


def _whole(leaf: Any) -> Any:
  """An array that is whole on every device, as the first of them has it, in any process."""
  return leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf


def digests(tree: Any) -> dict[str, str]:
  """A digest of the bytes of every array of a tree, by its path."""
  result = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(_whole(leaf))
    header = f"{array.dtype.str}{array.shape}".encode()
    name = jax.tree_util.keystr(path)
    result[name] = hashlib.blake2b(header + array.tobytes(), digest_size=16).hexdigest()
  return result


def _on_host(tree: Any) -> Any:
  """A tree's arrays as NumPy's, copied.

  Of arrays on several devices Orbax would have each device cut out and write a part: a program for
  every shape, and a dispatch for every array and device.
  """
  # Copies, of CPU devices, too: the next step is given their memory.
  return jax.tree.map(np.array, jax.device_get(jax.tree.map(_whole, tree)))


def _as_tree(states: Mapping[str, TrainState]) -> dict[str, Any]:
  return {name: flax.serialization.to_state_dict(state) for name, state in states.items()}


def save(
  manager: ocp.CheckpointManager,
  step: int,
  states: Mapping[str, TrainState],
  progress: Progress,
) -> None:
  """Starts writing a checkpoint; returns when the arrays have been copied from the devices.

  Args:
    progress: what `restore_newest` hands back.
  Raises:
    RunError: this checkpoint or the one before could not be written; older ones are whole.
  """
  tree, facts = _on_host(_as_tree(states)), dataclasses.asdict(progress)
  checked = {"digests": digests(tree), "digest_of_facts": _digest_of_facts(facts)}
  args = ocp.args.Composite(
    state=ocp.args.StandardSave(tree), facts=ocp.args.JsonSave(facts | checked)
  )
  # Orbax warns of an accuracy that is not there yet.
  with _says_why_not(manager), _only_errors_logged():
    manager.save(step, args=args)


def _digest_of_facts(facts: dict[str, Any]) -> str:
  text = json.dumps(facts, sort_keys=True)
  return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def set_evaluated(
  manager: ocp.CheckpointManager, step: int, top1: float, progress: Progress
) -> None:
  """Puts what an evaluation found into the checkpoint of that step, when it is whole on the disk.

  Checkpoints that are neither of the newest two nor the best by that are deleted.

  Args:
    top1: accuracy by which the best checkpoint is chosen.
    progress: what `restore_newest` hands back instead of that saved with the state.
  Raises:
    RunError: it could not be written.
  """
  wait(manager)
  with _says_why_not(manager):
    # The first process alone: what others see of a network's disk may be half a minute old, and to
    # delete what it keeps Orbax would wait for them all.
    if jax.process_index() == 0:
      directory = pathlib.Path(manager.directory)
      folder = directory / str(step) / "metrics"
      folder.mkdir(exist_ok=True)
      files.write_json(
        folder / "metrics", {"top1": top1, "step": step} | dataclasses.asdict(progress)
      )
      manager.reload()
      kept = {*sorted(manager.all_steps())[-2:], manager.best_step()}
      for old in set(manager.all_steps()) - kept:
        shutil.rmtree(directory / str(old))
      manager.reload()
    multihost_utils.sync_global_devices(f"evaluated checkpoint {step}")


def read_back(manager: ocp.CheckpointManager, step: int) -> None:
  """Reads a checkpoint that was just saved, digests and all.

  Raises:
    RunError: it was written without an error and is not what was written.
  """
  wait(manager)
  try:
    with _saying_what_is_wrong(manager, step):
      _read_arrays(manager, step, _read_facts(manager, step)[1])
  except DataError as error:
    raise RunError(
      f"a checkpoint was written into {manager.directory} and is not what is read there ({error}): "
      "the run would be lost, so it ends here. Take a --workdir on another disk"
    ) from error


def wait(manager: ocp.CheckpointManager) -> None:
  """Returns when the last checkpoint is whole on the disk; raises as `save` does."""
  with _says_why_not(manager):
    manager.wait_until_finished()


@contextlib.contextmanager
def ending(manager: ocp.CheckpointManager) -> Iterator[None]:
  """Closes a manager after the block; raises as `wait`, or what ended the block.

  A disk that is full fails a checkpoint being written, too: that must not hide what said so.
  """
  try:
    yield
  except BaseException:
    with contextlib.suppress(Exception):
      manager.close()
    raise
  with _says_why_not(manager):
    manager.close()


@contextlib.contextmanager
def _says_why_not(manager):
  try:
    yield
  except Exception as error:  # Orbax and TensorStore raise many types for a full disk
    steps = sorted(manager.all_steps())
    whole = (
      f"checkpoints {steps} are whole; the same command goes on from the newest"
      if steps
      else "it would have been the first"
    )
    raise RunError(f"the checkpoint could not be written ({first_line(error)}); {whole}") from error


def restore_newest(
  manager: ocp.CheckpointManager, states: Mapping[str, TrainState]
) -> tuple[int, dict[str, TrainState], Progress]:
  """Step, states and progress of the newest checkpoint that is whole.

  Damaged ones are moved to `checkpoints_damaged/` beside, with a warning, and the one before is
  taken.

  Args:
    states: abstract (`jax.ShapeDtypeStruct` with shardings); the restored ones are like them.
  Raises:
    ConfigError: the checkpoint is of another model, optimiser or set of streams.
    RunError: a checkpoint could not be read for a reason other than damage.
    DataError: none is whole; they stay where they are.
  """
  damaged: dict[int, DataError] = {}
  for step in sorted(manager.all_steps(), reverse=True):
    try:
      tree, facts = _read(manager, step, _as_tree(states))
      if set(facts) != set(_PROGRESS) or not _are_numbers(facts.values()):
        raise DataError(f"checkpoint {step} is damaged: its facts are {facts}")
    except DataError as error:
      damaged[step] = error
      continue
    for bad, error in damaged.items():
      _move_aside(manager, bad, error)
    evaluation = _evaluation(pathlib.Path(manager.directory) / str(step) / "metrics" / "metrics")
    facts |= {name: evaluation[name] for name in _PROGRESS if name in evaluation}
    restored = {
      name: flax.serialization.from_state_dict(state, tree[name]) for name, state in states.items()
    }
    return step, restored, Progress(**facts)
  newest = next(iter(damaged.values()), "Orbax lists none")
  raise DataError(
    f"no checkpoint in {manager.directory} is whole ({newest}); nothing was changed. To begin "
    "again, take another --workdir or delete this one"
  )


def _read(manager, step: int, target: Any) -> tuple[Any, dict[str, Any]]:
  """State tree and facts of a step, like `target`.

  Raises:
    DataError, RunError: as `_saying_what_is_wrong`.
    ConfigError: it is not a state like `target`.
  """
  with _saying_what_is_wrong(manager, step):
    facts, expected = _read_facts(manager, step)
    tree = _read_arrays(manager, step, expected)
    _check_alike(step, tree, target)
  saved = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}
  placed = lambda path, like: train_step.place(saved[jax.tree_util.keystr(path)], like.sharding)
  return jax.tree_util.tree_map_with_path(placed, target), facts


def _read_variables(manager, step: int, streams: Sequence[str]) -> dict[str, EvalVariables]:
  """What evaluation needs of these streams, as NumPy's arrays.

  Raises:
    DataError, RunError: as `_saying_what_is_wrong`, or it has no such stream.
    ConfigError: it is in float64, which is off.
  """
  with _saying_what_is_wrong(manager, step):
    _, expected = _read_facts(manager, step)
    saved = _by_path(expected)
    if missing := [stream for stream in streams if stream not in saved]:
      raise DataError(
        f"checkpoint {step} in {manager.directory} has no stream {', '.join(missing)}, which "
        f"{workdir_lib.FILE} beside names"
      )
    names = []
    for stream in streams:
      fields = ("ema" if "ema" in saved[stream] else "params", "batch_stats", "normalization")
      names += jax.tree.leaves([saved[stream].get(field) for field in fields])
    tree = _read_arrays(manager, step, {name: expected[name] for name in names})
    _check_is_representable(step, tree)
  return {
    stream: {
      "params": fields.get("ema", fields.get("params")),
      "batch_stats": fields.get("batch_stats", {}),
      "normalization": fields.get("normalization"),
    }
    for stream, fields in tree.items()
  }


def _read_arrays(manager, step: int, expected: Mapping[str, str]) -> dict[str, Any]:
  """The arrays of a state that have these digests, NumPy's, as a tree.

  Of a part Orbax reads only that: it opens every array by itself, which takes longer than reading.
  """
  wanted = _by_path(expected)
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
  tree = ocp.PyTreeCheckpointHandler().restore(
    pathlib.Path(manager.directory) / str(step) / "state",
    args=ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True),
  )
  found = digests(tree)
  if wrong := sorted(n for n in found | expected if found.get(n) != expected.get(n)):
    raise DataError(f"checkpoint {step} is damaged: {len(wrong)} arrays differ, first {wrong[:1]}")
  return tree


def _by_path(names: Iterable[str]) -> dict[str, Any]:
  """Names as `digests` gives, "['joint']['params']…", in the tree that they are of."""
  return flax.traverse_util.unflatten_dict({tuple(n[2:-2].split("']['")): n for n in names})


@contextlib.contextmanager
def _saying_what_is_wrong(manager, step: int) -> Iterator[None]:
  """Around what reads a checkpoint.

  Raises:
    DataError: it is not what was written.
    RunError: it could not be read for a reason that says nothing about the file.
  """
  if not (pathlib.Path(manager.directory) / str(step) / "state" / "_METADATA").exists():
    raise DataError(f"checkpoint {step} cannot be read (it has no state/_METADATA)")
  try:
    yield
  except (ConfigError, DataError):
    raise
  except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
    if _is_passing(error):
      raise RunError(f"checkpoint {step} could not be read now ({first_line(error)})") from error
    raise DataError(f"checkpoint {step} cannot be read ({first_line(error)})") from error


def _read_facts(manager, step: int) -> tuple[dict[str, Any], dict[str, str]]:
  """What the loop remembered at a step, and the digests of its arrays."""
  facts = dict(manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore())).facts)
  expected = facts.pop("digests")
  # Those of version 0.1.0 have none.
  if facts.pop("digest_of_facts", None) not in (None, _digest_of_facts(facts)):
    raise DataError(f"checkpoint {step} is damaged: its facts are not those that were written")
  return facts, expected


def _is_passing(error: BaseException) -> bool:
  """Whether reading failed for a reason that may pass: memory, permissions, too many open files."""
  if isinstance(error, OSError):
    return not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
  marks = ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "UNAVAILABLE", "Too many open files")
  return isinstance(error, MemoryError) or any(mark in str(error) for mark in marks)


def _check_is_representable(step: int, saved: Any) -> None:
  """Raises ConfigError where JAX would read float64 as float32."""
  if not jax.config.jax_enable_x64 and any(x.dtype == np.float64 for x in jax.tree.leaves(saved)):
    raise ConfigError(f"checkpoint {step} is of a run in float64; set JAX_ENABLE_X64=1 to read it")


def _check_alike(step: int, saved: Any, target: Any) -> None:
  def kinds(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    kind = lambda leaf: f"{np.dtype(leaf.dtype)} {tuple(leaf.shape)}"
    return {jax.tree_util.keystr(path): kind(leaf) for path, leaf in leaves}

  old, new = kinds(saved), kinds(target)
  different = sorted(name for name in old | new if old.get(name) != new.get(name))
  if different:
    name = different[0]
    raise ConfigError(
      f"checkpoint {step} is of another model, optimiser or set of streams: {len(different)} "
      f"arrays differ, such as {name}: {old.get(name, 'none')} saved, {new.get(name, 'none')} now. "
      "Take another workdir; config.init_from starts from parameters of this one"
    )


def _move_aside(manager, step: int, error: Exception) -> None:
  aside = pathlib.Path(manager.directory).parent / "checkpoints_damaged"
  if jax.process_index() == 0:
    aside.mkdir(exist_ok=True)
    target = aside / str(step)
    shutil.rmtree(target, ignore_errors=True)
    (pathlib.Path(manager.directory) / str(step)).rename(target)
  multihost_utils.sync_global_devices(f"moved checkpoint {step} aside")
  manager.reload()
  _log.warning("%s; moved to %s, going on from the one before", error, aside / str(step))


def checkpoint_step(manager: ocp.CheckpointManager, which: str | int) -> int:
  """The step meant by 'newest', 'best' or a number.

  Raises:
    DataError: there is no such checkpoint; the message lists those that are.
    ConfigError: `which` is none of these.
  """
  steps = sorted(manager.all_steps())
  which = str(which)
  if which not in ("newest", "best") and not which.isdecimal():
    raise ConfigError(f"checkpoint {which!r} is neither 'newest', 'best' nor a step")
  if not steps:
    raise DataError(f"{manager.directory} holds no checkpoint")
  if which == "newest":
    return steps[-1]
  if which == "best":
    best = manager.best_step()
    if best is None:
      raise DataError(f"{manager.directory}: no checkpoint was evaluated, so none is the best")
    return best
  if int(which) not in steps:
    raise DataError(f"{manager.directory} holds no checkpoint {which}; there are {steps}")
  return int(which)


def forget_figures(manager: ocp.CheckpointManager) -> None:
  """Sets every checkpoint's accuracy and progress back: from now on something else is measured."""
  if jax.process_index() == 0:
    none = dataclasses.asdict(Progress())
    for checkpoint in _steps_in(pathlib.Path(manager.directory)):
      shutil.rmtree(checkpoint / "metrics", ignore_errors=True)
      path = checkpoint / "facts" / "metadata"  # Orbax's name of a JSON item
      with contextlib.suppress(DataError):  # damaged ones are left to `restore_newest`
        files.write_json(
          path, files.read_json(path) | none | {"digest_of_facts": _digest_of_facts(none)}
        )
  multihost_utils.sync_global_devices("deleted metrics of another evaluation")
  manager.reload()


def best_step(workdir: str | pathlib.Path) -> int | None:
  """The step of the best checkpoint; None where none was evaluated."""
  with make_manager(workdir, read_only=True) as manager:
    return manager.best_step()


def load_variables(
  workdir: str | pathlib.Path,
  checkpoint: str | int = "newest",
  *,
  streams: Sequence[str] | None = None,
) -> tuple[dict[str, EvalVariables], int]:
  """What evaluation needs of streams (default: all of the run), as NumPy's arrays, and the step.

  A run may write into the workdir meanwhile.

  Raises:
    DataError: not a workdir, no such checkpoint, a damaged one, or one without the normalisation
      that the run's config asks for.
    ConfigError: it is in float64, and JAX_ENABLE_X64 is not set.
  """
  facts = workdir_lib.read(workdir)
  directory = pathlib.Path(workdir) / "checkpoints"
  if not directory.is_dir():
    raise DataError(f"{workdir} holds no checkpoint yet")
  while True:
    with make_manager(workdir, read_only=True) as manager:
      step = checkpoint_step(manager, checkpoint)
      try:
        found = _read_variables(manager, step, facts.streams if streams is None else streams)
      except DataError:
        if (directory / str(step)).exists():
          raise
        continue
      if _normalizes(workdir) and any(v["normalization"] is None for v in found.values()):
        raise DataError(
          f"checkpoint {step} of {workdir} has no mean and deviation, although config.json there "
          "has data.normalize=True; save states with `normalization`, as "
          "`Experiment.initial_states` gives it"
        )
      return found, step
    # A run beside has deleted it, having written newer ones.


def _normalizes(workdir: str | pathlib.Path) -> bool:
  """Whether a run's config says so; not where it has none, or one of another version."""
  with contextlib.suppress(DataError):
    return config_lib.read(pathlib.Path(workdir) / "config.json").data.normalize
  return False


def load_model(
  workdir: str | pathlib.Path,
  *,
  checkpoint: str | int = "newest",
  stream: str | None = None,
  trust: bool = False,
) -> Network | Any:
  """The trained network of a workdir, in evaluation mode.

      model = mst.load_model("runs/quickstart")
      logits = model(np.zeros((1, 2, 48, 25, 3), np.float32))  # [batch, class]

  It takes what it was trained on: its stream (`streams.apply`), normalised where the
  run normalised; `classifier.Classifier` does both. It computes in float32 where a CPU runs what
  was trained in bfloat16 (`devices.dtype_for_use`).

  Args:
    checkpoint: 'newest' (the last epoch of a finished run), 'best' (selected on the evaluation
      split) or a step.
    stream: which one, where the run trained several; default the first.
    trust: see `workdir.check_trusted`.
  Raises:
    DataError: not a workdir, no such checkpoint, or a damaged one.
    ConfigError: the run has no such stream, or is not trusted.
  """
  return load_trained(workdir, checkpoint=checkpoint, stream=stream, trust=trust)[0]


def load_trained(
  workdir: str | pathlib.Path,
  *,
  checkpoint: str | int,
  stream: str | None,
  trust: bool,
  dtype: str | None = None,
) -> tuple[Network | Any, EvalVariables, int]:
  """As `load_model`, the `train_step.eval_variables` that gave it its values, and their step.

  Args:
    dtype: what it computes in instead.
  """
  facts = workdir_lib.read(workdir)
  workdir_lib.check_trusted(facts.model, trust)
  stream = facts.stream(stream)
  found, step = load_variables(workdir, checkpoint, streams=(stream,))
  variables = found[stream]
  dtype = dtype or devices.dtype_for_use(facts.model.dtype)
  # Not rematerialised, which is of use in training and lets no trace close over the parameters.
  config = dataclasses.replace(facts.model, dtype=dtype, remat=False)
  model = _build(config, variables, f"checkpoint {step} of {workdir}")
  model.eval()
  return model, variables, step


def warm_start(
  workdir: str | pathlib.Path,
  stream: str,
  params: Any,
  batch_stats: Any,
  *,
  ignore: Sequence[str] = (),
) -> tuple[Any, Any]:
  """Fresh parameters and statistics, replaced by the newest ones of another workdir.

  What is taken is what the other run was evaluated with: averaged parameters where it has them.

  Args:
    stream: taken from a run of several streams; a run of one gives its only one.
    ignore: tensors whose dotted path contains one of these stay fresh.
  Raises:
    ConfigError: shapes differ, tensors are missing, or `ignore` names none.
  """
  streams = workdir_lib.read(workdir).streams
  if stream not in streams and len(streams) > 1:
    raise ConfigError(f"init_from {workdir} has no stream {stream!r}; it has {', '.join(streams)}")
  taken_from = stream if stream in streams else streams[0]
  source = load_variables(workdir, streams=(taken_from,))[0][taken_from]
  by_name = [flax.traverse_util.flatten_dict(source[kind], sep=".") for _, kind in _KINDS]
  problems, taken, kept = [], [], set()

  def choose(path, fresh):
    kind, *keys = path
    name = ".".join(str(entry.key) for entry in keys)
    if parts := [part for part in ignore if part in name]:
      kept.update(parts)
      return fresh
    if (saved := by_name[kind.idx].get(name)) is None:
      problems.append(f"{name} is missing")
      return fresh
    if saved.shape != fresh.shape:
      problems.append(f"{name} is {saved.shape}, the model has {fresh.shape}")
      return fresh
    taken.append(name)
    return saved.astype(fresh.dtype)

  result = jax.tree_util.tree_map_with_path(choose, (params, batch_stats))
  if problems:
    raise ConfigError(
      f"init_from {workdir}: {len(problems)} tensors do not fit: {'; '.join(problems[:3])}"
      f"{'; …' if len(problems) > 3 else ''}. Name what should stay fresh in init_ignore"
    )
  if not taken:
    raise ConfigError(f"init_ignore leaves nothing to take from init_from {workdir}")
  if unknown := sorted(set(ignore) - kept):
    raise ConfigError(f"init_ignore: no tensor's path contains {', '.join(map(repr, unknown))}")
  return result


def check_fits(model: nnx.Module, variables: EvalVariables, source: str) -> None:
  """Raises DataError where arrays of a checkpoint, the source, are not those of its network.

  As where a loop of one's own exchanged a layer in a model and saved that.
  """
  shapes = lambda tree: {
    jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  for kind, name in _KINDS:
    saved, here = shapes(variables[name]), shapes(nnx.to_pure_dict(nnx.state(model, kind)))
    if different := sorted(path for path in saved | here if saved.get(path) != here.get(path)):
      path = different[0]
      raise DataError(
        f"{source} is of another network than {workdir_lib.FILE} there: {len(different)} arrays "
        f"differ, such as {path}: {saved.get(path, 'none')} saved, {here.get(path, 'none')} "
        "expected. A layer of your own is named in model.block_type (docs/own_layers.md)"
      )


def _build(config: ModelConfig, variables: EvalVariables, source: str) -> Network | Any:
  """A network with these parameters and running statistics; no initial ones are drawn."""
  model = abstract_network(config)
  check_fits(model, variables, source)
  for kind, name in _KINDS:
    state = nnx.state(model, kind)
    pure = flax.serialization.from_state_dict(nnx.to_pure_dict(state), variables[name])
    nnx.replace_by_pure_dict(state, jax.tree.map(jax.numpy.asarray, pure))
    nnx.update(model, state)
  # What a layer of one's own holds beside these, such as random keys.
  others = nnx.Not(nnx.Any(nnx.Param, nnx.BatchStat))
  if jax.tree.leaves(nnx.state(model, others)):
    nnx.update(model, nnx.state(make_network(config, rngs=nnx.Rngs(0)), others))
  return model
