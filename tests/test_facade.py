"""import mstgcn_jax as mst: quick, complete, and its docstrings' examples run."""

import inspect
import re
import subprocess
import sys
import textwrap

import pytest

import mstgcn_jax as mst
from mstgcn_jax import moved

# Modules; their own functions are documented in their rooms.
MODULES = ("config", "graph", "skeletons", "torch_weights")
EXAMPLES = [name for name in mst.__all__ if not name.startswith("__") and name not in MODULES]


def run(program: str) -> subprocess.CompletedProcess:
  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  return done


def test_the_import_takes_neither_jax_nor_tensorflow():
  run("""
import sys, mstgcn_jax as mst
heavy = {"jax", "flax", "orbax", "tensorflow", "numpy", "matplotlib", "data_prep"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
mst.skeletons.get("ntu_rgbd")
assert "jax" not in sys.modules
mst.MSTGCN, mst.ModelConfig, mst.adjacency
assert "tensorflow" not in sys.modules
""")


def test_tensorflow_says_nothing_where_a_run_imports_it(tmp_path):
  done = run(f"""
import pathlib, sys, mstgcn_jax as mst
mst.train
assert "tensorflow" not in sys.modules
from mstgcn_jax.training import run_log
numbers = dict.fromkeys(("total_steps", "steps_per_epoch", "batch_size"), 1)
run_log.Recorder(pathlib.Path({str(tmp_path)!r}), first_step=0, evaluated=False,
                 hyperparameters={{}}, enabled=True, **numbers)
assert "tensorflow" in sys.modules
""")
  assert done.stderr == ""


def test_every_public_name_is_there_and_listed():
  assert mst.__all__ == sorted(mst.__all__, key=lambda name: (not name.startswith("__"), name))
  for name in mst.__all__:
    assert getattr(mst, name) is not None
  assert set(mst.__all__) <= set(dir(mst))
  with pytest.raises(AttributeError, match="module 'mstgcn_jax' has no attribute 'evalute'"):
    mst.evalute  # noqa: B018


def examples(docstring: str) -> str:
  """The lines of a docstring that are indented as code, by four more than the text."""
  lines = inspect.cleandoc(docstring).split("\nArgs:\n")[0].split("\nAttributes:\n")[0]
  code = re.findall(r"(?:(?<=\n)|^)\n((?:    .*\n)+)", lines + "\n")
  return "".join(textwrap.dedent(block) for block in code)


@pytest.mark.parametrize("name", [*EXAMPLES, "skeletons.get"])
def test_the_example_of_a_docstring_runs(name, quickstart, tmp_path, monkeypatch):
  value = mst
  for part in name.split("."):
    value = getattr(value, part)
  code = examples(value.__doc__)
  assert f"mst.{name}" in code or name == "Evaluation"
  for folder in ("data", "runs/quickstart", "my_clip.npy"):  # what an example writes stays apart
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / folder).symlink_to(quickstart / folder)
  monkeypatch.chdir(tmp_path)
  names = {"mst": mst}
  exec("import jax.numpy as jnp, numpy as np\nfrom flax import nnx", names)
  exec(compile(code, f"mst.{name}", "exec"), names)


def test_what_the_comments_of_the_examples_say_is_so():
  skeleton = mst.skeletons.get("ntu_rgbd")
  assert (skeleton.joints[skeleton.center], skeleton.num_joints) == ("spine_mid", 25)
  assert mst.adjacency(skeleton).shape == (3, 25, 25)
  widths = [block.out_channels for block in mst.ModelConfig(num_classes=60).blocks]
  assert sorted(set(widths)) == [112, 224, 448]


def test_the_readers_of_version_0_1_are_found_without_the_package():
  run("from data_prep import ntu\nassert ntu.__name__ == 'data_prep.readers.ntu'")


@pytest.mark.parametrize("old", sorted(moved._MOVED))
def test_a_module_of_version_0_1_is_the_one_of_its_room(old, monkeypatch):
  import importlib

  sys.modules.pop(old, None)
  package, _, name = old.rpartition(".")
  # The import puts it in place of what the package has under that name, such as mst.evaluate.
  monkeypatch.setattr(sys.modules[package], name, None, raising=False)
  with pytest.warns(DeprecationWarning, match=f"{re.escape(old)} is "):
    module = importlib.import_module(old)
  assert module is importlib.import_module(moved._MOVED[old])
  assert module.__spec__.name == moved._MOVED[old]
