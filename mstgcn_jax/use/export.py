"""A trained run as a file that other programs run: joints in, probabilities out."""

import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import export as jax_export
from jax.extend import mlir

from mstgcn_jax import files
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, RunError, first_line
from mstgcn_jax.model import Network, platform
from mstgcn_jax.training import checkpoints, experiment
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.train_step import model_input
from mstgcn_jax.training.workdir import RunFacts
from mstgcn_jax.use import onnx_graph

INPUT, OUTPUT = "clips", "probabilities"
TOLERANCE = 1e-4  # of a probability, between an exported file and its run
_COMPARED = 100  # clips
# TensorFlow 2.21 reads up to 1.13; JAX 0.12 writes operations of 1.18 where nobody asks for less.
_STABLEHLO_OF_TENSORFLOW = "1.10.0"
_PLATFORMS = ("cpu", "cuda", "tpu")

_Clips = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Comparison:
  """How far an exported file is from its run.

  Attributes:
    difference: the largest, of a probability; None where what runs the file is not installed.
    clips: what they were compared on, in words.
  """

  difference: float | None
  clips: str


@dataclasses.dataclass(frozen=True)
class _Run:
  """A run as two functions of clips, and what is known of it.

  Attributes:
    exact: probabilities by the network as it was trained, computed in float32.
    folded: the same function, norms and adjacencies folded into the weights.
  """

  exact: Callable[[jax.Array], jax.Array]
  folded: Callable[[jax.Array], jax.Array]
  facts: RunFacts
  stream: str
  shape: tuple[int, ...]
  step: int


def export(
  workdir: str | pathlib.Path,
  to: str,
  out: str | pathlib.Path,
  *,
  checkpoint: str | int = "newest",
  stream: str | None = None,
  trust: bool = False,
) -> Comparison:
  """Writes a run as a file of the format `to`, and OUT.json with what the file doesn't say.

  The file takes 'clips', float32 [batch, person, frame, joint, channel] as `Classifier` does, of
  the run's window of frames and any batch ('tflite': of one clip), and gives 'probabilities',
  float32 [batch, class].

  Args:
    to: one of `FORMATS`.
    out: the file to write; a folder that does not exist yet for 'savedmodel'.
    Otherwise as `checkpoints.load_model`, whose errors it raises.
  Raises:
    ConfigError: an unknown format, an `out` that does not fit it, or a package is missing.
    RunError: what was written differs from the run by more than `TOLERANCE`; it is removed.
  """
  if to not in FORMATS:
    raise ConfigError(f"--to is {to!r}; expected one of {', '.join(FORMATS)}")
  ending, write, load = FORMATS[to]
  out = pathlib.Path(out)
  _check_out(out, to, ending)
  run = _load(workdir, checkpoint, stream, trust)
  facts = metadata(run, to)
  clips, said = _clips(workdir, run)
  out.parent.mkdir(parents=True, exist_ok=True)
  with _written_whole(out) as aside:
    write(run, facts, aside)
    comparison = Comparison(_difference(run, load(aside), clips), said)
    if comparison.difference is not None and not comparison.difference <= TOLERANCE:
      raise RunError(
        f"{to}: probabilities of {said} differ from the run's by {comparison.difference:.1e}, "
        f"more than {TOLERANCE:g}; nothing was written"
      )
  files.write_json(out.with_name(out.name + ".json"), facts)
  return comparison


def metadata(run: _Run, to: str) -> dict[str, Any]:
  """What a program needs to know to use an exported file, for JSON."""
  facts, sampling = run.facts, run.facts.sampling
  packages = {"stablehlo": ["jax"], "savedmodel": ["jax", "tensorflow"], "onnx": ["jax", "onnx"]}
  packages["tflite"] = packages["savedmodel"]
  return {
    "format": to,
    "input": {"name": INPUT, "shape": ["batch", *run.shape], "dtype": "float32"},
    "output": {"name": OUTPUT, "shape": ["batch", facts.model.num_classes], "dtype": "float32"},
    "class_names": list(facts.class_names),
    "skeleton": facts.model.to_dict()["skeleton"],
    "stream": run.stream,
    "window": sampling.window,
    "num_persons": sampling.num_persons,
    "sampling": sampling.kind,
    "fill": sampling.fill,
    "center": sampling.center,
    "rotated": facts.rotated,
    "trained_on": facts.data_name,
    "step": run.step,
    "versions": {"mstgcn-jax": _version("mstgcn-jax")}
    | {name: _version(name) for name in packages[to]},
  } | ({"opset": onnx_graph.OPSET} if to == "onnx" else {})


def _version(package: str) -> str | None:
  for name in (package, f"{package}-cpu"):  # as TensorFlow's without GPUs is called
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      return importlib.metadata.version(name)
  return None


def _check_out(out: pathlib.Path, to: str, ending: str) -> None:
  if ending and out.suffix != ending:
    raise ConfigError(f"{out} must end in {ending}")
  if out.is_dir() or (not ending and out.exists()):
    kind = "a folder" if not ending else f"a {ending} file"
    raise ConfigError(f"{out} exists; --to {to} writes {kind}, give another name")


@contextlib.contextmanager
def _written_whole(out: pathlib.Path):
  """As `files.written_whole`, of a file or a folder."""
  aside = out.with_name(f"{out.stem}.partial{out.suffix}")  # what loads it may look at the ending
  try:
    yield aside
    aside.replace(out)
  finally:
    if aside.is_dir():
      shutil.rmtree(aside, ignore_errors=True)
    aside.unlink(missing_ok=True)


def _load(workdir, checkpoint, stream, trust) -> _Run:
  facts = workdir_lib.read(workdir)
  stream = facts.stream(stream)
  model, variables, step = checkpoints.load_trained(
    workdir, checkpoint=checkpoint, stream=stream, trust=trust
  )
  if isinstance(model, Network):
    _compute_in_float32(model)
  skeleton, normalization = facts.model.skeleton, variables["normalization"]

  def probabilities(model: nnx.Module) -> Callable[[jax.Array], jax.Array]:
    graph, state = nnx.split(model)

    def of_clips(clips: jax.Array) -> jax.Array:
      x = model_input(clips, (stream,), 0, skeleton, facts.joint_at_zero, normalization)
      return jax.nn.softmax(nnx.merge(graph, state)(x))

    return of_clips

  channels = facts.model.in_channels // (2 if "+" in stream else 1)
  sampling = facts.sampling
  return _Run(
    exact=probabilities(model),
    folded=probabilities(model.fold() if isinstance(model, Network) else model),
    facts=facts,
    stream=stream,
    shape=(sampling.num_persons, sampling.window, skeleton.num_joints, channels),
    step=step,
  )


def _compute_in_float32(model: Network) -> None:
  """Of a network trained in bfloat16, which most of what runs exported files doesn't compute in."""
  model.config = dataclasses.replace(model.config, dtype="float32")
  for _, module in nnx.iter_modules(model):
    if getattr(module, "dtype", None) == "bfloat16":
      module.dtype = "float32"


def _clips(workdir: str | pathlib.Path, run: _Run) -> tuple[np.ndarray, str]:
  """Clips to compare on, of the run's data set where it is found, and what they are."""
  data_set = experiment.data_set_of(workdir)
  if data_set and (data_set.skeleton.num_joints, data_set.channels) == run.shape[2:]:
    rows = np.unique(np.linspace(0, len(data_set) - 1, _COMPARED).astype(int))
    sampling: Sampling = dataclasses.replace(run.facts.sampling, views=1)
    clips = np.stack([sampling.windows(data_set.read([row])[0]) for row in rows.tolist()])
    return clips, f"{len(clips)} clips of {data_set.name}"
  rng = np.random.default_rng(0)
  drawn = rng.normal(0, 0.3, (_COMPARED, *run.shape)).astype(np.float32)
  return drawn, f"{_COMPARED} random clips (the run's data set is not here)"


def _difference(run: _Run, exported: _Clips | None, clips: np.ndarray) -> float | None:
  """The largest of any probability; by batches of two sizes, one of them 1."""
  if exported is None:
    return None
  exact = jax.jit(run.exact)
  size = max(1, (len(clips) - 1) // 3)
  parts = [clips[:1], *(clips[i : i + size] for i in range(1, len(clips) - size + 1, size))]
  return max(
    float(np.abs(np.asarray(exported(part)) - np.asarray(exact(part))).max()) for part in parts
  )


def _stablehlo(run: _Run, batch: Any = None, platforms=_PLATFORMS) -> jax_export.Exported:
  """The run as StableHLO, of any batch unless one is given."""
  (symbol,) = jax_export.symbolic_shape("batch")
  clips = jax.ShapeDtypeStruct((batch or symbol, *run.shape), np.float32)
  try:
    return jax_export.export(jax.jit(run.folded), platforms=platforms)(clips)
  except Exception as error:  # JAX has many for what depends on the batch's size
    raise ConfigError(f"JAX cannot export this network ({first_line(error)})") from error


def _write_stablehlo(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  exported = _stablehlo(run)
  facts["versions"]["calling convention"] = exported.calling_convention_version
  facts["platforms"] = list(exported.platforms)
  out.write_bytes(bytes(exported.serialize()))


def _load_stablehlo(path: pathlib.Path) -> _Clips:
  return jax.jit(jax_export.deserialize(bytearray(path.read_bytes())).call)


def _tensorflow(run: _Run, exported: jax_export.Exported, batch: int | None) -> Any:
  """A tf.Module whose `classify` calls StableHLO; as jax.experimental.jax2tf does it, or did."""
  import tensorflow as tf
  from tensorflow.compiler.tf2xla.python import xla

  classes = run.facts.model.num_classes
  program = mlir.serialize_portable_artifact(exported.mlir_module(), _STABLEHLO_OF_TENSORFLOW)

  def classify(clips):
    (probabilities,) = xla.call_module(
      [clips],
      version=exported.calling_convention_version,
      module=program,
      Tout=[tf.float32],
      Sout=[[batch, classes]],
      platforms=[name.upper() for name in exported.platforms],
      has_token_input_output=False,
      disabled_checks=[],
    )
    return {OUTPUT: probabilities}

  signature = [tf.TensorSpec([batch, *run.shape], tf.float32, name=INPUT)]
  module = tf.Module()
  module.classify = tf.function(classify, input_signature=signature, autograph=False)
  return module


def _write_savedmodel(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  import tensorflow as tf

  module = _tensorflow(run, _stablehlo(run), None)
  tf.saved_model.save(module, str(out), signatures={"serving_default": module.classify})
  extra = out / "assets.extra"
  extra.mkdir()
  files.write_json(extra / "metadata.json", facts)


def _load_savedmodel(path: pathlib.Path) -> _Clips:
  import tensorflow as tf

  module = tf.saved_model.load(str(path))
  function = module.signatures["serving_default"]

  def classify(clips, module=module):  # which the function needs alive
    return function(**{INPUT: tf.constant(clips)})[OUTPUT].numpy()

  return classify


def _write_onnx(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  with platform.forced("cpu"):  # onnxruntime is of CPUs first, where arithmetic counts
    model = onnx_graph.to_onnx(run.folded, run.shape, input_name=INPUT, output_name=OUTPUT)
  for name, value in facts.items():
    entry = model.metadata_props.add()
    entry.key, entry.value = name, json.dumps(value)
  out.write_bytes(model.SerializeToString())


def _load_onnx(path: pathlib.Path) -> _Clips | None:
  try:
    import onnxruntime
  except ImportError:
    return None
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1  # its threads wait busily
  session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
  return lambda clips: session.run([OUTPUT], {INPUT: clips})[0]


def _write_tflite(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  """For one clip at a time, in the forms for CPUs.

  Of a batch of any size the converter (TensorFlow 2.21) refuses the frames taken in steps, which
  become a gather then; of the form for GPUs it takes frames for joints ('tfl.conv_2d').
  """
  import tensorflow as tf

  with platform.forced("cpu"):
    module = _tensorflow(run, _stablehlo(run, 1, ("cpu",)), 1)
  function = module.classify.get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
  try:
    content = converter.convert()
  except Exception as error:  # the converter has several
    raise ConfigError(f"TensorFlow cannot convert this network ({first_line(error)})") from error
  facts["input"]["shape"][0] = facts["output"]["shape"][0] = 1
  out.write_bytes(content)


def _load_tflite(path: pathlib.Path) -> _Clips:
  import tensorflow as tf

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the interpreter moves to another package
    interpreter = tf.lite.Interpreter(model_path=str(path))
  runner = interpreter.get_signature_runner()
  one = lambda clip: runner(**{INPUT: clip[None]})[OUTPUT]
  return lambda clips: np.concatenate([one(clip) for clip in clips])


# Format -> ending of its file ('' for a folder), what writes one, what makes it a function again.
FORMATS: dict[str, tuple[str, Callable[..., None], Callable[[pathlib.Path], _Clips | None]]] = {
  "stablehlo": (".stablehlo", _write_stablehlo, _load_stablehlo),
  "savedmodel": ("", _write_savedmodel, _load_savedmodel),
  "onnx": (".onnx", _write_onnx, _load_onnx),
  "tflite": (".tflite", _write_tflite, _load_tflite),
}
