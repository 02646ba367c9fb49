"""A trained run as a file that other programs run: joints in, probabilities out."""

import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import export as jax_export
from jax.extend import mlir

from mstgcn_jax import files
from mstgcn_jax.data import input_pipeline, streams
from mstgcn_jax.errors import ConfigError, RunError, first_line
from mstgcn_jax.evaluation import calibration
from mstgcn_jax.model import Network, platform
from mstgcn_jax.training import checkpoints, experiment
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.train_step import model_input
from mstgcn_jax.training.workdir import RunFacts
from mstgcn_jax.use import onnx_graph

INPUT, OUTPUT = "clips", "probabilities"
TOLERANCE = 1e-4  # of a probability, between an exported file and its run
AGREEMENT = 0.95  # share of clips whose likeliest class rounded weights must leave the same
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
    agreement: share of clips whose likeliest class is the same; None likewise.
    clips: what they were compared on, in words.
    temperature: that the file's probabilities are calibrated by; 1 where the run is not.
  """

  difference: float | None
  agreement: float | None
  clips: str
  temperature: float


@dataclasses.dataclass(frozen=True)
class _Run:
  """A run as two functions of clips, and what is known of it.

  Attributes:
    exact: probabilities by the network as it was trained, computed in float32, calibrated.
    folded: the same function, norms and adjacencies folded into the weights.
    temperature: that they are calibrated by; 1 where the run is not.
  """

  exact: Callable[[jax.Array], jax.Array]
  folded: Callable[[jax.Array], jax.Array]
  facts: RunFacts
  stream: str
  shape: tuple[int, ...]
  step: int
  temperature: float


def export(
  workdir: str | pathlib.Path,
  to: str,
  out: str | pathlib.Path,
  *,
  quantize: str | None = None,
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
    quantize: one of the format's `quantized`, to which weights are rounded: 'float16', or 'int8'
      (those of large layers, with a scale each; what goes through the network stays float32).
    Otherwise as `checkpoints.load_model`, whose errors it raises.
  Raises:
    ConfigError: an unknown format, an `out` that does not fit it, or a package or JAX's CPU is
      missing.
    RunError: what was written differs from the run by more than `TOLERANCE`, or, with rounded
      weights, in the likeliest class of more than 1 - `AGREEMENT` of the clips; it is removed.
  """
  if to not in FORMATS:
    raise ConfigError(f"--to is {to!r}; expected one of {', '.join(FORMATS)}")
  kind = FORMATS[to]
  if quantize and quantize not in kind.quantized:
    kinds = {name: ", ".join(one.quantized) for name, one in FORMATS.items() if one.quantized}
    possible = "; ".join(f"{said} for {name}" for name, said in kinds.items())
    raise ConfigError(f"--quantize {quantize} is not possible for {to}; expected {possible}")
  out = pathlib.Path(out)
  _check_out(out, to, kind.ending)
  with jax.default_device(cpu := _cpu()):
    run = _load(workdir, checkpoint, stream, trust, cpu)
    facts = metadata(run, to, quantize or "float32")
    clips, said = _clips(workdir, run)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.written_whole(out) as aside:
      kind.write(run, facts, aside)
      comparison = _compare(run, kind.load(aside), clips, said)
      _check(comparison, to, quantize)
  files.write_json(out.with_name(out.name + ".json"), facts)
  return comparison


def metadata(run: _Run, to: str, weights: str) -> dict[str, Any]:
  """What a program needs to know to use an exported file, for JSON.

  Args:
    weights: their type.
  """
  facts, sampling = run.facts, run.facts.sampling
  return {
    "format": to,
    "input": {"name": INPUT, "shape": ["batch", *run.shape], "dtype": "float32"},
    "output": {"name": OUTPUT, "shape": ["batch", facts.model.num_classes], "dtype": "float32"},
    "weights": weights,
    "class_names": list(facts.class_names),
    "skeleton": facts.model.to_dict()["skeleton"],
    "stream": run.stream,
    "window": sampling.window,
    "num_persons": sampling.num_persons,
    "sampling": sampling.kind,
    "fill": sampling.fill,
    "center": sampling.center,
    "origin": sampling.origin,
    "bone_parents": sampling.bone_parents,
    "rotated": facts.rotated,
    "scored": facts.scored,
    "upward": facts.upward,
    "by_sum": facts.by_sum,
    "units": facts.units,
    "picture": list(facts.picture),
    "trained_on": facts.data_name,
    "step": run.step,
    "temperature": run.temperature,
    "versions": {"mstgcn-jax": _version("mstgcn-jax")}
    | {name: _version(name) for name in FORMATS[to].packages},
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


def _cpu() -> jax.Device:
  """What a file is compared on: a GPU multiplies in TF32, further from its run than `TOLERANCE`."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError as error:
    raise ConfigError(
      f"files are compared with their run on a CPU, which JAX_PLATFORMS={jax.config.jax_platforms} "
      f"leaves out; make it {jax.config.jax_platforms},cpu"
    ) from error


def _load(workdir, checkpoint, stream, trust, device) -> _Run:
  facts = workdir_lib.read(workdir)
  stream = facts.stream(stream)
  # Most of what runs exported files doesn't compute in bfloat16, or in float64.
  model, variables, step = checkpoints.load_trained(
    workdir, checkpoint=checkpoint, stream=stream, trust=trust, dtype="float32"
  )
  in_float32 = lambda x: x.astype(np.float32) if x.dtype == np.float64 else x
  found = jax.tree.map(in_float32, (nnx.state(model), variables["normalization"]))
  state, normalization = jax.device_put(found, device)
  nnx.update(model, state)
  skeleton = facts.model.skeleton
  temperature, _ = calibration.of_run(pathlib.Path(workdir), stream, step)

  def probabilities(model: nnx.Module) -> Callable[[jax.Array], jax.Array]:
    graph, state = nnx.split(model)

    def of_clips(clips: jax.Array) -> jax.Array:
      x = model_input(clips, (stream,), 0, skeleton, facts.joint_at_zero, normalization)
      logits = nnx.merge(graph, state)(x)
      return jax.nn.softmax(logits if temperature == 1 else logits / temperature)

    return of_clips

  channels = facts.model.in_channels // streams.num_channels(stream, 1)
  sampling = facts.sampling
  return _Run(
    exact=probabilities(model),
    folded=probabilities(model.fold() if isinstance(model, Network) else model),
    facts=facts,
    stream=stream,
    shape=(sampling.num_persons, sampling.window, skeleton.num_joints, channels),
    step=step,
    temperature=temperature,
  )


def _clips(workdir: str | pathlib.Path, run: _Run) -> tuple[np.ndarray, str]:
  """Clips to compare on, of the run's data set where it is found, and what they are."""
  data_set = experiment.data_set_of(workdir)
  if data_set and (data_set.skeleton.num_joints, data_set.channels) == run.shape[2:]:
    rows = np.unique(np.linspace(0, len(data_set) - 1, _COMPARED).astype(int))
    sampling = dataclasses.replace(run.facts.sampling, views=1)
    clips = np.stack([sampling.windows(data_set.read([row])[0]) for row in rows.tolist()])
    return clips, f"{len(clips)} clips of {data_set.name}"
  rng = np.random.default_rng(0)
  drawn = rng.normal(0, 0.3, (_COMPARED, *run.shape)).astype(np.float32)
  return drawn, f"{_COMPARED} random clips (the run's data set is not here)"


def _compare(run: _Run, exported: _Clips | None, clips: np.ndarray, said: str) -> Comparison:
  """All clips, in three batches, after one to three of one clip."""
  if exported is None:
    return Comparison(None, None, said, run.temperature)
  exact = jax.jit(run.exact)
  alone = len(clips) - 3 * ((len(clips) - 1) // 3)
  parts = [*np.split(clips[:alone], alone), *np.split(clips[alone:], 3)]
  parts = [part for part in parts if len(part)]
  expected, found = (
    np.concatenate([np.asarray(f(part)) for part in parts]) for f in (exact, exported)
  )
  agreement = float((found.argmax(1) == expected.argmax(1)).mean())
  return Comparison(float(np.abs(found - expected).max()), agreement, said, run.temperature)


def _check(comparison: Comparison, to: str, quantize: str | None) -> None:
  """RunError where a file is not its run, or too far from it; NaN is."""
  difference, agreement, said = comparison.difference, comparison.agreement, comparison.clips
  if difference is None:
    return
  if quantize and not (np.isfinite(difference) and agreement >= AGREEMENT):
    raise RunError(
      f"{to}: with weights in {quantize} the likeliest class of {said} is the run's for "
      f"{100 * agreement:.0f} %, expected {100 * AGREEMENT:.0f} % or more (probabilities differ by "
      f"up to {difference:.1e}); nothing was written"
    )
  if not quantize and not difference <= TOLERANCE:
    raise RunError(
      f"{to}: probabilities of {said} differ from the run's by {difference:.1e}, more than "
      f"{TOLERANCE:g}; nothing was written"
    )


def _stablehlo(
  run: _Run, batch: Any = None, platforms=_PLATFORMS, form: str = "any"
) -> jax_export.Exported:
  """The run as StableHLO, of any batch unless one is given; `form` as of `platform.forced`."""
  (symbol,) = jax_export.symbolic_shape("batch")
  clips = jax.ShapeDtypeStruct((batch or symbol, *run.shape), np.float32)
  try:
    with platform.forced(form):
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


def _tf_module(run: _Run, exported: jax_export.Exported, batch: int | None) -> Any:
  """A tf.Module whose `classify` calls StableHLO; as jax.experimental.jax2tf does it, or did."""
  tf = input_pipeline.tensorflow()
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
  tf = input_pipeline.tensorflow()
  module = _tf_module(run, _stablehlo(run), None)
  try:
    tf.saved_model.save(module, str(out), signatures={"serving_default": module.classify})
  except tf.errors.OpError as error:  # of a full disk
    raise RunError(f"{out} cannot be written ({first_line(error)})") from error
  extra = out / "assets.extra"
  extra.mkdir()
  files.write_json(extra / "metadata.json", facts)


def _load_savedmodel(path: pathlib.Path) -> _Clips:
  tf = input_pipeline.tensorflow()
  module = tf.saved_model.load(str(path))
  function = module.signatures["serving_default"]

  def classify(clips, module=module):  # which the function needs alive
    return function(**{INPUT: tf.constant(clips)})[OUTPUT].numpy()

  return classify


def _write_onnx(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  with platform.forced("onnx"):
    model = onnx_graph.to_onnx(run.folded, run.shape, input_name=INPUT, output_name=OUTPUT)
  if facts["weights"] == "float16":
    model = _in_float16(model)
  for name, value in facts.items():
    entry = model.metadata_props.add()
    entry.key, entry.value = name, json.dumps(value)
  out.write_bytes(model.SerializeToString())


def _in_float16(model: Any) -> Any:
  """An ONNX model with weights and arithmetic in float16, input and output still float32."""
  try:
    from onnxruntime.transformers import float16, onnx_model
  except ImportError as error:
    raise ConfigError(
      f"--quantize float16 needs onnxruntime ({error}); pip install 'mstgcn-jax[export]'"
    ) from error
  # What it leaves in float32 of its own accord, our maxima, onnxruntime has in float16, too.
  model = float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=[])
  # Its casts of the input and the output stand behind all else, and ONNX asks for an order in which
  # values come before their uses; onnxruntime alone does not.
  onnx_model.OnnxModel.graph_topological_sort(model.graph)
  return model


def _load_onnx(path: pathlib.Path) -> _Clips | None:
  try:
    import onnxruntime
  except ImportError:
    return None
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = 1  # its threads wait busily
  try:
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
  except Exception as error:  # it has several
    raise ConfigError(f"onnxruntime cannot run this network ({first_line(error)})") from error
  return lambda clips: session.run([OUTPUT], {INPUT: clips})[0]


def _write_tflite(run: _Run, facts: dict[str, Any], out: pathlib.Path) -> None:
  """For one clip at a time, in forms that are close to those for CPUs.

  Of a batch of any size the converter (TensorFlow 2.21) refuses the frames taken in steps, which
  become a gather then; of the form for GPUs it takes frames for joints ('tfl.conv_2d').
  """
  tf = input_pipeline.tensorflow()
  module = _tf_module(run, _stablehlo(run, 1, ("cpu",), "tflite"), 1)
  function = module.classify.get_concrete_function()
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
  if facts["weights"] != "float32":
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if facts["weights"] == "float16":
    converter.target_spec.supported_types = [tf.float16]
  try:
    content = converter.convert()
  except Exception as error:  # the converter has several
    raise ConfigError(f"TensorFlow cannot convert this network ({first_line(error)})") from error
  facts["input"]["shape"][0] = facts["output"]["shape"][0] = 1
  out.write_bytes(content)


def _load_tflite(path: pathlib.Path) -> _Clips:
  tf = input_pipeline.tensorflow()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the interpreter moves to another package
    interpreter = tf.lite.Interpreter(model_path=str(path))
  runner = interpreter.get_signature_runner()
  one = lambda clip: runner(**{INPUT: clip[None]})[OUTPUT]
  return lambda clips: np.concatenate([one(clip) for clip in clips])


@dataclasses.dataclass(frozen=True)
class Format:
  """A kind of exported files.

  Attributes:
    ending: of the file; '' for a folder.
    write: writes a run.
    load: makes a file a function again; gives None where what runs it is not installed.
    packages: whose versions tell what can read it.
    quantized: what its weights can be rounded to.
  """

  ending: str
  write: Callable[[_Run, dict[str, Any], pathlib.Path], None]
  load: Callable[[pathlib.Path], _Clips | None]
  packages: tuple[str, ...]
  quantized: tuple[str, ...] = ()


_OF_TENSORFLOW = ("jax", "tensorflow")
FORMATS = {
  "stablehlo": Format(".stablehlo", _write_stablehlo, _load_stablehlo, ("jax",)),
  "savedmodel": Format("", _write_savedmodel, _load_savedmodel, _OF_TENSORFLOW),
  "onnx": Format(".onnx", _write_onnx, _load_onnx, ("jax", "onnx"), ("float16",)),
  "tflite": Format(".tflite", _write_tflite, _load_tflite, _OF_TENSORFLOW, ("float16", "int8")),
}
