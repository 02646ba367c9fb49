"""README and docs/ tell the truth: their Python runs, their commands and files are there."""

import argparse
import ast
import configparser
import contextlib
import dataclasses
import functools
import importlib
import io
import json
import pathlib
import re
import shlex
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from flax import nnx

import mstgcn_jax as mst
from data_prep.sources import SOURCES
from mstgcn_jax.__main__ import COMMANDS
from mstgcn_jax.commands import train
from mstgcn_jax.model import BlockConfig
from mstgcn_jax.model.block import spatial_layer
from mstgcn_jax.training import config
from mstgcn_jax.training.train_step import split_model

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[be]*/README.md")])
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
CONFIGS = {path.stem: path.read_text(encoding="utf-8") for path in ROOT.glob("configs/*.py")}
# Of programs that are not this project's commands.
FOREIGN = {
  *("--write_json", "--save-predictions", "--nproc_per_node", "--directory", "--logdir"),
  *("--xla_gpu_deterministic_ops", "--xla_cpu_experimental_ynn_fusion_type"),
}


def blocks(text: str, language: str) -> list[str]:
  """The fenced blocks of a page in a language; '' for those of commands."""
  fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
  return [block for name, block in fences if name == language]


def run_python(page: str, folder: pathlib.Path, monkeypatch) -> dict:
  """Runs a page's blocks one after the other and returns their names.

  A block that begins with the name of a file, such as '# layers.py', becomes that file.
  """
  monkeypatch.chdir(folder)
  monkeypatch.syspath_prepend(folder)
  (folder / "examples" / "browser").mkdir(parents=True, exist_ok=True)
  names = {"__name__": page}
  for block in blocks(TEXTS[page], "python"):
    if file := re.match(r"# (\w+\.py)\n", block):
      (folder / file[1]).write_text(block)
    else:
      exec(compile(block, page, "exec"), names)
  return names


@pytest.mark.parametrize("page", [page for page in TEXTS if blocks(TEXTS[page], "python")])
def test_the_python_of_a_page_runs(page, quickstart, monkeypatch):
  names = run_python(page, quickstart, monkeypatch)
  if page == "docs/own_layers.md":
    assert names["y"].shape == (2, 25, 30, 6) and names["many"].shape == (4, 2, 25, 30, 6)
    np.testing.assert_allclose(names["many"][0], names["y"], rtol=1e-5, atol=1e-5)
    assert names["grads"].weight[...].shape == (3, 3, 6) and names["logits"].shape == (2, 14)
    assert type(names["model"].blocks[1].spatial).__name__ == "Mean"
    runs = [split_model(mst.load_model(f"runs/{name}"))[1] for name in ("quickstart", "probe")]
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), *runs)
    assert jax.tree.leaves(changed.pop("classifier")) == [True, True]
    assert not any(jax.tree.leaves(changed))
    run, batch, fields = names["run"], names["batch"], ("label", "index")
    assert batch.keys() == {"clips", "index"} and names["predicted"].shape == batch["index"].shape
    (pairs,) = next(run.train_batches(0, fields=fields)).values()
    np.testing.assert_array_equal(run.data_set.table["label"][pairs["index"]], pairs["label"])
    np.testing.assert_array_equal(pairs["index"], batch["index"])
    own = dataclasses.replace(names["model"].config, network="acceleration:OfAcceleration")
    model = mst.make_network(own, rngs=nnx.Rngs(0))
    still = jnp.arange(8.0).reshape(1, 1, 8, 1, 1) * jnp.ones((1, 2, 1, 25, 3))  # of even motion
    np.testing.assert_array_equal(model(still), model(0 * still))
    check_further_layers(names)


def check_further_layers(names: dict) -> None:
  """That the page's temporal layer fits where it says, and the augmentation is one of training."""
  blocks = ((3, 8, False, 1), (8, 16, True, 2))
  config = mst.ModelConfig(
    num_classes=3, network="ctrgcn", block_type="layers:Mean/layers:Dilated", blocks=blocks
  )
  model = mst.make_network(config, rngs=nnx.Rngs(0))
  layers = [type(part).__name__ for b in model.blocks for part in (b.spatial, b.temporal)]
  assert layers == ["Mean", "Dilated"] * 2
  half = dataclasses.replace(config, dtype="bfloat16")
  for name in ("Mean", "Gated", "Dilated"):
    make, x = getattr(sys.modules["layers"], name), jnp.ones((1, 25, 2, 16), "bfloat16")
    of_one = lambda make=make, x=x: make(half, BlockConfig(16, 16), rngs=nnx.Rngs(0))(x)
    assert jax.eval_shape(of_one).dtype == jnp.bfloat16
  gated, layer = (
    make(config, config.blocks[1], rngs=nnx.Rngs(0))
    for make in (
      functools.partial(sys.modules["layers"].Gated, kind="ctrgcn"),
      functools.partial(spatial_layer, "ctrgcn"),
    )
  )
  gated.gate.kernel[...] *= 0  # open by a half
  x = jnp.ones((1, 25, 2, 8))
  np.testing.assert_array_equal(gated(x), layer(x) / 2)
  deep = dataclasses.replace(config, network="layers:by_depth", blocks=(blocks[0], *[(8, 8)] * 5))
  mixed = [
    type(block.temporal).__name__ for block in mst.make_network(deep, rngs=nnx.Rngs(0)).blocks
  ]
  assert mixed == ["Residual"] * 5 + ["Dilated"]
  clips = jnp.cumsum(jnp.ones((1, 2, 9, 25, 3)), 2) ** 3
  assert model.features(clips).shape == (1, 2, 5, 25, 16)
  config = dataclasses.replace(config, network="acceleration:Resized", block_type="basic")
  model = mst.make_network(config, rngs=nnx.Rngs(0))
  plain = lambda: model.network(jnp.diff(clips, n=2, axis=2))
  model.network.eval()
  assert jnp.abs(model(clips) - plain()).max() > 1e-3
  model.eval()
  np.testing.assert_array_equal(model(clips), plain())
  loss, logits = importlib.import_module("losses").focal(
    jnp.log, jnp.float32([[1, 3]]), jnp.eye(2)[:1], None
  )
  np.testing.assert_allclose((loss, *logits[0]), (0.75**2 * np.log(4), 0, np.log(3)), rtol=1e-6)
  run, one_shot = names["run"], names["one_shot"]
  labels = run.data_set.table["label"][one_shot.split.train]
  assert len(labels) and not set(labels.tolist()) & {0, 1}
  np.testing.assert_array_equal(one_shot.split.eval, np.flatnonzero(names["novel"]))


class Parsed(Exception):
  """The arguments of a command are understood."""


@pytest.fixture
def only_parse(monkeypatch):
  """Commands end where their arguments are read."""
  parse_known_args = argparse.ArgumentParser.parse_known_args

  def parse_args(self, args=None, namespace=None):
    _, unknown = parse_known_args(self, args, namespace)
    assert not unknown
    raise Parsed

  monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
  monkeypatch.chdir(ROOT)


def commands(text: str) -> list[list[str]]:
  """What a page's blocks have typed, without comments and prompts."""
  lines = "\n".join(blocks(text, "")).replace("\\\n", " ").splitlines()
  return [words for line in lines if (words := shlex.split(line, comments=True))]


def check_command(words: list[str]) -> None:
  """That a command of this project is there and takes these arguments; others are let pass."""
  while "=" in words[0] and words[0].partition("=")[0].isupper():  # NAME=value in front
    words = words[1:]
  words = [pathlib.Path(words[0]).name, *words[1:]]
  match words:
    case ["make", *targets]:
      makefile = (ROOT / "Makefile").read_text()
      assert all("=" in t or re.search(rf"^{t}:", makefile, re.MULTILINE) for t in targets)
    case ["mstgcn", "--help" | "--version"]:
      pass
    case ["mstgcn", "train", *rest] | ["python", "-m", "mstgcn_jax", "train", *rest]:
      train.parse([word for word in rest if word != "--help"])
    case ["python", "train.py", *rest]:
      train.parse([word for word in rest if word != "--help"])
    case ["mstgcn", name, *rest] | ["python", "-m", "mstgcn_jax", name, *rest]:
      module, function = COMMANDS[name][0].split(".")
      command = getattr(importlib.import_module(f"mstgcn_jax.commands.{module}"), function)
      with pytest.raises(SystemExit if "--help" in rest else Parsed):
        command(rest)
    case ["python", "-m", "data_prep", *rest]:
      from data_prep.__main__ import main

      with pytest.raises(Parsed):
        main(rest)
    case ["python" | "bash", script, *_] if "/" in script:
      assert (ROOT / script).is_file()


@pytest.mark.parametrize("page", TEXTS)
def test_the_commands_of_a_page_are_there_and_take_its_arguments(page, only_parse):
  for words in commands(TEXTS[page]):
    check_command(words)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_the_commands_of_a_config_take_its_arguments(name, only_parse, monkeypatch):
  monkeypatch.chdir(ROOT / "configs")
  lines = map(str.strip, ast.get_docstring(ast.parse(CONFIGS[name])).splitlines())
  for line in lines:
    if line.startswith("mstgcn "):
      check_command(shlex.split(line))


@pytest.fixture(scope="module")
def options() -> set[str]:
  """All options of the commands and of the programs that measure and kill."""
  found = {f"--{flag}" for flag in train._FLAGS}
  add_argument = argparse._ActionsContainer.add_argument
  with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
    patch.setattr(
      argparse._ActionsContainer,
      "add_argument",
      lambda self, *names, **kw: found.update(names) or add_argument(self, *names, **kw),
    )
    for name in COMMANDS.keys() - {"train"}:
      module, function = COMMANDS[name][0].split(".")
      with pytest.raises(SystemExit):
        getattr(importlib.import_module(f"mstgcn_jax.commands.{module}"), function)(["--help"])
  for program in [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/kill_test.py")]:
    found.update(re.findall(r"--[a-z][\w-]*", program.read_text(encoding="utf-8")))
  return found


@pytest.mark.parametrize("text", [*TEXTS, *CONFIGS])
def test_the_commands_options_and_fields_that_a_text_names_are_there(text, options):
  text = TEXTS.get(text) or CONFIGS[text]
  assert set(re.findall(r"`mstgcn\s([a-z]+)", text)) <= COMMANDS.keys()
  named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) - {"--config"}
  assert not sorted(named - options - FOREIGN)
  fields = config.flatten(config.default().to_dict())
  sections = {name.split(".")[0] for name in fields if "." in name}
  named = set(re.findall(r"--config\.([a-z]\w*(?:\.[a-z]\w*)?)", text))
  named |= set(re.findall(rf"`((?:{'|'.join(sections)})\.\w+)`", text)) - {"model.json"}
  assert not sorted(named - fields.keys() - sections)


@pytest.mark.parametrize("page", TEXTS)
def test_the_files_that_a_page_names_are_there(page):
  named = re.findall(
    r"`((?:mstgcn_jax|data_prep|tests|configs|benchmarks|docs|examples)/[\w/.-]*)`", TEXTS[page]
  )
  named += re.findall(r"^python ((?:tests|benchmarks|examples)/\S+)", TEXTS[page], re.MULTILINE)
  assert not [name for name in named if not (ROOT / name).exists()]
  links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[page]) if ":" not in link]
  links += re.findall(r'src="([^":]+)"', TEXTS[page])
  assert not [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]


def test_every_page_is_in_the_navigation():
  nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
  assert not [p for p in TEXTS if p.startswith("docs/") and p.removeprefix("docs/") not in nav]


def test_the_names_in_a_row_of_the_architecture_are_in_its_files():
  rows = TEXTS["docs/architecture.md"].split("## Where do I change")[1].split("\n\n")[1]
  for row in rows.splitlines():
    said = re.findall(r"`([^`]+)`", re.sub(r"`(?:--config|metrics\.csv)[^`]*`", "", row))
    files = [ROOT / name for name in said if "/" in name and (ROOT / name).is_file()]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    names = re.findall(r"\w{3,}", " ".join(name for name in said if ROOT / name not in files))
    assert not [name for name in names if not re.search(rf"\b{name}\b", code)], row


@pytest.mark.parametrize(
  ("row", "program"),
  [
    ("now, float32", "h100 float32"),
    ("now, bfloat16", "h100 bfloat16"),
    ("now, bfloat16, remat", "h100 bfloat16, remat"),
    ("now, bfloat16, 4 devices of 64 clips", "h100 bfloat16, 4 devices, 64 clips each"),
    ("evaluation step, bfloat16", "h100 bfloat16, evaluation"),
    ("forward pass, folded, bfloat16", "h100 bfloat16, folded"),
  ],
)
def test_the_counted_figures_are_those_of_the_check(row, program):
  found = json.loads((ROOT / "benchmarks/gpu_programs.json").read_text())[program]
  gb, temporaries = f"{found['gb_per_clip']:.2f}", f"{found['temporaries_gb']:.1f}"
  figures = f"{gb} | {found['clips_per_second']:,} | {temporaries} | {found['kernels']:,}"
  assert f"| {row} | {figures} |" in TEXTS["benchmarks/README.md"]


def test_the_speeds_of_the_readme_are_those_of_the_pages_that_it_names():
  section = TEXTS["README.md"].split("## Speed")[1].split("##")[0]
  speeds = re.findall(r"\b\d{3}\b", re.sub(r"clips of \d+ frames|with \d+ the", "", section))
  assert len(speeds) > 7
  for page in ("docs/gpus.md", "benchmarks/README.md"):
    assert not [speed for speed in speeds if not re.search(rf"\b{speed}\b", TEXTS[page])]


def test_the_table_of_sources_is_complete():
  table = TEXTS["docs/data.md"].split("| what | source |")[1].split("\n\n")[0]
  rows = [line.split("|") for line in table.splitlines()[2:]]
  assert sorted(re.findall(r"`(\w+)`", " ".join(row[2] for row in rows))) == sorted(SOURCES)
  assert set(re.findall(r"`(\w+)`", " ".join(row[3] for row in rows))) <= CONFIGS.keys()


def test_every_public_name_and_room_is_in_the_api():
  names = [name for name in mst.__all__ if not name.startswith("__")]
  page = TEXTS["docs/api/index.md"]
  assert not [name for name in names if not re.search(rf"(::: mstgcn_jax|mst)\.{name}\b", page)]
  pages = "".join(text for name, text in TEXTS.items() if name.startswith("docs/api/"))
  rooms = {path.parent.name for path in ROOT.glob("mstgcn_jax/*/__init__.py")} - {"commands"}
  assert not [room for room in rooms if f"::: mstgcn_jax.{room}\n" not in pages]


def test_the_table_of_configs_is_complete():
  table = TEXTS["docs/training.md"].split("| config | data |")[1].split("\n\n")[0]
  first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
  named = re.findall(r"`(\w+)`", " ".join(first_cells))
  assert sorted(named) == sorted(path.stem for path in ROOT.glob("configs/*.py"))


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  notebook = json.loads((ROOT / "docs/prototyping.ipynb").read_text(encoding="utf-8"))
  names = {"__name__": "prototyping"}
  with matplotlib.rc_context({"backend": "agg"}):
    for cell in notebook["cells"]:
      if cell["cell_type"] == "code":
        assert not cell["outputs"], "outputs are not committed"
        exec(compile("".join(cell["source"]), "prototyping.ipynb", "exec"), names)
    names["plt"].close("all")
  for losses in names["losses"].values():
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
  assert min(names["accuracies"].values()) > 0.5  # of four classes


def test_the_citation_names_this_version():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
  assert f"\nversion: {setup['metadata']['version']}\n" in citation
