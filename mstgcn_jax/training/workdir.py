"""What a workdir says of its run beside the checkpoints: `RunFacts`, in model.json."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mstgcn_jax import files
from mstgcn_jax.data import data_set as data_set_lib
from mstgcn_jax.data import facing, streams, temporal_sampling
from mstgcn_jax.data.data_set import DataSet
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError, first_line
from mstgcn_jax.model import ModelConfig
from mstgcn_jax.model.config import own_code
from mstgcn_jax.skeletons import Skeleton

FILE = "model.json"

# How recordings were made the training clips; earlier runs know the first, or that and the second.
_PREPARATION = ("rotated", "scored", "upward", "by_sum", "units", "picture", "reading")

# What `RunFacts.data_differences` says of a workdir from before data sets had an identity.
UNKNOWN_DATA = (
  "the run is of an earlier version, which did not record the content of its data; if this data "
  "set is unchanged, train.py with --config.allow_config_change=True goes on and records it"
)


@dataclasses.dataclass(frozen=True)
class RunFacts:
  """What a trained network takes and gives, and what it was trained on.

  Attributes:
    model: the network of every stream.
    class_names: one per class; numbers for an imported model.
    streams: trained side by side, in this order.
    sampling: how a clip becomes the window that the network sees, in evaluation.
    joint_at_zero: joint of the first person that lies at 0 although it is tracked; None for none.
    rotated: whether the training clips were turned upright; None where that is not known.
    scored: whether joints are x, y and a score, so that one of score 0 is not tracked.
    upward: the recordings' axis about which they were turned first, to the front; '' for none.
    by_sum: whether they were turned as the reference does it; False where it was not recorded.
    units: of the training clips' coordinates; '' where unknown.
    picture: width and height in pixels of what fractions are of; () where unknown.
    reading: source -> options by which its recordings are read as the training data were.
    data_name: the data set; None for an imported model, which doesn't know it.
    data_identity: its content (`DataSet.identity`); None where it was not recorded.
    code: a digest of the files of one's own code that the network is built with; '' without such.
    loss_code: the same of a loss of one's own.
  """

  model: ModelConfig
  class_names: tuple[str, ...]
  streams: tuple[str, ...]
  sampling: Sampling
  joint_at_zero: int | None
  rotated: bool | None
  scored: bool = False
  upward: str = ""
  by_sum: bool = False
  units: str = ""
  picture: tuple[float, ...] = ()
  reading: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
  data_name: str | None = None
  data_identity: dict[str, Any] | None = None
  code: str = ""
  loss_code: str = ""

  def stream(self, name: str | None) -> str:
    """`name`, or the first stream; ConfigError where the run has none of that name."""
    if name is not None and name not in self.streams:
      raise ConfigError(f"the run has no stream {name!r}; it has {', '.join(self.streams)}")
    return name or self.streams[0]

  def data_differences(self, data_set: DataSet) -> list[str]:
    """In what a data set is not the one trained on; nothing for an imported model."""
    if self.data_name is None:
      return []
    if self.data_identity is None:
      return [UNKNOWN_DATA]
    return data_set_lib.differences(self.data_identity, data_set.identity)

  def code_differences(self, other: "RunFacts") -> list[str]:
    """That one's own code is not what the run was trained with, as far as both say."""
    both = (
      (own_code(self.model), self.code, other.code),
      ("the loss", self.loss_code, other.loss_code),
    )
    return [
      f"the file of {name} is not what it was when the run was trained"
      for name, then, now in both
      if then and now and then != now
    ]

  def clip_differences(self, other: "RunFacts") -> list[tuple[str, str]]:
    """In what the clips trained on are prepared otherwise, as far as both say: (here, there)."""
    words = lambda facts: (
      {True: "turned upright", False: "not turned", None: ""}[facts.rotated],
      "not centred" if facts.joint_at_zero is None else f"centred at joint {facts.joint_at_zero}",
      "of coordinates and a score" if facts.scored else "of coordinates alone",
      facts.units and f"in {facts.units}",
      {"loop": "looped to the window", "zero": "ending in zeros"}[facts.sampling.fill],
      f"with data.center={facts.sampling.origin}",
      f"with data.body_size={facts.sampling.bone_parents is not None}",
    )
    pairs = zip(words(self), words(other), strict=True)
    return [(here, there) for here, there in pairs if here and there and here != there]

  def model_differences(self, other: ModelConfig) -> list[str]:
    """Fields in which a network is another function than the run's, one line each."""
    old, here = self.model.to_dict(), other.to_dict()
    short = lambda value: value["name"] if isinstance(value, dict) else str(value)
    lines = []
    for name in here:
      if old[name] != here[name] and name not in ("dtype", "remat"):
        was, now = short(old[name]), short(here[name])
        differ = f"{was} in the run, {now} here" if was != now else f"another {now} in the run"
        lines.append(f"{name}: {differ}")
    return lines

  def write(self, workdir: str | pathlib.Path) -> None:
    """Writes `workdir`/model.json."""
    s = self.sampling
    content = {
      "model": self.model.to_dict(),
      "class_names": list(self.class_names),
      "streams": list(self.streams),
      "input": {
        "window": s.window,
        "num_persons": s.num_persons,
        "sampling": s.kind,
        "views": s.views,
        "origin": s.origin,
        "body_size": s.bone_parents is not None,
      },
      "loading": {"fill": s.fill, "center": s.center},
      "joint_at_zero": self.joint_at_zero,
      "preparation": {name: getattr(self, name) for name in _PREPARATION},
    }
    if self.data_name is not None:
      content["data"] = {"name": self.data_name, "identity": self.data_identity}
    digests = {"code": self.code, "loss_code": self.loss_code}
    content |= {name: digest for name, digest in digests.items() if digest}
    files.write_json(pathlib.Path(workdir) / FILE, content)


def check_trusted(model: Any, trust: bool) -> None:
  """Raises ConfigError where a workdir names code of its own and is not trusted.

  A workdir is data, but it may name a layer or network 'package.module:function', and importing
  that runs code.

  Args:
    model: a `ModelConfig`, or the section `model` of a config.
  """
  if (named := own_code(model)) and not trust:
    raise ConfigError(
      f"this workdir's network is built with code of its own, {named!r}; "
      "allow importing it with trust=True (--trust on the command line)"
    )


def read(workdir: str | pathlib.Path) -> RunFacts:
  """The content of `workdir`/model.json, checked.

  Raises:
    DataError: there is none, or it is damaged.
  """
  path = pathlib.Path(workdir) / FILE
  if not path.parent.exists():
    raise DataError(f"{workdir} does not exist; expected the workdir of a run")
  if not path.is_file():
    seeds = sorted(str(p.parent) for p in pathlib.Path(workdir).glob(f"seed_*/{FILE}"))
    hint = f"; take one of {', '.join(seeds)}" if seeds else ""
    raise DataError(f"{workdir} is not a workdir of this project: it has no {FILE}{hint}")
  content = files.read_json(path)
  try:
    return _parse(content)
  except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
    message = f"no {error}" if isinstance(error, KeyError) else first_line(error)
    raise DataError(f"{path} is damaged, or of another version ({message})") from error


def _parse(content: dict[str, Any]) -> RunFacts:
  """Raises one of many errors where this is not what `RunFacts.write` writes, or wrote once."""

  def require(holds: bool, name: str) -> None:
    if not holds:
      raise ValueError(f"{name} is {content[name]!r:.80}")

  needed = {"model", "class_names", "streams", "input"}
  optional = {"data", "loading", "preparation", "joint_at_zero", "code", "loss_code"}
  if unknown := (set(content) - optional) ^ needed:
    raise ValueError(f"{min(unknown)} is unknown or missing")
  model = ModelConfig.from_dict(content["model"])
  joints = range(model.skeleton.num_joints)
  is_joint = lambda value: value is None or (type(value) is int and value in joints)
  names, seen, shown = content["class_names"], content["streams"], content["input"]
  require(isinstance(names, list) and all(isinstance(n, str) for n in names), "class_names")
  require(len(names) == model.num_classes, "class_names")
  require(isinstance(seen, list) and seen and set(seen) <= set(streams.STREAMS), "streams")
  # Earlier runs say nothing of views, origin, size and scores, and imported ones said less.
  later = {"views", "origin", "body_size"}
  require(set(shown) - later == {"window", "num_persons", "sampling"}, "input")
  require(type(shown["window"]) is int and shown["window"] > 0, "input")
  require(shown["num_persons"] == model.num_persons, "input")
  require(type(shown.get("views", 1)) is int, "input")
  require(shown.get("origin", "frame") in temporal_sampling.ORIGINS, "input")
  require(type(shown.get("body_size", False)) is bool, "input")
  loading = content.get("loading", reference_loading(model.skeleton))
  require(set(loading) == {"fill", "center"} and loading["fill"] in ("loop", "zero"), "loading")
  require(is_joint(loading["center"]), "loading")
  require(is_joint(content.get("joint_at_zero")), "joint_at_zero")
  preparation = content.get("preparation", {"rotated": loading["center"] is not None})
  require(_is_preparation(**preparation), "preparation")
  data = content.get("data", {"name": None})
  if "data" in content:
    require(isinstance(data["name"], str), "data")
  return RunFacts(
    model=model,
    class_names=tuple(names),
    streams=tuple(seen),
    sampling=Sampling(
      window=shown["window"],
      num_persons=shown["num_persons"],
      kind=shown["sampling"],
      views=shown.get("views", 1),
      origin=shown.get("origin", "frame"),
      bone_parents=model.skeleton.bone_parents if shown.get("body_size") else None,
      **loading,
    ),
    joint_at_zero=content.get("joint_at_zero", model.skeleton.center),
    **preparation | {"picture": tuple(preparation.get("picture", ()))},
    data_name=data["name"],
    data_identity=data.get("identity"),
    code=str(content.get("code", "")),
    loss_code=str(content.get("loss_code", "")),
  )


def _is_preparation(
  rotated, scored=False, upward="", by_sum=False, units="", picture=(), reading=None
) -> bool:
  """Whether these are `RunFacts`' values; a TypeError where one is missing or unknown."""
  return (
    rotated in (True, False, None)
    and scored in (True, False)
    and upward in ("", *facing.AXES)
    and by_sum in (True, False)
    and isinstance(units, str)
    and len(picture) in (0, 2)
    and all(type(side) in (int, float) and side > 0 for side in picture)
    and isinstance(reading or {}, dict)
    and all(isinstance(text, str) for options in (reading or {}).values() for text in options)
  )


def reference_loading(skeleton: Skeleton) -> dict[str, Any]:
  """How the reference fills and centres clips: it loops NTU's, and pads Kinetics' with zeros."""
  fill = "zero" if skeleton.name == "kinetics" else "loop"
  return {"fill": fill, "center": skeleton.center}
