"""A run as a file: loads without this package, says what a program has to know, is the run."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from test_classifier import write_run

from mstgcn_jax import files
from mstgcn_jax.commands import export as command
from mstgcn_jax.errors import ConfigError, RunError
from mstgcn_jax.evaluation import calibration
from mstgcn_jax.model import ModelConfig, abstract_network, platform
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import export, onnx_graph
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.predict import Predictor

BLOCKS = ((3, 8, False, 1), (8, 8, True, 2))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("run"), block_type="ms", spatial_scales=2, blocks=BLOCKS)


@pytest.fixture(scope="module")
def stablehlo(workdir, tmp_path_factory):
  out = tmp_path_factory.mktemp("exported") / "run.stablehlo"
  comparison = export.export(workdir, "stablehlo", out)
  assert comparison.difference < export.TOLERANCE
  assert comparison.clips == "100 random clips (the run's data set is not here)"
  return out


def clips(count=3, seed=0):
  return np.random.default_rng(seed).normal(size=(count, 2, 12, 25, 3)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 12, 100])
def test_all_clips_are_compared(count):
  class Same:
    exact = staticmethod(lambda clips: clips)
    temperature = 1.0

  seen = []

  def exported(clips):
    seen.append(clips[:, 0])
    return clips

  numbers = np.arange(count, dtype=np.float32)[:, None]
  export._compare(Same, exported, numbers, "")
  np.testing.assert_array_equal(np.concatenate(seen), numbers[:, 0])
  assert len(seen[0]) == 1 and len(set(map(len, seen))) <= 2


ON_ONE_OF_TWO = """
import sys
import jax
from mstgcn_jax.use import export
gpu, cpu = jax.devices()
jax.local_devices = lambda backend=None: [cpu] if backend == "cpu" else [gpu, cpu]
compare = export._compare
def spied(run, exported, clips, said):
  for classify in (run.exact, run.folded, jax.jit(run.exact), exported):
    assert classify(clips[:1]).devices() == {cpu}, classify
  return compare(run, exported, clips, said)
export._compare = spied
export.export(sys.argv[1], "stablehlo", sys.argv[2])
"""


def test_files_are_compared_with_their_run_on_a_cpu(workdir, tmp_path):
  # Of two devices, the first of which plays the GPU that JAX would take.
  env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
  argv = [sys.executable, "-c", ON_ONE_OF_TWO, str(workdir), str(tmp_path / "run.stablehlo")]
  subprocess.run(argv, env=env, check=True)
  assert (tmp_path / "run.stablehlo").exists()


def test_a_jax_without_a_cpu_is_told_how_to_have_one(workdir, tmp_path, monkeypatch):
  def unknown(backend=None):
    raise RuntimeError(f"Unknown backend: '{backend}' requested, but no platforms")

  monkeypatch.setattr(jax, "local_devices", unknown)
  with pytest.raises(ConfigError, match=r"on a CPU, which JAX_PLATFORMS=cpu leaves out"):
    export.export(workdir, "stablehlo", tmp_path / "run.stablehlo")


def test_stablehlo_runs_without_this_package(workdir, stablehlo, tmp_path):
  np.save(tmp_path / "clips.npy", clips())
  code = (
    "import sys, numpy as np\n"
    "from jax import export\n"
    f"run = export.deserialize(bytearray(open({str(stablehlo)!r}, 'rb').read()))\n"
    f"clips = np.load({str(tmp_path / 'clips.npy')!r})\n"
    f"np.save({str(tmp_path / 'out.npy')!r}, run.call(clips))\n"
    "assert not [m for m in sys.modules if m.startswith(('mstgcn', 'flax', 'tensorflow'))]\n"
  )
  subprocess.run([sys.executable, "-I", "-c", code], check=True, env={"JAX_PLATFORMS": "cpu"})
  # Folded norms round otherwise; probabilities are of the size of 1.
  np.testing.assert_allclose(
    np.load(tmp_path / "out.npy"), Classifier(workdir)(clips()), atol=export.TOLERANCE
  )


def test_what_a_program_has_to_know_is_beside_the_file(stablehlo):
  facts = files.read_json(stablehlo.with_name("run.stablehlo.json"))
  assert facts["class_names"] == ["a", "b", "c"]
  assert facts["input"] == {
    "name": "clips",
    "shape": ["batch", 2, 12, 25, 3],
    "dtype": "float32",
  }
  assert facts["output"]["shape"] == ["batch", 3]
  assert (facts["window"], facts["sampling"], facts["stream"]) == (12, "loop", "joint")
  assert facts["skeleton"]["name"] == "ntu_rgbd" and len(facts["skeleton"]["joints"]) == 25
  assert facts["platforms"] == ["cpu", "cuda", "tpu"] and facts["versions"]["jax"]
  program = jax.export.deserialize(bytearray(stablehlo.read_bytes())).mlir_module()
  assert "stablehlo.case" in program  # the forms of each platform
  assert (facts["center"], facts["origin"], facts["bone_parents"]) == (1, "frame", None)


def test_how_clips_are_placed_is_beside_the_file(tmp_path):
  workdir = write_run(tmp_path / "run")
  model = files.read_json(workdir / "model.json")
  model["input"] |= {"origin": "first_frame", "body_size": True, "sampling": "uniform"}
  model["loading"] = {"fill": "zero", "center": None}
  files.write_json(workdir / "model.json", model)
  export.export(workdir, "stablehlo", tmp_path / "a.stablehlo")
  facts = files.read_json(tmp_path / "a.stablehlo.json")
  assert facts["origin"] == "first_frame" and facts["bone_parents"][0] == 1
  assert (facts["sampling"], facts["fill"], facts["center"]) == ("uniform", "zero", None)


def test_all_that_is_known_of_the_run_is_beside_the_file(workdir):
  known = {"scored": True, "upward": "y", "units": "m", "picture": (640, 480), "by_sum": False}
  facts = dataclasses.replace(workdir_lib.read(workdir), data_name="mine", rotated=None, **known)
  run = export._Run(None, None, facts, "bone", (2, 12, 25, 3), step=7, temperature=2.5)
  found = export.metadata(run, "onnx", "float16")
  expected = known | {"picture": [640, 480], "rotated": None, "trained_on": "mine"}
  expected |= {"stream": "bone", "step": 7, "temperature": 2.5, "weights": "float16"}
  expected |= {"format": "onnx", "num_persons": 2, "opset": onnx_graph.OPSET}
  assert {name: found[name] for name in expected} == expected
  assert found["versions"].keys() == {"mstgcn-jax", "jax", "onnx"}
  assert "opset" not in export.metadata(run, "stablehlo", "float32")


def test_files_are_compared_on_the_clips_of_the_runs_data_set_where_they_fit(tiny_data, tmp_path):
  model = files.read_json(write_run(tmp_path, skeleton=tiny.SKELETON) / "model.json")
  model["input"] |= {"sampling": "uniform", "views": 3}
  files.write_json(tmp_path / "model.json", model)
  config_lib.write(tiny.config(tiny_data), tmp_path / "config.json")
  run = export._load(tmp_path, "newest", None, False, jax.devices()[0])
  found, said = export._clips(tmp_path, run)
  assert (found.shape, said) == ((54, 2, 12, 20, 3), "54 clips of tiny")
  flat = dataclasses.replace(run, shape=(2, 12, 20, 2))
  assert export._clips(tmp_path, flat)[0].shape == (100, 2, 12, 20, 2)


def test_calibrated_runs_are_exported_calibrated_by_one_stream(tmp_path, capsys):
  run = write_run(tmp_path / "run", stream=("joint", "bone"))
  calibration.Calibration({"joint": 4.0}, 0, "clips").save(run)
  assert command.main([str(run), "--to", "stablehlo", str(tmp_path / "a.stablehlo")]) == 0
  said = capsys.readouterr().out
  assert "stream joint alone, of joint, bone: --stream names another" in said
  assert "calibrated: temperature 4, as those of predict --stream joint" in said
  assert files.read_json(tmp_path / "a.stablehlo.json")["temperature"] == 4
  got = export.FORMATS["stablehlo"].load(tmp_path / "a.stablehlo")(clips())
  expected = Predictor(run, stream="joint").probabilities(clips())
  np.testing.assert_allclose(got, expected, atol=export.TOLERANCE)
  assert np.abs(got - Classifier(run)(clips())).max() > 0.01


@pytest.mark.parametrize("to", ["stablehlo", "onnx"])
def test_a_run_in_float64_takes_and_gives_float32(tmp_path, to):
  if to == "onnx":
    pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  path = tmp_path / f"run.{to}"
  with jax.enable_x64(True):
    mean, std = np.zeros((25, 3)), np.ones((25, 3))
    options = {"dtype": "float64", "normalization": {"mean": mean, "std": std}}
    run = write_run(tmp_path / "run", block_type="ms", spatial_scales=2, blocks=BLOCKS, **options)
    export.export(run, to, path)
    expected = np.asarray(Classifier(run)(clips()))
  got = export.FORMATS[to].load(path)(clips())
  assert expected.dtype == np.float64 and got.dtype == np.float32
  np.testing.assert_allclose(got, expected, atol=export.TOLERANCE)


@pytest.mark.parametrize(("to", "out"), [("savedmodel", "saved"), ("tflite", "run.tflite")])
def test_tensorflows_formats_are_the_run(workdir, tmp_path, to, out):
  pytest.importorskip("tensorflow")
  difference = export.export(workdir, to, tmp_path / out).difference
  assert difference < export.TOLERANCE
  load = export.FORMATS[to].load
  got = load(tmp_path / out)(clips())
  np.testing.assert_allclose(got, Classifier(workdir)(clips()), atol=export.TOLERANCE)
  batch = files.read_json(tmp_path / f"{out}.json")["input"]["shape"][0]
  assert batch == (1 if to == "tflite" else "batch")


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
  """A run whose layers are large enough to be rounded."""
  blocks = ((3, 32, False, 1), (32, 32, True, 2))
  return write_run(tmp_path_factory.mktemp("larger"), blocks=blocks)


@pytest.mark.parametrize(("quantize", "kind"), [("float16", np.float16), ("int8", np.int8)])
def test_tflites_weights_are_rounded_and_the_class_stays(larger, tmp_path, quantize, kind):
  tensorflow = pytest.importorskip("tensorflow")
  path = tmp_path / "run.tflite"
  comparison = export.export(larger, "tflite", path, quantize=quantize)
  assert comparison.agreement >= export.AGREEMENT
  assert comparison.difference > 1e-7  # something was rounded
  assert files.read_json(tmp_path / "run.tflite.json")["weights"] == quantize
  tensors = tensorflow.lite.Interpreter(model_path=str(path)).get_tensor_details()
  rounded = sum(int(np.prod(t["shape"])) for t in tensors if t["dtype"] == kind)
  assert rounded > 5000  # of 10,368 weights in the second block's convolutions


def test_onnx_in_float16_takes_and_gives_float32(larger, tmp_path):
  onnx = pytest.importorskip("onnx", reason="of the extra 'export'")
  onnxruntime = pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  path = tmp_path / "run.onnx"
  comparison = export.export(larger, "onnx", path, quantize="float16")
  assert comparison.agreement >= export.AGREEMENT and comparison.difference > 1e-7
  model = onnx.load(path)
  onnx.checker.check_model(model, full_check=True)  # more than onnxruntime asks for
  types = [tensor.data_type for tensor in model.graph.initializer]
  assert onnx.TensorProto.FLOAT16 in types and onnx.TensorProto.FLOAT not in types
  session = onnxruntime.InferenceSession(str(path))
  (got,) = session.run(None, {"clips": clips()})
  # float16 has 11 bits: 5e-4 of a value, through some layers; probabilities are up to 1.
  np.testing.assert_allclose(got, Classifier(larger)(clips()), atol=2e-2)
  assert json.loads(session.get_modelmeta().custom_metadata_map["weights"]) == "float16"


def test_rounding_that_changes_classes_leaves_nothing_behind(workdir, tmp_path, monkeypatch):
  pytest.importorskip("tensorflow")
  kind = export.FORMATS["tflite"]
  off = lambda path: lambda batch: np.roll(kind.load(path)(batch), 1, axis=1)
  monkeypatch.setitem(export.FORMATS, "tflite", dataclasses.replace(kind, load=off))
  with pytest.raises(RunError, match=r"weights in int8 the likeliest class of .* 0 %, expected 95"):
    export.export(workdir, "tflite", tmp_path / "run.tflite", quantize="int8")
  assert not list(tmp_path.iterdir())


def test_a_rounding_that_a_format_has_not_is_refused(tmp_path):
  with pytest.raises(
    ConfigError, match=r"int8 is not possible for onnx; expected float16 for onnx;"
  ):
    export.export(tmp_path / "nothing", "onnx", tmp_path / "run.onnx", quantize="int8")


NETWORKS = [
  {"block_type": "basic", "activation": "meta_acon", "attention": "stcja"},
  {"block_type": "sep", "activation": "hswish", "attention": "ca"},
  {"block_type": "ms_bottle", "activation": "swish", "attention": "stja"},
  {"block_type": "bottle", "activation": "acon", "attention": "pa"},
  {"attention": "fa"},
  {"attention": "ja"},
  *({"network": name} for name in ("stgcn", "aagcn", "ctrgcn", "dgstgcn", "pyskl_msg3d")),
]


def random_network(config):
  """A network in evaluation mode; drawn by NumPy, which compiles nothing."""
  model = abstract_network(config)
  rng = np.random.default_rng(0)
  for kind, draw in (
    (nnx.Param, lambda shape: rng.normal(0, 0.3, shape)),
    (nnx.BatchStat, lambda shape: rng.uniform(0.5, 1.5, shape)),  # a variance is above 0
  ):
    drawn = jax.tree.map(
      lambda x, draw=draw: jax.numpy.asarray(draw(x.shape).astype(np.float32)),
      nnx.state(model, kind),
    )
    nnx.update(model, drawn)
  model.eval()
  return model


@pytest.mark.parametrize("changes", NETWORKS, ids=lambda c: "-".join(c.values()))
def test_every_network_becomes_onnx(changes):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  onnxruntime = pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  blocks = ((3, 16, False, 1), (16, 32, True, 2))
  config = ModelConfig(3, "utd_mhad", num_persons=2, blocks=blocks, kernel_size=3, **changes)
  model = random_network(config)
  shape = (2, 8, 20, 3)
  with platform.forced("onnx"):
    made = onnx_graph.to_onnx(model.fold(), shape, input_name="x", output_name="y")
  names = {node.name for node in made.graph.node}
  # Without, onnxruntime 1.18 to 1.21 refuse the file.
  assert len(names) == len(made.graph.node) and "" not in names
  session = onnxruntime.InferenceSession(made.SerializeToString())
  x = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
  expected = nnx.jit(lambda model, x: model(x))(model, x)
  for batch in (1, 4):
    got = session.run(None, {"x": x[:batch]})[0]
    # Two libraries sum float32 in different orders; the logits are of the size of 1.
    np.testing.assert_allclose(got, expected[:batch], atol=2e-4, rtol=2e-4)


_DRAWN = np.random.default_rng(2).normal(size=(4, 6)).astype(np.float32)
_TAPS = np.random.default_rng(3).normal(size=(3, 2, 4)).astype(np.float32)
_WIDEN = np.random.default_rng(4).normal(size=(3, 4, 5)).astype(np.float32)


def _conv(x, weight, **options):
  return jax.lax.conv_general_dilated(x, weight, dimension_numbers=("NWC", "WIO", "NWC"), **options)


def _repeated(x):
  return jnp.broadcast_to(x[:, :1, :1], x.shape)


@pytest.mark.parametrize(
  "function",
  [
    lambda x: jax.lax.clamp(-0.5, x, 0.7),
    lambda x: jnp.where(x != 0, x**3, 2.0) + jnp.abs(x) ** -2 + jnp.square(x),
    lambda x: jnp.stack([x, x + 1], 2),
    lambda x: sum(part * i for i, part in enumerate(jnp.unstack(x, axis=1))),
    lambda x: jnp.concatenate(jnp.split(x, (1, 3), 1)[::-1], 1),
    lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3)), constant_values=5),
    lambda x: x[:, 1:5:2][..., np.array([2, 0, 0, 3])],
    lambda x: x.max(1) - x.min((1,)) + x.sum((1,)) * x.var(1),
    lambda x: (x > 1).any(1).astype(jnp.float32),
    lambda x: jnp.einsum("bij,bkj->bik", x, x),
    lambda x: jnp.einsum("bij,ik->bjk", x, _DRAWN.T),
    lambda x: jnp.einsum("kjl,bij->kbil", _WIDEN, x).swapaxes(0, 1),
    lambda x: (x.reshape(-1, 4) @ _DRAWN).reshape(-1, 6, 6),
    lambda x: _conv(x, _WIDEN, window_strides=(2,), padding=[(1, 2)]),
    lambda x: _conv(
      x, _TAPS, window_strides=(1,), padding="SAME", rhs_dilation=(2,), feature_group_count=2
    ),
    lambda x: jnp.einsum("bij,kj->bik", x, _DRAWN.T),
    lambda x: jnp.einsum("bij,jkl->bikl", x, _WIDEN.swapaxes(0, 1)),
    lambda x: jax.lax.conv_general_dilated(
      *(x.reshape(-1, 3, 2, 4), _TAPS.reshape(3, 1, 4, 2), (1, 1), "SAME"),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ),
    # Constants of the same bytes.
    lambda x: jnp.where(x.astype(jnp.int32) == 0, x + 0.0, 1.0),
    lambda x: (x + _DRAWN.reshape(6, 4)) @ _DRAWN,
    # A value that is kept smaller than it is in the jaxpr is as large as there where that counts.
    lambda x: _repeated(x).reshape(-1, 8, 3),
    lambda x: _repeated(x)[:, 1:3],
    lambda x: jnp.split(_repeated(x), 2, 1)[1],
    lambda x: jnp.concatenate([_repeated(x), x], 1),
    lambda x: _repeated(x)[:, np.array([2, 0])],
    lambda x: _repeated(x).max(1),
    lambda x: (_repeated(x) > 0).any(1).astype(jnp.float32),
    lambda x: _conv(_repeated(x), _WIDEN, window_strides=(1,), padding=[(0, 1)]),
    lambda x: _repeated(x) @ _DRAWN,
    lambda x: jnp.broadcast_to(x.mean(1, keepdims=True), x.shape).sum(1),
    lambda x: x + jnp.broadcast_to(_DRAWN[:, 0], x.shape).sum(1, keepdims=True),
    lambda x: jnp.ones((len(x), 3)),
    jax.checkpoint(lambda x: jax.jit(jax.nn.relu)(x) + 1),
  ],
)
def test_an_operation_is_the_same_in_onnx_for_any_batch(function):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  onnxruntime = pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  made = onnx_graph.to_onnx(function, (6, 4), input_name="x", output_name="y")
  session = onnxruntime.InferenceSession(made.SerializeToString())
  x = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)
  for batch in (1, 5):
    (got,) = session.run(None, {"x": x[:batch]})
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, function(x[:batch]), rtol=1e-4, atol=1e-5)  # sums of float32


@pytest.mark.parametrize(
  ("function", "said"),
  [
    # A loop whose body is of the same shapes as the loop is no call of it.
    (lambda x: jax.lax.fori_loop(0, 3, lambda _, y: 2 * y, x), "has the operation 'scan'"),
    (lambda x: x - x.mean(0), "computes with the batch's size"),
    (lambda x: x[:1], "takes a part of the batch"),
    (lambda x: jnp.einsum("bij,ckj->bcik", x, x), "has the batch in two dimensions"),
    (lambda x: x[:, np.array([0, 1]), np.array([0, 1])], "picks elements in a way that is not"),
    (lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 0, 0), (0, 0, 0))), "pads by less than"),
    (lambda x: jax.lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0))), "or between elements"),
    (
      lambda x: _conv(x, _WIDEN, window_strides=(1,), padding=[(1, 1)], lhs_dilation=(2,)),
      "a transposed convolution",
    ),
  ],
)
def test_what_onnx_does_not_compute_alike_is_refused(function, said):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  with pytest.raises(ConfigError, match=f"ONNX: this network .*{said}"):
    onnx_graph.to_onnx(function, (6, 4), input_name="x", output_name="y")


def test_what_onnxruntime_does_not_take_is_said_in_one_line(tmp_path):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  function = lambda x: (x.astype("bfloat16") * x.astype("bfloat16")).astype("float32")
  made = onnx_graph.to_onnx(function, (6, 4), input_name="x", output_name="y")
  (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
  with pytest.raises(ConfigError, match=r"onnxruntime cannot run this network \(.*Mul") as caught:
    export.FORMATS["onnx"].load(tmp_path / "a.onnx")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stream", ["bone", "joint_motion"])
def test_the_stream_and_the_normalisation_are_inside_onnx(tmp_path, stream):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  onnxruntime = pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  draw = np.random.default_rng(1).uniform
  # A deviation at which probabilities are far from 0 and 1, where they would hide much.
  mean, std = draw(0.5, 1, (25, 3)), draw(4, 6, (25, 3))
  normalization = {"mean": np.float32(mean), "std": np.float32(std)}
  workdir = write_run(tmp_path / "run", stream=stream, normalization=normalization)
  export.export(workdir, "onnx", tmp_path / "run.onnx")
  session = onnxruntime.InferenceSession(str(tmp_path / "run.onnx"))
  partly = clips()
  partly[:, 1, :, 5:9] = 0  # what is not tracked stays 0
  partly[..., 1, :] = 0  # the centre, at which the first person is tracked
  (got,) = session.run(None, {"clips": partly})
  np.testing.assert_allclose(got, Classifier(workdir)(partly), atol=export.TOLERANCE)
  said = session.get_modelmeta().custom_metadata_map
  facts = {name: json.loads(value) for name, value in said.items()}
  assert facts["class_names"] == ["a", "b", "c"]
  assert (facts["opset"], facts["stream"]) == (onnx_graph.OPSET, stream)


def test_an_operation_without_counterpart_is_named():
  pytest.importorskip("onnx", reason="of the extra 'export'")
  with pytest.raises(ConfigError, match=r"has the operation 'sort'.*stablehlo takes any"):
    onnx_graph.to_onnx(jax.numpy.sort, (4,), input_name="x", output_name="y")


def test_a_package_that_is_missing_is_named(workdir, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "onnx", None)
  with pytest.raises(ConfigError, match=r"need onnx; pip install 'mstgcn-jax\[export\]'"):
    export.export(workdir, "onnx", tmp_path / "run.onnx")
  assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_the_run_is_not_left_behind(workdir, tmp_path, monkeypatch):
  kind = export.FORMATS["stablehlo"]
  off = lambda path: lambda batch: kind.load(path)(batch) + 0.01
  monkeypatch.setitem(export.FORMATS, "stablehlo", dataclasses.replace(kind, load=off))
  with pytest.raises(RunError, match=r"differ from the run's by 1\.0e-02, more than 0\.0001"):
    export.export(workdir, "stablehlo", tmp_path / "run.stablehlo")
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_with_the_name_of_the_file(workdir, tmp_path, monkeypatch):
  import tensorflow as tf

  def full(*args, **kwargs):
    raise OSError(28, "No space left on device")

  def tensorflow_says(*args, **kwargs):
    raise tf.errors.ResourceExhaustedError(None, None, "saved_model.pb; No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_bytes", full)
  with pytest.raises(OSError, match=r"run\.stablehlo"):
    export.export(workdir, "stablehlo", tmp_path / "run.stablehlo")
  monkeypatch.setattr(tf.saved_model, "save", tensorflow_says)
  with pytest.raises(RunError, match=r"run\.\w+\.partial cannot be written .*No space left"):
    export.export(workdir, "savedmodel", tmp_path / "run")
  assert not list(tmp_path.iterdir())


def test_a_wrong_name_or_format_is_refused_before_anything_is_loaded(tmp_path):
  (tmp_path / "run.onnx").mkdir()
  for to, out, said in (
    ("onnx", "run.onnx", r"exists; --to onnx writes a \.onnx file"),
    ("onnx", "run.pb", r"must end in \.onnx"),
    ("coreml", "run.onnx", "expected one of stablehlo, savedmodel, onnx, tflite"),
    ("savedmodel", ".", "exists; --to savedmodel writes a folder"),
  ):
    with pytest.raises(ConfigError, match=said):
      export.export(tmp_path / "nothing", to, tmp_path / out)


def test_the_command_says_what_it_wrote_and_how_near_it_is(workdir, tmp_path, capsys):
  assert command.main([str(workdir), "--to", "stablehlo", str(tmp_path / "a.stablehlo")]) == 0
  said = capsys.readouterr().out
  assert "a.stablehlo and a.stablehlo.json beside it" in said
  assert "100 random clips" in said and "by at most" in said and "likeliest" not in said


def test_the_command_says_how_many_classes_stay_the_same(workdir, tmp_path, capsys):
  pytest.importorskip("tensorflow")
  argv = [str(workdir), "--to", "tflite", str(tmp_path / "a.tflite"), "--quantize", "float16"]
  assert command.main(argv) == 0
  assert "the likeliest class is the same for 100 % of them" in capsys.readouterr().out
