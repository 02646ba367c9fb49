"""A stranger's network, examples/tcn.py, in training, evaluation and use."""

import dataclasses
import importlib
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx
from test_classifier import write_run

from mstgcn_jax.errors import ConfigError
from mstgcn_jax.model import MSTGCN, ModelConfig, abstract_network, make_network, own, summary
from mstgcn_jax.training import experiment, loop, notes
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.evaluate import evaluate

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.fixture
def examples(monkeypatch):
  monkeypatch.syspath_prepend(EXAMPLES)


def test_the_example_is_short_and_stands_in_the_page_on_networks():
  code = (EXAMPLES / "tcn.py").read_text()
  assert len(code.splitlines()) < 80
  page = (EXAMPLES.parent / "docs" / "networks.md").read_text()
  assert code[code.index("import jax\n") :] in page


@pytest.mark.usefixtures("examples")
def test_a_network_of_ones_own_trains_resumes_and_classifies(tiny_data, tmp_path):
  config = tiny.config(tiny_data, **{"model.network": "tcn:TCN", "epochs": 1})
  loop.train(config, tmp_path / "run")
  config.epochs = 2
  results = loop.train(config, tmp_path / "run")
  assert np.isfinite(results["joint"]["loss"])
  with pytest.raises(
    ConfigError, match="code of its own, 'tcn:TCN'; allow importing it with trust"
  ):
    Classifier(tmp_path / "run")
  classify = Classifier(tmp_path / "run", trust=True)
  probabilities = classify(np.ones((2, 1, 16, 20, 3), np.float32))
  np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
  assert classify.features(np.ones((2, 1, 16, 20, 3), np.float32)).shape == (2, 8)


def test_code_that_changed_since_a_run_was_trained_is_named(
  tiny_data, tmp_path, monkeypatch, capsys
):
  code = (EXAMPLES / "tcn.py").read_text()
  (tmp_path / "changing.py").write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  config = tiny.config(tiny_data, **{"model.network": "changing:TCN", "epochs": 1})
  loop.train(config, tmp_path / "run")
  assert not evaluate(tmp_path / "run", trust=True).notes
  (tmp_path / "changing.py").write_text(code + "\n")
  (note,) = evaluate(tmp_path / "run", trust=True).notes  # by the code that trained it
  assert note.startswith("the file of changing has changed since it was imported, and what was")
  importlib.reload(sys.modules["changing"])
  (note,) = evaluate(tmp_path / "run", trust=True).notes
  assert note == "the file of changing:TCN is not what it was when the run was trained"
  config.epochs = 2
  loop.train(config, tmp_path / "run")
  assert note in capsys.readouterr().out


def test_a_run_knows_the_code_that_was_imported_not_the_file_as_it_is_by_then(
  tiny_data, tmp_path, monkeypatch
):
  (tmp_path / "edited_net.py").write_text((EXAMPLES / "tcn.py").read_text())
  layers = tmp_path / "edited.py"
  layers.write_text("")
  monkeypatch.syspath_prepend(tmp_path)
  names = {"model.network": "edited_net:TCN", "model.block_type": "edited:Layer/ms"}
  config = tiny.config(tiny_data, **names)
  own.load("edited")  # which the network would, if it made the layers of its config
  before = experiment.set_up(config).facts()
  layers.write_text("# edited\n")
  edited = experiment.set_up(config)
  assert edited.facts().code == before.code
  (note,) = (line for line in notes.of_run(edited) if "has changed" in line)
  assert note.startswith("the file of edited has changed since it was imported, and what was")
  assert note.endswith("importlib.reload(edited), or a new process, takes the file")
  importlib.reload(sys.modules["edited"])
  own.load("edited")
  again = experiment.set_up(config)
  assert again.facts().code != before.code
  assert not again.stale_code()


def test_an_array_that_a_module_makes_when_it_is_imported_serves_every_trace(tmp_path, monkeypatch):
  code = (EXAMPLES / "tcn.py").read_text()
  code = code.replace("\n\nclass TCN", "\nSIZES = jnp.linspace(1, 2, 3)\n\n\nclass TCN")
  (tmp_path / "with_array.py").write_text(
    code.replace("self.features(clips)", "self.features(SIZES * clips)")
  )
  monkeypatch.syspath_prepend(tmp_path)
  config = ModelConfig(num_classes=5, network="with_array:TCN", blocks=((3, 8),))
  model = abstract_network(config)  # imports it
  clips = jax.ShapeDtypeStruct((1, 2, 4, 25, 3), "float32")
  logits = nnx.eval_shape(lambda model, clips: model(clips), model, clips)
  assert logits.shape == (1, 5)
  np.testing.assert_array_equal(sys.modules["with_array"].SIZES, [1, 1.5, 2])


def test_code_of_a_notebook_has_no_file_that_could_change(monkeypatch):
  monkeypatch.setitem(sys.modules, "of_a_notebook", types.ModuleType("of_a_notebook"))
  own.load("of_a_notebook")
  names = ("of_a_notebook", "never_imported")
  assert own.file("of_a_notebook") is own.file("never_imported") is None
  assert own.as_imported(names) == b"" and own.changed(names) == []


@pytest.mark.usefixtures("examples")
def test_its_table_has_one_row():
  config = ModelConfig(num_classes=5, network="tcn:TCN", blocks=((3, 8), (8, 16, True, 2)))
  (row,) = summary.rows(config, frames=10)
  convolutions = 2 * 2 * (10 * (9 * 75 * 8 + 75 * 8) + 5 * (9 * 8 * 16 + 8 * 16))
  assert (row.name, row.shape) == ("network", (5,))
  assert row.flops == convolutions + 2 * 16 * 5


def of_own_blocks(config, *, rngs):
  """MST-GCN's frame around blocks of one's own, which have no spatial and temporal layer."""
  model = MSTGCN(dataclasses.replace(config, network="mstgcn"), rngs=rngs)
  for i, block in enumerate(config.blocks):
    model.blocks[i] = nnx.Linear(block.in_channels, block.out_channels, rngs=rngs)
  return model


def test_blocks_of_ones_own_in_the_published_frame_are_counted():
  blocks = ((3, 8), (8, 16))
  config = ModelConfig(
    num_classes=5, num_persons=1, network=f"{__name__}:of_own_blocks", blocks=blocks
  )
  (row,) = summary.rows(config, frames=10)
  assert row.flops == 2 * 10 * 25 * (3 * 8 + 8 * 16) + 2 * 16 * 5


class Attends(nnx.Module):
  """A network with nnx.MultiHeadAttention, which fails unless told whether it is in training."""

  def __init__(self, config, *, rngs):
    persons, joints, channels = config.num_persons, config.skeleton.num_joints, config.in_channels
    self.embed = nnx.Linear(persons * joints * channels, 8, rngs=rngs)
    self.attend = nnx.MultiHeadAttention(2, 8, dropout_rate=0.1, decode=False, rngs=rngs)
    self.classifier = nnx.Linear(8, config.num_classes, rngs=rngs)

  def __call__(self, clips):
    frames = clips.swapaxes(1, 2).reshape(clips.shape[0], clips.shape[2], -1)
    return self.classifier(self.attend(self.embed(frames)).mean(1))


def test_a_network_that_has_to_be_told_its_mode_is_set_up_and_counted(tiny_data):
  config = tiny.config(tiny_data, **{"model.network": f"{__name__}:Attends"})
  run = experiment.set_up(config)
  (row,) = summary.rows(run.model_config, frames=16)
  assert row.shape == (3,)


def test_features_of_a_network_that_has_none_are_refused_by_its_name(tmp_path):
  classify = Classifier(write_run(tmp_path / "run"))
  classify.model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
  with pytest.raises(ConfigError, match=r"network Linear has no features\(clips\)"):
    classify.features(np.ones((1, 2, 12, 25, 3), np.float32))


def no_logits(config, *, rngs):
  class Flat(nnx.Module):
    def __call__(self, clips):
      return jnp.zeros(3)

  return Flat()


def counted(model, clips, targets, key):
  logits = model(clips)
  return (logits.argmax(-1) != targets.argmax(-1)).sum(), logits


def halved(config, *, rngs):
  class Halved(nnx.Module):
    def __init__(self):
      self.project = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, clips):
      y = self.project(clips.mean((1, 2, 3)))
      return jax.lax.while_loop(lambda y: y.max() > 1, lambda y: y / 2, y)

  return Halved()


@pytest.mark.parametrize(
  ("parts", "said"),
  [
    ({"loss": "counted"}, r"^{}:counted cannot be trained \(TypeError: grad requires real-valued"),
    ({"model.network": "halved"}, r"^{}:halved cannot be trained \(ValueError: Reverse-mode diff"),
    ({"model.network": "halved", "loss": "counted"}, r"^{0}:halved and {0}:counted cannot be"),
  ],
)
def test_what_has_no_gradient_is_named(tiny_data, tmp_path, parts, said):
  parts = {field: f"{__name__}:{name}" for field, name in parts.items()}
  with pytest.raises(ConfigError, match=said.format(__name__)) as error:
    loop.train(tiny.config(tiny_data, **parts), tmp_path / "run")
  assert "\n" not in str(error.value)


def test_a_network_that_gives_no_logits_or_cannot_be_imported_is_named(
  tiny_data, tmp_path, monkeypatch
):
  config = tiny.config(tiny_data, **{"model.network": f"{__name__}:no_logits"})
  with pytest.raises(ConfigError, match=r"model.network '.*no_logits' gives \(3,\) for one clip"):
    loop.train(config, tmp_path / "run")
  missing = ModelConfig(num_classes=2, network="nowhere:Net")
  with pytest.raises(ConfigError, match="network names the network 'nowhere:Net', which cannot"):
    make_network(missing, rngs=nnx.Rngs(0))
  monkeypatch.chdir(tmp_path)  # where Python does not look, as for the command `mstgcn`
  (tmp_path / "nowhere.py").write_text("")
  with pytest.raises(
    ConfigError, match=r"'nowhere'; nowhere\.py is found by PYTHONPATH=\. in front"
  ):
    make_network(missing, rngs=nnx.Rngs(0))
