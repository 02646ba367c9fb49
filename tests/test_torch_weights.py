"""Checkpoints of the PyTorch reference in and out."""

import dataclasses
import gzip
import json
import os
import pathlib
import pickle
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
import tiny
import torch
import yaml
from flax import nnx
from golden import golden
from reference import Reference, assert_comes_back

from mstgcn_jax import files, skeletons, torch_weights
from mstgcn_jax.commands import evaluate
from mstgcn_jax.commands.weights import main as weights_main
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.model import MSTGCN, ModelConfig, abstract_network, torch_names
from mstgcn_jax.model.block import spatial_layer
from mstgcn_jax.model.config import NETWORKS
from mstgcn_jax.model.unpublished import unpublished
from mstgcn_jax.training import checkpoints, loop
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.use import weights as weights_lib
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.weights import import_checkpoint

ARGS = {
  "num_class": 12,
  "num_point": 18,
  "num_person": 2,
  "block_args": [[3, 8, False, 1], [8, 16, True, 2]],
  "graph": "graph.kinetics.Graph",
  "graph_args": {"labeling_mode": "spatial"},
  "kernel_size": 9,
  "block_type": "ms",
  "reduct_ratio": 2,
  "expand_ratio": 0,
  "s_scale": 4,
  "t_scale": 4,
  "layer_type": "normal",
  "act": "relu",
  "atten": "None",
  "bias": True,
}


@pytest.fixture(scope="module")
def model():
  return MSTGCN(torch_weights.config_from_reference(ARGS), rngs=nnx.Rngs(1))


@pytest.fixture(scope="module")
def state(model):
  return torch_weights.state_dict(model)


@pytest.mark.parametrize(
  "name",
  ["ms_kinetics", "ms_bottle_kinetics", "sep_expand2_kinetics", "ms_stcja_kinetics", "ms_pa"],
)
def test_a_state_dict_comes_back_with_every_name_shape_and_value(name):
  reference = Reference(f"model/{name}")
  assert all(".mstcn.bn_in." in key for key in reference.unused)
  assert_comes_back(reference)


def published_args(width):
  blocks = [[3, 1, False, 1]] + [[1, 1, True, 1]] * 3 + [[1, 2, True, 2]]
  blocks += [[2, 2, True, 1]] * 2 + [[2, 4, True, 2]] + [[4, 4, True, 1]] * 2
  blocks = [[width * a, width * b, *rest] for a, b, *rest in blocks]
  blocks[0][0] = 3
  args = ARGS | {"num_class": 60, "num_point": 25, "graph": "graph.ntu_rgb_d.Graph"}
  return args | {"block_args": blocks}


PUBLISHED = json.loads(gzip.decompress(golden("names.json.gz").read_bytes()))


@pytest.mark.parametrize("name", PUBLISHED)
def test_tensors_have_the_published_names_and_shapes(name):
  """Of networks whose values are not among the tests' own golden files."""
  network = abstract_network(torch_weights.config_from_reference(PUBLISHED[name]["config"]))
  here = {name: shape for name, _, _, shape in torch_names.tensors(network)}
  here |= {name: array.shape for name, array in torch_names.constants(network).items()}
  assert here == {name: tuple(shape) for name, shape in PUBLISHED[name]["tensors"].items()}


@pytest.mark.parametrize("width", [112, 64])
def test_the_published_yaml_becomes_the_published_configuration(width):
  config = torch_weights.config_from_reference(published_args(width))
  assert config == type(config)(num_classes=60, width=width)


def test_training_goes_on_from_a_published_checkpoint_with_the_published_config():
  model_config = torch_weights.config_from_reference(published_args(112))
  imported = config_lib.from_model(model_config, "joint")
  published = config_lib.load(pathlib.Path(__file__).parents[1] / "configs/ntu_joint.py")
  assert config_lib.differences(imported, published) == []


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"graph": "graph.other.Graph"}, "graph is 'graph.other.Graph'"),
    ({"num_point": 25}, "num_point is 25"),
    ({"bias": False}, "bias is False"),
    ({"dilation": 2}, "dilation has no counterpart"),
    ({"block_type": "huge"}, "block_type is 'huge'"),
    ({"block_type": None}, "block_type is None"),
    ({"block_type": "antigravity:anything"}, "block_type is 'antigravity:anything'"),
    ({"block_args": None}, "block_args is None"),
    ({"block_args": []}, r"block_args is \[\]"),
    ({"block_args": [3, 8, False, 1]}, r"block_args is \[3, 8"),
    ({"block_args": [[]]}, "block_args"),
    ({"block_args": [["a", "b"]]}, "'a'"),
    ({"parts": [0, 1]}, r"parts is \[0, 1\]"),
    ({"graph_args": "spatial"}, "graph_args is 'spatial'"),
    ({"network": ["stgcnpp"]}, r"network is \['stgcnpp'\]; it must be one of mstgcn, st_gcn"),
  ],
)
def test_model_args_without_counterpart_are_named(change, message):
  with pytest.raises(ConfigError, match=message):
    torch_weights.config_from_reference(ARGS | change)


@pytest.mark.parametrize("absent", ["num_class", "block_args", "graph"])
def test_an_argument_that_is_not_there_is_named(absent):
  args = {name: value for name, value in ARGS.items() if name != absent}
  with pytest.raises(ConfigError, match=f"model_args has no '{absent}'"):
    torch_weights.config_from_reference(args)


def test_what_the_yaml_leaves_out_is_as_published():
  least = {name: ARGS[name] for name in ("num_class", "block_args", "graph")}
  published = torch_weights.config_from_reference(ARGS | {"atten": None, "layer_type": "basic"})
  assert torch_weights.config_from_reference(least) == published
  separable = torch_weights.config_from_reference(least | {"layer_type": "sep"})
  assert separable == dataclasses.replace(published, layer_type="sep")
  ratios = torch_weights.config_from_reference(least | {"reduct_ratio": 4, "expand_ratio": 1})
  assert ratios == dataclasses.replace(published, reduction=4, expand_ratio=1)


def test_parts_of_ones_own_have_the_edges_whose_child_is_in_them():
  parts = [list(range(9)), list(range(9, 18))]
  skeleton = torch_weights.config_from_reference(ARGS | {"parts": parts}).skeleton
  assert skeleton.parts == tuple(map(tuple, parts))
  assert [{child for child, _ in edges} for edges in skeleton.part_edges] == [
    set(parts[0]) - {1},  # the neck is the root
    set(parts[1]),
  ]


@pytest.mark.parametrize("block_type", ["ms", "ms_bottle"])
@pytest.mark.parametrize("activation", ["acon", "meta_acon"])
def test_learned_activations_come_back(activation, block_type):
  config = torch_weights.config_from_reference(ARGS | {"act": activation, "block_type": block_type})
  a, b = (MSTGCN(config, rngs=nnx.Rngs(seed)) for seed in (1, 2))
  state = torch_weights.state_dict(a)
  assert state["layers.1.msgcn.act.p1"].shape == (1, 16, 1, 1)
  assert ("layers.1.msgcn.reduct_conv.2.p1" in state) == (block_type == "ms_bottle")
  torch_weights.load_state_dict(b, state)
  clips = jax.random.normal(jax.random.key(0), (1, 2, 8, 18, 3))
  a.eval()
  b.eval()
  np.testing.assert_array_equal(a(clips), b(clips))


def test_a_folded_model_is_not_exported_in_part(model):
  with pytest.raises(ConfigError, match="the model is folded"):
    torch_weights.state_dict(model.fold())
  with pytest.raises(ConfigError, match="the model is folded"):
    torch_weights.load_state_dict(model.fold(), {})


class Own(nnx.Module):
  """A layer of one's own; `scaled` gives it a parameter that no name covers."""

  def __init__(self, config, block, *, rngs, scaled=False):
    self.project = nnx.Linear(block.in_channels, block.out_channels, use_bias=False, rngs=rngs)
    self.scale = nnx.Param(np.ones(3)) if scaled else None


def scaled(config, block, *, rngs):
  return Own(config, block, rngs=rngs, scaled=True)


def test_layers_of_ones_own_are_exported_whole_or_refused():
  config = torch_weights.config_from_reference(ARGS)
  make = lambda f: MSTGCN(
    dataclasses.replace(config, block_type=f"{__name__}:{f}/ms"), rngs=nnx.Rngs(0)
  )
  assert torch_weights.state_dict(make("Own"))["layers.1.msgcn.project.weight"].shape == (16, 8)
  with pytest.raises(ConfigError, match=r"1 parameters .* blocks\.1\.spatial\.scale;"):
    torch_weights.state_dict(make("scaled"))


def test_the_prefix_of_data_parallel_and_unused_tensors_are_tolerated(model, state):
  given = {f"module.{name}": value for name, value in state.items()} | {"other": np.zeros(3)}
  unused = torch_weights.load_state_dict(model, given)
  assert "other" in unused
  assert "layers.1.mstcn.bn_in.weight" in unused
  assert "data_bn.num_batches_tracked" not in unused  # a counter that training here does not need


def test_all_wrong_shapes_are_named_and_nothing_is_loaded(model, state):
  before = np.asarray(model.blocks[0].spatial.body.conv.weight[...])
  wrong = {"fc.weight": np.zeros((5, 16)), "fc.bias": np.zeros(5)}
  altered = {name: value + 1 for name, value in state.items()}
  with pytest.raises(DataError, match=r"fc\.weight has shape \(5, 16\).*fc\.bias has shape \(5,\)"):
    torch_weights.load_state_dict(model, altered | wrong)
  np.testing.assert_array_equal(before, model.blocks[0].spatial.body.conv.weight[...])


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (
      lambda value: np.zeros((9, *value.shape)),
      "the state dict is of another model, in {} tensors: ",
    ),
    (lambda value: None, "the state dict lacks {} tensors: "),
    (lambda value: np.full(value.shape, np.nan), "the state dict is damaged: not all numbers of "),
  ],
)
def test_of_many_tensors_that_do_not_fit_five_are_named(model, state, damage, said):
  names = [name for name, *_ in torch_names.tensors(model)]
  given = {name: damage(state[name]) for name in names}
  with pytest.raises(DataError) as error:
    torch_weights.load_state_dict(model, {n: v for n, v in given.items() if v is not None})
  message = str(error.value)
  assert message.startswith(said.format(len(names))) and "…" in message
  assert [name for name in names if re.search(rf"{re_escape(name)}\b", message)] == names[:5]


def test_missing_tensors_and_another_graph_are_named(model, state):
  renamed = {"head.bias" if name == "fc.bias" else name: value for name, value in state.items()}
  said = r"lacks 1 tensor: fc\.bias; it has others, such as head\.bias"
  with pytest.raises(DataError, match=said):
    torch_weights.load_state_dict(model, renamed)
  name = "layers.0.msgcn.conv.A"
  with pytest.raises(DataError, match=re_escape(name)):
    torch_weights.load_state_dict(model, state | {name: state[name] + 1})
  # By a tenth, or of another number of joints.
  for other in (1.1 * state[name], state[name][:, :5, :5]):
    with pytest.raises(DataError, match=r"conv\.A of the state dict is not what the model's skel"):
      torch_weights.load_state_dict(model, state | {name: other})


def test_tensors_that_are_no_finite_numbers_or_there_twice_are_named(model, state):
  name = "layers.0.msgcn.conv.A"
  negative = ("data_bn.running_var", -1.0)
  for key, value in (("fc.bias", np.nan), ("fc.bias", 1j), (name, np.inf), negative):
    damaged = state | {key: np.full(state[key].shape, value)}
    with pytest.raises(DataError, match=rf"not all numbers of {re_escape(key)} are real and fin"):
      torch_weights.load_state_dict(model, damaged)
  assert torch_weights._is_sound("fc.bias", np.zeros(2, np.int8))
  with pytest.raises(DataError, match=r"two of fc\.bias, one as module\.fc\.bias"):
    torch_weights.load_state_dict(model, state | {"module.fc.bias": state["fc.bias"]})


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_counters_keep_their_shape_in_a_file(tmp_path, suffix):
  torch_weights.write_state_dict({"num_batches_tracked": np.asarray(0)}, tmp_path / f"w{suffix}")
  back = torch_weights.read_state_dict(tmp_path / f"w{suffix}")
  assert back["num_batches_tracked"].shape == ()


def re_escape(text):
  return text.replace(".", r"\.")


def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path):
  class Malicious:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "harm"),)

  torch.save({"fc.weight": torch.zeros(1), "x": Malicious()}, tmp_path / "new.pt")
  (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
  for name in ("new.pt", "plain.pt"):
    with pytest.raises(DataError, match=name):
      torch_weights.read_state_dict(tmp_path / name)
  assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict"])
def test_the_state_dict_of_a_checkpoint_is_found(tmp_path, name):
  torch.save({"epoch": 3, name: {"fc.bias": torch.ones(2)}}, tmp_path / "w.pt")
  assert torch_weights.read_state_dict(tmp_path / "w.pt")["fc.bias"].tolist() == [1, 1]
  old = {name: {"fc.bias": torch.ones(2)}}
  torch.save(old, tmp_path / "old.pt", _use_new_zipfile_serialization=False)  # before PyTorch 1.6
  assert torch_weights.read_state_dict(tmp_path / "old.pt")["fc.bias"].tolist() == [1, 1]


def test_what_a_file_holds_that_is_no_tensor_is_named(tmp_path):
  torch.save({"epoch": 3, "net": {}, "fc.bias": torch.ones(2)}, tmp_path / "w.pt")
  with pytest.raises(DataError, match=r"names to tensors: it holds epoch, net$"):
    torch_weights.read_state_dict(tmp_path / "w.pt")
  for content, said in (
    ([torch.ones(2)], r"w\.pt is not a state dict, a mapping of names to tensors$"),
    ({"fc.bias": torch.ones(2).to(torch.float8_e4m3fn)}, r"w\.pt holds tensors that are not plain"),
  ):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=said):
      torch_weights.read_state_dict(tmp_path / "w.pt")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu121", "2.9.0a0+git1234"])
def test_a_pt_file_is_not_read_by_versions_that_could_run_what_is_in_it(
  version, tmp_path, monkeypatch
):
  torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
  monkeypatch.setattr(torch, "__version__", version)
  with pytest.raises(ConfigError, match=rf"a\.pt is not read with PyTorch {re.escape(version)}: "):
    torch_weights.read_state_dict(tmp_path / "a.pt")
  monkeypatch.setattr(torch, "__version__", "2.10.0a0+b558c986e8.nv25.11")
  assert torch_weights.read_state_dict(tmp_path / "a.pt")["a"].tolist() == [1, 1]


def test_a_torchscript_program_is_refused_as_what_could_harm(tmp_path):
  torch.save({}, tmp_path / "w.pt")
  with zipfile.ZipFile(tmp_path / "w.pt", "a") as archive:
    archive.writestr("w/constants.pkl", "")  # by which PyTorch knows one
  with pytest.raises(DataError, match=r"more than tensors, and running .* could harm; not read"):
    torch_weights.read_state_dict(tmp_path / "w.pt")


def test_damaged_and_missing_files_are_named(tmp_path):
  for name in ("a.pt", "a.safetensors"):
    with pytest.raises(DataError, match=rf"{name} does not exist"):
      torch_weights.read_state_dict(tmp_path / name)
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(DataError, match=name):
      torch_weights.read_state_dict(tmp_path / name)


def test_a_folder_is_not_said_not_to_exist(tmp_path):
  for read in (
    torch_weights.read_state_dict,
    lambda path: import_checkpoint("absent.pt", path, tmp_path / "run"),
  ):
    with pytest.raises(DataError, match="is a folder; a file is needed"):
      read(tmp_path)


def test_without_pytorch_the_message_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  (tmp_path / "a.pt").write_bytes(b"")
  with pytest.raises(ConfigError, match=r"pip install 'mstgcn-jax\[torch\]'"):
    torch_weights.read_state_dict(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_import_and_export_keep_every_tensor(tmp_path, state, suffix, capsys):
  torch_weights.write_state_dict(state, tmp_path / f"in{suffix}")
  (tmp_path / "train.yaml").write_text(yaml.safe_dump({"model_args": ARGS, "batch_size": 8}))
  workdir = tmp_path / "run"
  paths = [str(tmp_path / name) for name in (f"in{suffix}", "train.yaml", "run")]
  how = ["--data-name", "kinetics", "--window", "64", "--sampling", "uniform"]
  weights_main(["import", *paths, *how])
  data = config_lib.read(workdir / "config.json").data
  assert (data.name, data.window, data.sampling) == ("kinetics", 64, "uniform")
  printed = capsys.readouterr().out
  assert "5 tensors left out that the reference has and never uses" in printed
  assert "stream joint of kinetics, 64 frames by uniform" in printed
  model = checkpoints.load_model(workdir)
  assert not any(m.use_running_average is False for _, m in nnx.iter_modules(model.norm_in))
  with pytest.raises(ConfigError, match=r"must end in \.pt, \.pth or \.safetensors"):
    weights_main(["export", str(workdir), str(tmp_path / "out.onnx")])
  weights_main(["export", str(workdir), str(tmp_path / f"out{suffix}")])
  assert "the state dict of stream joint, step 0; for load_state_dict" in capsys.readouterr().out
  back = torch_weights.read_state_dict(tmp_path / f"out{suffix}")
  assert back.keys() == state.keys()
  for name, value in state.items():
    np.testing.assert_array_equal(back[name], value, err_msg=name)
  with pytest.raises(ConfigError, match="not empty"):
    import_checkpoint(tmp_path / f"in{suffix}", tmp_path / "train.yaml", workdir)


@pytest.mark.parametrize(
  ("fields", "found"),
  [
    ({"edge_weights": "learned"}, ["edge_weights=learned"]),
    ({"graph": "ntu_rgbd_pyskl"}, ["graph=ntu_rgbd_pyskl"]),
    ({"block_type": "ms/sep", "activation": "swish", "attention": "stja"}, ["block_type=ms/sep"]),
    ({"network": "stgcnpp", "edge_weights": "added"}, ["edge_weights=added"]),
    ({"network": "agcn", "activation": "swish"}, ["activation=swish"]),
    ({"network": "agcn", "attention": "ja"}, ["attention=ja"]),
    ({"network": "stgcn", "edge_weights": "fixed", "dropout": 0.5}, []),
    ({"network": "stgcnpp", "graph": "ntu_rgbd_pyskl", "branches": ("1x1", (3, 1))}, []),
  ],
)
def test_options_that_the_published_code_lacks_are_named(fields, found):
  assert unpublished(ModelConfig(num_classes=5, **fields)) == found


def imported(tmp_path, state, args=ARGS):
  """The workdir of `state`."""
  weights, reference, workdir = (tmp_path / name for name in ("w.safetensors", "r.yaml", "run"))
  torch_weights.write_state_dict(state, weights)
  reference.write_text(yaml.safe_dump({"model_args": args}))
  import_checkpoint(weights, reference, workdir)
  return workdir


def change_model(workdir, **fields):
  facts = files.read_json(workdir / "model.json")
  files.write_json(workdir / "model.json", facts | {"model": facts["model"] | fields})


def test_export_of_a_network_that_the_reference_computes_otherwise_warns(tmp_path, state, capsys):
  workdir = imported(tmp_path, state)
  change_model(workdir, edge_weights="scaled")
  weights_main(["export", str(workdir), str(tmp_path / "out.safetensors")])
  printed = capsys.readouterr().out
  assert "warning: the reference has no edge_weights=scaled" in printed
  assert "load_state_dict" not in printed
  (workdir / "config.json").write_text("[]")
  with pytest.raises(DataError, match=r"config\.json"):
    weights_main(["export", str(workdir), str(tmp_path / "none.safetensors")])
  assert not (tmp_path / "none.safetensors").exists()


def as_published(config, block, *, rngs):
  return spatial_layer("ms", config, block, rngs=rngs)


def test_export_of_a_run_with_layers_of_ones_own_asks_for_trust(tmp_path, state, capsys):
  workdir = imported(tmp_path, state)
  change_model(workdir, block_type=f"{__name__}:as_published/ms")
  export = ["export", str(workdir), str(tmp_path / "out.safetensors")]
  with pytest.raises(ConfigError, match="--trust"):
    weights_main(export)
  weights_main([*export, "--trust"])
  assert "the reference has no counterpart of its own layers" in capsys.readouterr().out
  back = torch_weights.read_state_dict(tmp_path / "out.safetensors")
  np.testing.assert_array_equal(back["fc.weight"], state["fc.weight"])


def test_an_imported_checkpoint_is_evaluated_classified_with_and_trained_on(tmp_path, capsys):
  data = tiny.prepare(tmp_path / "data", "mine", skeletons.get("ntu_rgbd"))
  args = ARGS | {"num_class": 3, "num_point": 25, "num_person": 1}
  args |= {"graph": "graph.ntu_rgb_d.Graph", "block_args": [[3, 8, False, 1], [8, 8, True, 1]]}
  model = MSTGCN(torch_weights.config_from_reference(args), rngs=nnx.Rngs(0))
  workdir = imported(tmp_path, torch_weights.state_dict(model), args)

  options = ["--workdir", str(workdir), "--data", str(data), "--protocol", "cross_subject"]
  options += ["--data-name", "mine"]
  evaluate.main(options)
  assert "step 0" in capsys.readouterr().out
  classify = Classifier(workdir)
  clip = classify.from_data_set(open_data_set(data / "mine"), 0)
  model.eval()
  expected = jax.nn.softmax(model(clip[None]))
  np.testing.assert_allclose(classify(clip[None]), expected, rtol=1e-4, atol=1e-6)

  experiment = config_lib.read(workdir / "config.json")
  experiment.update_from_flattened_dict(
    {"data.dir": str(data), "data.name": "mine", "data.protocol": "cross_subject"}
    | {"data.window": 16, "batch_size": 8, "epochs": 1, "allow_config_change": True}
  )
  loop.train(experiment, workdir)
  assert checkpoints.load_variables(workdir)[1] == 3


def test_an_imported_kinetics_model_sees_clips_padded_with_zeros_as_the_reference_shows_them(
  tmp_path, state
):
  workdir = imported(tmp_path, state)
  person = np.random.default_rng(0).random((5, 18, 3), np.float32)
  for facts in (files.read_json(workdir / "model.json"), {}):
    if not facts:  # as an earlier version imported
      facts = files.read_json(workdir / "model.json")
      del facts["loading"]
      files.write_json(workdir / "model.json", facts)
    clip = Classifier(workdir).window([person])
    np.testing.assert_array_equal(clip[0, :5], person)  # not centred
    assert clip.shape[1] == 300 and not clip[0, 5:].any() and not clip[1:].any()


def mistake_weights_and_yaml_swapped(folder, weights, reference):
  return "import", reference, weights, folder / "run"


def mistake_yaml_for_weights(folder, weights, reference):
  return "import", reference, reference, folder / "run"


def mistake_workdir_is_a_file(folder, weights, reference):
  return "import", weights, reference, weights


def mistake_workdir_below_a_file(folder, weights, reference):
  return "import", weights, reference, weights / "run"


def mistake_export_of_a_file(folder, weights, reference):
  return "export", weights, folder / "out.pt"


@pytest.mark.parametrize(
  ("mistake", "message"),
  [
    (mistake_weights_and_yaml_swapped, "w.pt is not YAML"),
    (mistake_yaml_for_weights, "r.yaml is not a PyTorch file"),
    (mistake_workdir_is_a_file, "w.pt exists and is no folder"),
    (mistake_workdir_below_a_file, "cannot be made"),
    (mistake_export_of_a_file, "w.pt is not a workdir"),
  ],
)
def test_a_mistake_on_the_command_line_ends_in_one_line(tmp_path, state, mistake, message):
  weights, reference = tmp_path / "w.pt", tmp_path / "r.yaml"
  torch_weights.write_state_dict(state, weights)
  reference.write_text(yaml.safe_dump({"model_args": ARGS}))
  with pytest.raises((ConfigError, DataError), match=message) as caught:
    weights_main(list(map(str, mistake(tmp_path, weights, reference))))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("skeleton", "center"), [("ntu_rgbd", 1), ("kinetics", None)])
def test_what_is_known_of_an_imported_model(skeleton, center):
  model = ModelConfig(num_classes=3, skeleton=skeleton)
  facts = weights_lib._facts(config_lib.from_model(model, "bone", "mine"), model)
  assert (facts.class_names, facts.streams) == (("1", "2", "3"), ("bone",))
  # The reference turns and centres NTU's clips, and takes Kinetics' as they are.
  assert (facts.joint_at_zero, facts.rotated) == (center, center is not None)
  assert (facts.data_name, facts.sampling.num_persons) == (None, 2)


def test_a_yaml_says_the_network_its_skeleton_and_its_persons(tmp_path):
  yaml_file = tmp_path / "r.yaml"
  for network in ("agcn", "aagcn", "ctrgcn"):
    yaml_file.write_text(yaml.safe_dump({"model": f"model.{network}.Model", "model_args": {}}))
    assert weights_lib._model_args(yaml_file) == {"network": network}
  for sizes in ({"skeleton": "ntu_rgbd"}, {"num_persons": 0}):
    with pytest.raises(ConfigError, match=r"r\.yaml says the skeleton and the persons; leave them"):
      import_checkpoint("w.pt", yaml_file, tmp_path / "run", **sizes)
  assert not (tmp_path / "run").exists()


def test_a_mistyped_name_of_a_network_is_put_right(tmp_path):
  with pytest.raises(DataError, match=r"stgcnp does not exist; did you mean .*stgcnpp.*YAML file"):
    weights_main(["import", "w.pt", "stgcnp", str(tmp_path / "run")])


def test_what_names_a_network_instead_of_a_yaml_names_none_that_is_refused(tmp_path):
  (tmp_path / "r.yaml").write_text("epochs: 5\n")
  with pytest.raises(DataError, match="has no mapping 'model_args'") as caught:
    weights_main(["import", "w.pt", str(tmp_path / "r.yaml"), str(tmp_path / "run")])
  named = str(caught.value).rpartition("one of ")[2].split(", ")
  assert "stgcn" in named and "mstgcn" not in named


@pytest.mark.parametrize("text", ["a: [", "a: !!timestamp x", "a: !!int ''", "[" * 10_000])
def test_what_is_no_yaml_is_named(tmp_path, text):
  (tmp_path / "r.yaml").write_text(text)
  with pytest.raises(DataError, match=r"r\.yaml is not YAML \("):
    weights_main(["import", "w.pt", str(tmp_path / "r.yaml"), str(tmp_path / "run")])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_export_into_a_missing_folder_is_named(tmp_path, state, suffix):
  with pytest.raises(DataError, match="there is no folder"):
    torch_weights.write_state_dict(state, tmp_path / f"none/w{suffix}")


@pytest.mark.parametrize("make", [torch.nn.Parameter, torch.Tensor.bfloat16, torch.Tensor.half])
def test_parameters_and_half_precision_are_read(tmp_path, model, state, make):
  torch.save({name: make(torch.tensor(v).float()) for name, v in state.items()}, tmp_path / "w.pt")
  loaded = nnx.clone(model)
  torch_weights.load_state_dict(loaded, torch_weights.read_state_dict(tmp_path / "w.pt"))
  bias = loaded.classifier.bias[...]
  np.testing.assert_allclose(bias, state["fc.bias"], rtol=1e-2)
  assert bias.dtype == np.float32


def test_a_failed_import_writes_nothing_and_ends_with_one_line(tmp_path):
  safetensors.numpy.save_file({"fc.bias": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
  (tmp_path / "train.yaml").write_text(yaml.safe_dump({"model_args": ARGS}))
  command = [sys.executable, "-m", "mstgcn_jax", "weights", "import"]
  paths = [str(tmp_path / name) for name in ("w.safetensors", "train.yaml", "run")]
  result = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
  assert result.returncode == 1
  assert result.stderr.startswith("error: the state dict lacks")
  assert len(result.stderr.splitlines()) == 1
  assert not (tmp_path / "run").exists()


# Other networks' code bases.


def of_network(name: str, **fields):
  """A network of published depth, narrow, and its state under the published names."""
  fields = {"num_classes": 7, "network": name, "width": 16, "num_persons": 1} | fields
  config = ModelConfig(**fields)
  model = abstract_network(config)
  rng = np.random.default_rng(0)
  state = {}
  for key, variable, _, shape in torch_names.tensors(model):
    state[key] = np.abs(rng.standard_normal(shape)).astype(np.float32)
    variable.set_value(np.zeros(variable.shape, np.float32))
  return config, torch_names.constants(model) | state


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "mstgcn"])
def test_a_state_dict_and_a_name_tell_the_network(name):
  pyskl = name.startswith("pyskl") or name == "stgcnpp"
  shared = NETWORKS[name].input_norm == "VC"
  fields = {"graph": "ntu_rgbd_pyskl" if pyskl else None, "num_persons": 2 if shared else 1}
  config, state = of_network(name, **fields)
  found = torch_weights.config_from_state_dict(name, {f"module.{k}": v for k, v in state.items()})
  assert found == config


OF_AGCN = ("fc.weight", "data_bn.weight", "l1.gcn1.PA")
OF_PYSKL = ("cls_head.fc_cls.weight", "backbone.data_bn.weight", "backbone.gcn.0.gcn.A")


def sizes(names, joints=25, features=75):
  """Of a state dict what tells the sizes of its network, of width 16 and 7 classes."""
  classifier, norm, adjacency = names
  shapes = {classifier: (7, 64), norm: features, adjacency: (3, joints, joints)}
  return {name: np.zeros(shape) for name, shape in shapes.items()}


def test_channels_for_less_than_a_person_of_three_are_one_persons():
  config = ModelConfig(num_classes=7, network="agcn", width=16, in_channels=2, num_persons=1)
  assert torch_weights.config_from_state_dict("agcn", sizes(OF_AGCN, features=50)) == config


@pytest.mark.parametrize(
  ("network", "names", "joints", "skeleton"),
  [
    ("agcn", OF_AGCN, 25, "ntu_rgbd"),
    ("aagcn", OF_AGCN, 18, "kinetics"),
    ("ctrgcn", OF_AGCN, 20, "nw_ucla"),
    ("pyskl_aagcn", OF_PYSKL, 17, "coco"),
  ],
)
def test_so_many_joints_are_those_that_the_code_bases_train_on(network, names, joints, skeleton):
  found = torch_weights.config_from_state_dict(network, sizes(names, joints, 6 * joints))
  # PYSKL links joints in a way of its own, but NTU's alone.
  fields = {"skeleton": skeleton, "graph": None, "width": 16, "num_persons": 2}
  assert found == ModelConfig(num_classes=7, network=network, **fields)


def test_a_state_dict_of_another_network_or_skeleton_is_refused():
  state = sizes(OF_AGCN)
  with pytest.raises(DataError, match=r"not of 'stgcnpp': it lacks cls_head\.fc_cls\.weight"):
    torch_weights.config_from_state_dict("stgcnpp", state)
  with pytest.raises(DataError, match=r"l1\.gcn1\.PA is of 9 joints"):
    torch_weights.config_from_state_dict("agcn", state | {"l1.gcn1.PA": np.zeros((3, 9, 9))})
  with pytest.raises(ConfigError, match=r"network is 'mstgcn'; sizes follow .* give the YAML file"):
    torch_weights.config_from_state_dict("mstgcn", state)
  with pytest.raises(DataError, match=r"data_bn\.weight has shape \(3, 75\)"):
    damaged = state | {"data_bn.weight": np.zeros((3, 75))}
    torch_weights.config_from_state_dict("agcn", damaged)
  with pytest.raises(DataError, match=r"data_bn\.weight has shape \(0,\)"):
    torch_weights.config_from_state_dict("agcn", state | {"data_bn.weight": np.zeros(0)})
  with pytest.raises(DataError, match=r"l1\.gcn1\.PA is of 25 joints; coco has 17"):
    torch_weights.config_from_state_dict("agcn", state, skeleton="coco")
  with pytest.raises(ConfigError, match="num_persons is 0; it must be a whole number of at least"):
    torch_weights.config_from_state_dict("agcn", state, num_persons=0)
  with pytest.raises(DataError, match="75 features, which 25 joints of 5 persons do not divide"):
    torch_weights.config_from_state_dict("agcn", state, num_persons=5)
  state = sizes(OF_PYSKL) | {"backbone.A": np.zeros((25, 25))}
  with pytest.raises(DataError, match=r"not of 'pyskl_msg3d': it lacks backbone\.sgcn1\.0\.A"):
    torch_weights.config_from_state_dict("pyskl_msg3d", state)


def test_pyskls_file_becomes_a_workdir_by_the_networks_name_and_comes_back(tmp_path, capsys):
  config, state = of_network("stgcnpp", graph="ntu_rgbd_pyskl", num_persons=2)
  tensors = {name: torch.tensor(value) for name, value in state.items()}
  torch.save({"meta": {"epoch": 16}, "state_dict": tensors}, tmp_path / "in.pth")
  command = ["import", str(tmp_path / "in.pth"), "stgcnpp", str(tmp_path / "run")]
  weights_main([*command, "--window", "100", "--sampling", "uniform"])
  facts = workdir_lib.read(tmp_path / "run")
  assert (facts.model, facts.sampling.origin) == (config, "first_frame")  # as PYSKL centres clips
  saved = config_lib.read(tmp_path / "run" / "config.json")
  assert (saved.model.graph, saved.data.center) == ("ntu_rgbd_pyskl", "first_frame")
  weights_main(["export", str(tmp_path / "run"), str(tmp_path / "out.pth")])
  assert "for load_state_dict of the reference's model" in capsys.readouterr().out
  back = torch_weights.read_state_dict(tmp_path / "out.pth")
  assert back.keys() == state.keys()
  for name, value in state.items():
    np.testing.assert_array_equal(back[name], value, err_msg=name)


@pytest.mark.parametrize(
  ("change", "field"),
  [
    ({"num_stages": "10"}, "num_stages"),
    ({"inflate_stages": 5}, "inflate_stages"),
    ({"down_stages": None}, "down_stages"),
    ({"base_channels": None}, "base_channels"),
    ({"tcn_ms_cfg": 5}, "tcn_ms_cfg"),
    ({"type": "DGSTGCN", "gcn_ratio": "a"}, "gcn_ratio"),
    ({"type": "DGSTGCN", "gcn_ratio": 0}, "gcn_ratio"),
    ({"type": ["STGCN"]}, "type"),
    ({"graph_cfg": {"layout": ["coco"]}}, "layout"),
    ({"graph_cfg": {"layout": "coco", "mode": ["spatial"]}}, "mode"),
  ],
)
def test_arguments_of_pyskl_of_a_wrong_kind_are_named(change, field):
  backbone = {"type": "STGCN", "gcn_adaptive": "init", "gcn_with_res": True, "tcn_type": "mstcn"}
  backbone |= {"graph_cfg": {"layout": "coco", "mode": "spatial"}} | change
  if backbone["type"] == "DGSTGCN":
    backbone = {"type": "DGSTGCN", "graph_cfg": backbone["graph_cfg"]} | change
  args = {"network": "stgcnpp", "backbone": backbone, "cls_head": {"num_classes": 5}}
  with pytest.raises(ConfigError, match=rf"{field} is "):
    torch_weights.config_from_reference(args)


ST_GCN = {"network": "st_gcn", "num_class": 5}
AAGCN = {"network": "aagcn", "graph": "graph.ntu_rgb_d.Graph"}
CTR_GCN = {"network": "ctrgcn", "graph": "graph.ucla.Graph"}
OPENPOSE = {"layout": "openpose"}
STAGES = {"base_channels": 8, "num_stages": 5, "inflate_stages": [3, 5], "down_stages": [4]}
GRAPH = {"layout": "coco", "mode": "spatial"}
DRAWN = {"layout": "coco", "mode": "random"}


def pyskl(kind="AAGCN", head=(), graph=GRAPH, **backbone):
  backbone = {"type": kind, "graph_cfg": graph} | backbone
  network = {"DGSTGCN": "pyskl_dgstgcn", "AAGCN": "pyskl_aagcn"}.get(kind, "pyskl_stgcn")
  return {"network": network, "backbone": backbone, "cls_head": {"num_classes": 5} | dict(head)}


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (ST_GCN | {"graph_args": OPENPOSE | {"max_hop": 2}}, r"graph_args\.max_hop is 2; it must be 1"),
    (ST_GCN | {"graph_args": OPENPOSE | {"dilation": 2}}, r"graph_args\.dilation is 2; it must be"),
    (ST_GCN, "model_args has no 'graph_args'"),
    ({"network": "st_gcn", "graph_args": OPENPOSE}, "model_args has no 'num_class'"),
    (ST_GCN | {"graph_args": {"strategy": "spatial"}}, r"graph_args\.layout is ''; it must be one"),
    (ST_GCN | {"graph_args": OPENPOSE | {"hops": 1}}, r"graph_args\.hops has no counterpart"),
    (AAGCN | {"graph_args": {"hops": 1}}, r"graph_args\.hops has no counterpart"),
    (AAGCN | {"adaptive": False}, "adaptive is False; it must be True"),
    ({"network": "aagcn"}, "model_args has no 'graph'"),
    (AAGCN | {"network": "agcn", "drop_out": 0.5}, "drop_out has no counterpart"),
    (CTR_GCN | {"attention": False}, "attention has no counterpart"),
    (CTR_GCN | {"adaptive": False}, "adaptive is False; it must be True"),
    (CTR_GCN | {"num_point": 25}, "num_point is 25, but 'graph.ucla.Graph' has 20 joints"),
    ({"network": "stgcnpp", "cls_head": {"num_classes": 5}}, "model_args has no 'backbone'"),
    ({"network": "stgcnpp", "backbone": {"type": "STGCN"}}, "model_args has no 'cls_head'"),
    (pyskl() | {"cls_head": {"type": "GCNHead"}}, "model_args has no 'num_classes'"),
    (pyskl(head={"dropout": 0.5}), r"cls_head\.dropout is 0\.5; it must be 0\.0"),
    (pyskl(head={"loss": "bce"}), r"cls_head\.loss has no counterpart"),
    (pyskl(pretrained="a.pth"), r"backbone\.pretrained is 'a\.pth'"),
    (pyskl(ch_ratio=1.5), r"backbone\.ch_ratio is 1\.5; it must be 2"),
    (pyskl(num_stages=0), r"backbone\.num_stages is 0; it must be a whole number from 1"),
    (pyskl(attention=False), r"backbone\.attention has no counterpart"),
    (pyskl(graph=GRAPH | {"max_hop": 2}), r"graph_cfg\.max_hop is 2; it must be 1"),
    (pyskl(graph=GRAPH | {"nx_node": 2}), r"graph_cfg\.nx_node has no counterpart"),
    (pyskl("DGSTGCN", graph=DRAWN | {"init_off": 0.1}), r"graph_cfg\.init_off is 0\.1"),
    (pyskl("DGSTGCN", graph=DRAWN | {"init_std": 0.1}), r"graph_cfg\.init_std is 0\.1"),
    (pyskl("DGSTGCN", graph=DRAWN, gcn_ctr="NA"), r"backbone\.gcn_ctr is 'NA'; it must be 'T'"),
    (pyskl("DGSTGCN", graph=DRAWN, tcn_type="mstcn"), r"backbone\.tcn_type is 'mstcn'"),
    (pyskl("DGSTGCN", graph=DRAWN, gcn_ratio=2), r"backbone\.gcn_ratio is 2; it must be 1 / a"),
    (pyskl("DGSTGCN", graph=DRAWN, gcn_ratio=0.4), r"backbone\.gcn_ratio is 0\.4; it must be"),
    (AAGCN | {"block_args": [[3]]}, r"block_args is \(\(3,\),\); give \(in, out, resid"),
  ],
)
def test_arguments_of_other_networks_without_counterpart_are_named(args, message):
  with pytest.raises(ConfigError, match=message):
    torch_weights.config_from_reference(args)


@pytest.mark.parametrize(
  ("args", "fields"),
  [
    # What a file leaves out is the default of the code that reads it.
    (
      ST_GCN | {"graph_args": OPENPOSE},
      {"network": "stgcn", "strategy": "uniform", "edge_weights": "fixed"}
      | {"skeleton": "kinetics"},
    ),
    (AAGCN, {"network": "aagcn", "num_classes": 60}),
    (
      AAGCN | {"attention": False, "drop_out": 0.5, "labeling_mode": "uniform"},
      {"network": "aagcn", "num_classes": 60, "gates": False, "dropout": 0.5}
      | {"strategy": "uniform"},
    ),
    (
      CTR_GCN | {"num_class": 10, "num_person": 1, "drop_out": 0.5},
      {"network": "ctrgcn", "num_classes": 10, "skeleton": "nw_ucla", "num_persons": 1}
      | {"dropout": 0.5},
    ),
    (
      AAGCN | {"block_args": [[3, 8, False, 1], [8, 16, True, 2]]},
      {"network": "aagcn", "num_classes": 60, "width": 8}
      | {"blocks": ((3, 8, False), (8, 16, True, 2))},
    ),
    (pyskl(), {"network": "pyskl_aagcn", "skeleton": "coco"}),
    (
      pyskl(head={"type": "GCNHead", "in_channels": 256})
      | {"type": "RecognizerGCN", "train_cfg": None, "test_cfg": {"average_clips": "prob"}},
      {"network": "pyskl_aagcn", "skeleton": "coco"},
    ),
    (
      pyskl(graph=GRAPH | {"layout": "nturgb+d"}, num_person=1, data_bn_type="VC"),
      {"network": "pyskl_aagcn", "graph": "ntu_rgbd_pyskl", "num_persons": 1, "input_norm": "VC"},
    ),
    (
      pyskl(**STAGES, tcn_dropout=0.5),
      {"network": "pyskl_aagcn", "skeleton": "coco", "width": 8, "dropout": 0.5}
      | {"blocks": ((3, 8, False), (8, 8), (8, 16), (16, 16, True, 2), (16, 32))},
    ),
    (
      pyskl("STGCN", graph=GRAPH | {"mode": "stgcn_spatial"}),
      {"network": "pyskl_stgcn", "skeleton": "coco"},
    ),
    (
      pyskl("STGCN", gcn_adaptive="init", gcn_with_res=True, tcn_type="mstcn"),
      {"network": "stgcnpp", "skeleton": "coco"},
    ),
    (
      pyskl("DGSTGCN", graph=DRAWN),
      {"network": "dgstgcn", "skeleton": "coco", "subsets": 3, "embedding": 4},
    ),
    (
      pyskl("DGSTGCN", graph=DRAWN | {"num_filter": 8}, gcn_ratio=0.125),
      {"network": "dgstgcn", "skeleton": "coco", "embedding": 8},
    ),
    (
      pyskl("DGSTGCN", graph=DRAWN, gcn_ratio=1, tcn_ms_cfg=[[3, 1], "1x1"]),
      {"network": "dgstgcn", "skeleton": "coco", "subsets": 3, "embedding": 1}
      | {"branches": ((3, 1), "1x1")},
    ),
    (
      CTR_GCN | {"in_channels": 2, "base_channels": 16, "graph_args": None},
      {"network": "ctrgcn", "num_classes": 60, "skeleton": "nw_ucla", "in_channels": 2}
      | {"width": 16},
    ),
    (
      pyskl("MSG3D", graph=GRAPH | {"mode": "binary_adj"}, base_channels=48, in_channels=2),
      {"network": "pyskl_msg3d", "skeleton": "coco", "width": 48, "in_channels": 2},
    ),
    (
      pyskl("MSG3D", graph=GRAPH | {"mode": "binary_adj"}, num_g3d_scales=4),
      {"network": "pyskl_msg3d", "skeleton": "coco", "g3d_scales": 4},
    ),
  ],
)
def test_arguments_of_other_networks_mean_what_their_code_takes_them_for(args, fields):
  found = torch_weights.config_from_reference(args)
  assert found == ModelConfig(**{"num_classes": 5} | fields)


def test_what_a_name_does_not_tell_is_said_and_can_be_given(tmp_path, capsys):
  _, state = of_network("agcn", skeleton="utd_mhad", num_persons=1)
  assert skeletons.get("utd_mhad").num_joints == 20
  torch_weights.write_state_dict(state, tmp_path / "w.safetensors")
  command = ["import", str(tmp_path / "w.safetensors"), "agcn"]
  weights_main([*command, str(tmp_path / "guessed")])
  taken = "taken for nw_ucla (20 joints), 1 person, strategy spatial"
  assert taken in capsys.readouterr().out
  _, state = of_network("agcn", skeleton="utd_mhad", num_persons=3, in_channels=2)
  torch_weights.write_state_dict(state, tmp_path / "w.safetensors")
  given = ["--skeleton", "utd_mhad", "--persons", "3"]
  weights_main([*command, str(tmp_path / "given"), *given])
  model = workdir_lib.read(tmp_path / "given").model
  assert (model.skeleton.name, model.num_persons, model.in_channels) == ("utd_mhad", 3, 2)
  with pytest.raises(DataError, match=r"120 features, which 20 joints of 7 persons do not divide"):
    weights_main([*command, str(tmp_path / "none"), "--persons", "7"])
  _, state = of_network("stgcn", skeleton="utd_mhad", num_persons=2)
  torch_weights.write_state_dict(state, tmp_path / "w.safetensors")
  with pytest.raises(DataError, match=r"skeleton gives\. .* was taken for nw_ucla .*--skeleton"):
    weights_main([*command[:2], "stgcn", str(tmp_path / "none")])


@pytest.mark.parametrize(
  ("model_class", "args", "network"),
  [
    (
      "net.st_gcn.Model",
      {"graph_args": {"layout": "openpose", "strategy": "spatial"}, "in_channels": 3}
      | {"edge_importance_weighting": True, "dropout": 0.5},
      {"network": "stgcn", "skeleton": "kinetics", "edge_weights": "scaled", "dropout": 0.5},
    ),
    (
      "model.agcn.Model",
      {"num_point": 25, "num_person": 2, "graph": "graph.ntu_rgb_d.Graph"}
      | {"graph_args": {"labeling_mode": "spatial"}},
      {"network": "agcn"},
    ),
    (
      "model.ctrgcn.Model",
      {"num_point": 20, "num_person": 1, "graph": "graph.ucla.Graph"},
      {"network": "ctrgcn", "skeleton": "nw_ucla", "num_persons": 1},
    ),
  ],
)
def test_the_yaml_of_another_code_base_says_the_network(tmp_path, model_class, args, network):
  config, state = of_network(
    **({"name": network.pop("network"), "num_persons": 2} | network), width=64
  )
  torch_weights.write_state_dict(state, tmp_path / "w.safetensors")
  args = args | {"num_class": 7}
  (tmp_path / "r.yaml").write_text(yaml.safe_dump({"model": model_class, "model_args": args}))
  import_checkpoint(tmp_path / "w.safetensors", tmp_path / "r.yaml", tmp_path / "run")
  facts = workdir_lib.read(tmp_path / "run")
  assert facts.model == config
  assert (facts.sampling.origin == "first_frame") == (config.network == "ctrgcn")
