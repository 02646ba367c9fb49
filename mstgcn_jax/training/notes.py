"""What a run says of itself at its start: what is trained on what, and what has no effect."""

import contextlib
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from mstgcn_jax import words
from mstgcn_jax.data.data_set import say_copies
from mstgcn_jax.errors import DataError
from mstgcn_jax.model import ModelConfig, fields
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import devices
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import Experiment
from mstgcn_jax.training.optimizer import OptimizerConfig


def describe(run: Experiment, step: int, total_steps: int) -> str:
  """What is about to happen, in a line."""
  config, split = run.config, run.split
  start = f"resuming from step {step} of {total_steps}" if step else f"{total_steps} steps"
  hidden = int((run.data_set.table["persons"] > config.data.num_persons).sum())
  held = f" and {len(split.holdout):,} held-out" if len(split.holdout) else ""
  evaluated = words.counted(len(split.eval), f"evaluation{held} clip")
  both = int(np.isin(split.eval, split.train).sum())
  parts = [
    f"{run.data_set.name} ({config.data.protocol}), {', '.join(config.streams)}: "
    f"{len(split.train):,} training, {evaluated}, {words.counted(run.task.num_classes, 'class')}",
    devices.in_words(),
    start,
  ]
  if hidden:
    seen = config.data.num_persons
    parts.append(f"of {words.counted(hidden, 'clip')} with more people, {seen} seen")
  if both:
    parts.append(f"{both:,} {'clip is' if both == 1 else 'clips are'} trained on and evaluated")
  return "; ".join(parts)


def of_run(run: Experiment) -> list[str]:
  """What the config, or a file of one's own, says and has no effect, a line each."""
  lines = run.stale_code() + of_config(run.config)
  most, persons = int(run.data_set.table["persons"].max()), run.config.data.num_persons
  if most < persons:
    lines.append(
      f"data.num_persons is {persons}, but no clip has more than {words.counted(most, 'person')}: "
      "the others stay empty and cost as much as those who are there"
    )
  lines += _of_split(run)
  if run.data_set.center is None:
    asked = {"center": run.config.data.center != "frame", "body_size": run.config.data.body_size}
    for field in (name for name, is_asked in asked.items() if is_asked):
      lines.append(f"data.{field} has no effect: the clips of {run.data_set.name} are not centred")
  used = {device for mesh in run.meshes.values() for device in mesh.devices.flat}
  if idle := jax.device_count() - len(used):
    lines.append(
      f"{idle} of {jax.device_count()} devices stay idle: stream_devices is "
      f"{run.config.stream_devices}, for {words.counted(len(run.meshes), 'stream')}"
    )
  if devices.dtype_for_use(run.model_config.dtype) != run.model_config.dtype:
    lines.append(
      "model.dtype is bfloat16 on a CPU: most are slower in it, and with jaxlib from 0.11 on some "
      "networks come out wrong (docs/networks.md)"
    )
  wanted, done = config_lib.augmentation(run.config), run.task.augmentation
  if wanted.mirror != done.mirror:
    layout = run.data_set.skeleton.name
    lines.append(f"augment.mirror has no effect: the layout {layout} names no `mirror` pairs")
  if wanted.rotation != done.rotation:
    lines.append("augment.rotation has an effect about z only: the clips are taken to be flat")
  return lines


def of_config(config: ConfigDict) -> list[str]:
  """What was set and has no effect, a line each: no mistake, but hardly what was meant."""
  o, preset, flat = config.optimizer, OptimizerConfig(), config_lib.flatten(config.to_dict())
  changed = lambda *names: [n for n in names if flat[f"optimizer.{n}"] != getattr(preset, n)]
  lines = []
  if o.schedule != "step":
    for field in changed("decay_epochs", "decay_factor"):
      lines.append(f"optimizer.{field} has no effect: optimizer.schedule is {o.schedule!r}")
  elif late := [str(epoch) for epoch in o.decay_epochs if epoch >= config.epochs]:
    lines.append(
      f"optimizer.decay_epochs has no effect at {', '.join(late)}: epochs count from 0 to "
      f"{config.epochs - 1}"
    )
  if o.name != "sgd":
    for field in changed("momentum", "nesterov"):
      lines.append(f"optimizer.{field} has no effect: optimizer.name is {o.name!r}")
  if not o.weight_decay and changed("decay_mask"):
    lines.append("optimizer.decay_mask has no effect: optimizer.weight_decay is 0")
  if o.warmup_epochs >= config.epochs > 1:
    lines.append(
      f"the learning rate rises until the end: optimizer.warmup_epochs is {o.warmup_epochs}, "
      f"epochs {config.epochs}"
    )
  if o.freeze_adjacency_through >= 0 and fields.learns_no_adjacency(config.model):
    lines.append("optimizer.freeze_adjacency_through has no effect: model.edge_weights is 'fixed'")
  elif o.freeze_adjacency_through >= config.epochs - 1:
    lines.append(
      f"learned adjacencies never learn: optimizer.freeze_adjacency_through is "
      f"{o.freeze_adjacency_through}, epochs {config.epochs}"
    )
  if config.augment.openpose_match and config.data.num_persons == 1:
    lines.append("augment.openpose_match has no effect: data.num_persons is 1")
  if config.init_ignore and not config.init_from:
    lines.append("init_ignore has no effect: init_from is empty, so that everything starts fresh")
  if config.model.blocks is not None and config.model.width != ModelConfig.width:
    lines.append("model.width has no effect: model.blocks says how wide each block is")
  return lines + [
    f"model.{field} has no effect: no layer of this network reads it"
    for field, is_read in fields.read_by_layers(config.model).items()
    if not is_read and flat[f"model.{field}"] != getattr(ModelConfig, field)
  ]


def _of_split(run: Experiment) -> list[str]:
  """What makes the figures of a split others than they seem, a line each."""
  lines, split = [], run.split
  consequences = (
    ("evaluation", split.eval, "mstgcn evaluate says how many of the others are right"),
    ("held-out", split.holdout, "what is fitted on these takes them for unseen"),
  )
  for kind, rows, consequence in consequences:
    if copies := run.data_set.copies_of(split.train, rows):
      clips = words.counted(len(rows), f"{kind} clip")
      said = say_copies(list(copies.items()), run.data_set.column("name"))
      lines.append(
        f"{len(copies):,} of {clips} are copies of training clips ({said}); {consequence}"
      )
  labels = run.data_set.table["label"]
  if len(untrained := np.setdiff1d(labels[split.eval], labels[split.train])):
    names = [run.data_set.class_names[label] for label in untrained]
    lines.append(
      f"{words.counted(len(untrained), 'class')} evaluated without a training clip: "
      f"{words.listed(names, 3)}; hardly any of their clips can be right"
    )
  return lines


def of_resumption(run: Experiment, step: int, changed: Sequence[str]) -> list[str]:
  """What it means to go on although that changed (`loop.check_same_run`), a line each."""
  lines = [f"going on with another config, {what}" for what in changed]
  of_data = any(what.startswith("data") for what in changed)
  if of_data or any(what.startswith(("batch_size", "min_steps_per_epoch")) for what in changed):
    done = step / run.task.steps_per_epoch
    lines.append(f"steps so far count as {done:.4g} of {run.config.epochs} epochs now")
  if of_data and run.config.data.normalize:
    lines.append("data.normalize goes on with the mean and deviation of the clips before")
  return lines


def of_start(run: Experiment) -> list[str]:
  """In what `init_from` was trained on something else although its tensors fit, a line each."""
  config = run.config
  if not config.init_from:
    return []
  lines, facts = [], workdir_lib.read(config.init_from)
  differences = facts.clip_differences(run.facts())
  with contextlib.suppress(DataError):  # it has no config, or one of another version
    before = config_lib.read(pathlib.Path(config.init_from) / "config.json")
    said = [f"with data.normalize={c.data.normalize}" for c in (before, config)]
    differences += [tuple(said)] if len(set(said)) == 2 else []
  for was, now in differences:
    lines.append(f"init_from was trained on clips {was}; these are {now}")
  others = ("num_classes", "skeleton", "num_persons", "dropout")  # said below, or free
  model = [
    what for what in facts.model_differences(run.model_config) if not what.startswith(others)
  ]
  if model:
    lines.append(
      f"init_from's network is another one ({'; '.join(model[:4])}{'; …' * (len(model) > 4)})"
    )
  there, here = facts.model.skeleton, run.data_set.skeleton
  ignored = lambda name: any(part in name for part in config.init_ignore)
  by_joint = ("norm_in.scale", "learned_adjacency")
  if there.joints != here.joints and not all(map(ignored, by_joint)):
    lines.append(
      f"init_from has joints of {there.name}, these clips those of {here.name}: what it learned of "
      "one joint is taken for another's; init_ignore can keep learned_adjacency and norm_in fresh"
    )
  if other := [name for name in config.streams if name not in facts.streams]:
    lines.append(f"init_from was trained on {', '.join(facts.streams)}, not {', '.join(other)}")
  other = facts.class_names != tuple(run.data_set.class_names)
  known = facts.data_name is not None  # an imported model's classes are numbers
  if other and known and not ignored("classifier.kernel"):
    lines.append(
      "init_from's classes, or their order, are not those of these data: what it learned of one is "
      "taken for another's; init_ignore=('classifier',) starts the classifier fresh"
    )
  return lines
