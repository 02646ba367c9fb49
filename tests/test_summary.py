"""The table of layers."""

import math
import threading

import jax
import pytest
import tiny
from flax import nnx

from mstgcn_jax.commands import evaluate
from mstgcn_jax.commands.summary import main as summary_main
from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import ModelConfig, abstract_network, summary
from mstgcn_jax.model.temporal import TemporalConv


def test_the_published_configuration_has_the_published_parameters_and_flops():
  rows = summary.rows(ModelConfig(num_classes=60), frames=300)
  # 2,896,055 in the publication's code, 4,704 of them in normalisations that it never uses.
  assert sum(row.parameters for row in rows) == 2_896_055 - 4_704
  assert round(sum(row.flops for row in rows) / 1e9, 2) == 34.67
  assert rows[-2].shape == (2, 75, 25, 448)


def test_other_block_types_have_the_published_parameters():
  # The publication's counts, less the unused normalisations of temporal `ms` layers.
  published = {"basic": 9_666_902, "bottle": 4_460_358, "ms_bottle": 2_732_871, "sep": 2_054_710}
  for block_type, parameters in published.items():
    config = ModelConfig(num_classes=60, block_type=block_type)
    assert sum(row.parameters for row in summary.rows(config)) == parameters, block_type


# Parameters and GFLOP of the published codes, counted while they ran.
SIZES = [
  ("stgcn", "ntu_rgbd", 60, 300, 2, 3_098_832, "34.19"),
  ("stgcn", "kinetics", 400, 300, 2, 3_177_140, "24.27"),
  ("stgcn", "kinetics", 400, 150, 2, 3_177_140, "12.21"),
  ("agcn", "ntu_rgbd", 60, 300, 2, 3_469_510, "38.81"),
  ("agcn", "kinetics", 400, 300, 2, 3_547_776, "27.60"),
  ("aagcn", "ntu_rgbd", 60, 300, 2, 3_781_668, "38.83"),
  ("ctrgcn", "ntu_rgbd", 60, 64, 2, 1_446_672, "3.878"),
  # The list's 1.236 is 1.2355, rounded once more.
  ("ctrgcn", "nw_ucla", 10, 52, 1, 1_426_892, "1.2355"),
  ("stgcnpp", "ntu_rgbd", 60, 100, 2, 1_403_144, "5.850"),
  ("stgcnpp", "coco", 60, 100, 2, 1_393_016, "3.853"),
  ("pyskl_stgcn", "ntu_rgbd", 60, 100, 2, 3_098_832, "11.40"),
  ("pyskl_stgcn", "coco", 60, 100, 2, 3_088_704, "7.623"),
  ("pyskl_aagcn", "ntu_rgbd", 60, 100, 2, 3_781_668, "12.95"),
  ("pyskl_ctrgcn", "ntu_rgbd", 60, 100, 2, 1_446_672, "5.943"),
  ("dgstgcn", "ntu_rgbd", 60, 100, 2, 1_701_172, "4.992"),
  ("pyskl_msg3d", "ntu_rgbd", 60, 100, 2, 3_194_595, "21.85"),
]


@pytest.mark.parametrize(
  ("network", "skeleton", "classes", "frames", "persons", "parameters", "gflop"), SIZES
)
def test_every_network_has_the_published_parameters_and_flops(
  network, skeleton, classes, frames, persons, parameters, gflop
):
  config = ModelConfig(num_classes=classes, network=network, skeleton=skeleton, num_persons=persons)
  rows = summary.rows(config, frames)
  assert sum(row.parameters for row in rows) == parameters
  digits = len(gflop.split(".")[1])
  assert f"{sum(row.flops for row in rows) / 1e9:.{digits}f}" == gflop
  assert not any(row.uncounted for row in rows)


def test_flops_are_those_of_arithmetic_done_by_hand():
  config = ModelConfig(num_classes=7, num_persons=1, blocks=((3, 8, False, 2),))
  rows = {row.name: row for row in summary.rows(config, frames=10)}
  positions = 10 * 25
  project, aggregate = 2 * 3 * 3 * 8, 2 * 3 * 25 * 8  # K · C_in · C_out, K · V · C_out
  assert rows["blocks.0.spatial"].flops == positions * (project + aggregate)
  assert rows["blocks.0.temporal"].flops == positions // 2 * 2 * 9 * 8 * 8
  assert rows["classifier"].flops == 2 * 8 * 7


def test_the_command_prints_a_line_for_every_layer(capsys):
  summary_main(["--config", "configs/quickstart.py"])
  lines = capsys.readouterr().out.splitlines()
  assert lines[1].startswith("layer")
  assert any(line.startswith("blocks.1.temporal") for line in lines)
  assert lines[-1].endswith("GFLOP per clip")


def test_without_the_data_set_its_facts_are_given_by_flags(capsys):
  options = ["--skeleton", "kinetics", "--classes", "400"]
  summary_main(["--config", "configs/kinetics_joint.py", *options])
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("18 joints (kinetics), 400 classes, 3 channels (")
  assert "kinetics is not prepared" in lines[0]
  # NTU's 2,891,351, 340 · 449 more in the classifier, 2 · 42 less in the first norm and, in each of
  # 37 graph convolutions, 3 · (25² - 18²) less in the learned adjacency.
  assert lines[-1] == "3,010,516 parameters, 24.35 GFLOP per clip"


def test_a_prepared_data_set_says_what_the_network_is_for(tiny_data, tmp_path, capsys):
  config = tmp_path / "own.py"
  text = tiny.CONFIG.read_text()
  config.write_text(text.replace('"tiny"', f'"tiny"\n  c.data.dir = {str(tiny_data)!r}'))
  summary_main(["--config", str(config)])
  line = capsys.readouterr().out.splitlines()[0]
  assert line.startswith("20 joints (utd_mhad), 3 classes, 3 channels (those of ")


def test_the_activation_behind_a_blocks_shortcut_is_counted():
  config = ModelConfig(
    num_classes=5, network="agcn", activation="acon", blocks=((3, 8, False, 1), (8, 16, True, 2))
  )
  model = abstract_network(config)
  parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  rows = summary.rows(config, frames=10)
  assert sum(row.parameters for row in rows) == parameters
  assert [row.parameters for row in rows if row.name == "blocks.1.activation"] == [3 * 16]


class Own(nnx.Module):
  """A layer of one's own: nnx.Linear and, with `scaled`, a parameter that is multiplied with."""

  def __init__(self, config, block, *, rngs, scaled=False):
    self.project = nnx.Linear(block.in_channels, block.out_channels, rngs=rngs)
    self.scale = nnx.Param(jax.numpy.ones(block.out_channels)) if scaled else None

  def __call__(self, x):
    y = self.project(x)
    return y if self.scale is None else y * self.scale[...]


def scaled(config, block, *, rngs):
  return Own(config, block, rngs=rngs, scaled=True)


def test_what_other_threads_compute_meanwhile_is_not_counted():
  calls = {cls: cls.__call__ for cls in summary._COUNTED}
  layer, x = TemporalConv(4, 4, rngs=nnx.Rngs(0)), jax.numpy.zeros((2, 5, 8, 4))
  with summary._counting() as flops:
    thread = threading.Thread(target=lambda: layer(x))
    thread.start()
    thread.join()
    assert flops == []
    layer(x)
  assert flops == [layer.flops(x.shape)]
  assert {cls: cls.__call__ for cls in summary._COUNTED} == calls


class OwnTemporal(nnx.Module):
  """A layer of one's own: nnx.Conv over frames, in groups and dilated."""

  def __init__(self, config, block, *, rngs):
    options = {"strides": (1, block.stride), "kernel_dilation": (1, 2), "feature_group_count": 4}
    channels = block.out_channels
    self.conv = nnx.Conv(channels, channels, (1, 3), **options, rngs=rngs)

  def __call__(self, x):
    return self.conv(x)


def test_convolutions_of_flax_are_counted_by_what_they_put_out():
  blocks = ((3, 8, False, 1), (8, 16, True, 2))
  name = f"ms/{__name__}:OwnTemporal"
  config = ModelConfig(num_classes=7, num_persons=1, blocks=blocks, block_type=name)
  rows = {row.name: row for row in summary.rows(config, frames=10)}
  row = rows["blocks.1.temporal"]
  assert row.shape == (1, 5, 25, 16) and not row.uncounted
  assert row.flops == 2 * (5 * 25 * 16) * 3 * (16 // 4)


def test_layers_of_ones_own_are_counted_or_marked():
  blocks = ((3, 8, False, 1), (8, 16, True, 1))
  config = lambda name: ModelConfig(
    num_classes=7, num_persons=1, blocks=blocks, block_type=f"{__name__}:{name}/ms"
  )
  rows = {row.name: row for row in summary.rows(config("Own"), frames=10)}
  assert rows["blocks.1.spatial"].flops == 10 * 25 * 2 * 8 * 16
  assert "not counted" not in summary.table(config("Own"), frames=10)
  assert "blocks.1.spatial: Own" in summary.table(config("scaled"), frames=10)


def without_block(config, *, rngs):
  return Own(config, config.blocks[0], rngs=rngs)


def test_a_layer_of_ones_own_that_takes_something_else_ends_in_one_line():
  name = f"{__name__}:without_block"
  with pytest.raises(ConfigError) as caught:
    summary_main(["--config", "quickstart", f"--config.model.block_type={name}/ms"])
  said = str(caught.value)
  assert f"block_type names the layer '{name}', which cannot be made (without_block() takes" in said
  assert said.endswith("it is called with (config, block, rngs=rngs)")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [summary_main, evaluate.main], ids=["summary", "evaluate"])
@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("a.py", "from mstgcn_jax.training import config\n\ndef get_config():\n  c = config.default()\n"
     "  c.modell = 1\n  return c\n", r"a\.py, line 5: AttributeError: .*modell"),
    ("a.py", "def get_config(:", r"a\.py.*SyntaxError"),
    ("a.py", "def get_config():\n  pass", r"returns None"),
    ("train.yaml", "a: 1", r"train\.yaml is no Python file"),
  ],
)  # fmt: skip
def test_a_mistake_in_the_config_file_ends_in_one_line(tmp_path, command, name, text, message):
  (tmp_path / name).write_text(text)
  with pytest.raises(ConfigError, match=message) as caught:
    command(["--config", str(tmp_path / name)])
  assert "\n" not in str(caught.value)


def test_a_field_of_the_config_can_be_set_for_the_summary(capsys):
  assert summary_main(["--config", "ntu_joint", "--config.model.width=16"]) == 0
  narrow = capsys.readouterr().out
  assert (
    f"{sum(row.parameters for row in summary.rows(ModelConfig(60, width=16), 300)):,}" in narrow
  )
  with pytest.raises(ConfigError, match=r"did you mean model\.width"):
    summary_main(["--config", "ntu_joint", "--config.model.wdth=16"])
  with pytest.raises(ConfigError, match=r"data\.window is 0; it must be at least 1"):
    summary_main(["--config", "ntu_joint", "--config.data.window=0"])
