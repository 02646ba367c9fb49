"""The house: who may import whom, private names, length of functions (docs/architecture.md)."""

import ast
import configparser
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Every room may import itself and those before it.
ROOMS = (
  "mstgcn_jax",  # errors, words, files, skeletons, graph: facts that all rooms use
  "mstgcn_jax.data",
  "data_prep",
  "mstgcn_jax.model",
  "mstgcn_jax.torch_weights",
  "mstgcn_jax.evaluation",
  "mstgcn_jax.training",
  "mstgcn_jax.use",
  "mstgcn_jax.commands",
)
# The façade and the door know every room, which they import only when they are used.
DOORS = {"mstgcn_jax", "mstgcn_jax.__main__", "mstgcn_jax.moved"}
FILES = sorted([*ROOT.glob("mstgcn_jax/**/*.py"), *ROOT.glob("data_prep/**/*.py")])
MODULES = {
  ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
  for path in FILES
}


def room(module: str) -> str:
  return max((r for r in ROOMS if f"{module}.".startswith(f"{r}.")), key=len)


def imports(tree: ast.Module):
  """(module, name) of everything that a file imports, in functions, too; name '' for a module."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from ((node.module, alias.name) for alias in node.names)


def imported_modules(tree: ast.Module) -> set[str]:
  """Modules of this project that a file imports."""
  found = set()
  for module, name in imports(tree):
    if module.split(".")[0] in ("mstgcn_jax", "data_prep"):
      found.add(f"{module}.{name}" if f"{module}.{name}" in MODULES else module)
  return found


@pytest.mark.parametrize("module", sorted(set(MODULES) - DOORS))
def test_imports_run_one_way_and_private_names_stay_at_home(module):
  tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
  own = ROOMS.index(room(module))
  assert imported_modules(tree) <= set(MODULES), "a module of an earlier version"
  upward = {m for m in imported_modules(tree) if ROOMS.index(room(m)) > own}
  if ROOMS.index("data_prep") < own < ROOMS.index("mstgcn_jax.use"):
    upward |= {m for m in imported_modules(tree) if room(m) == "data_prep"}  # beside, not below
  assert not upward, f"{module} must not import {upward}"
  private = {
    name
    for module, name in imports(tree)
    if module in MODULES and name.startswith("_") and name != "__version__"
  }
  aliases = {
    alias.asname or alias.name
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom) and node.module.startswith(("mstgcn_jax", "data_prep"))
    for alias in node.names
    if f"{node.module}.{alias.name}" in MODULES
  }
  private |= {
    f"{node.value.id}.{node.attr}"
    for node in ast.walk(tree)
    if isinstance(node, ast.Attribute)
    and isinstance(node.value, ast.Name)
    and node.value.id in aliases
    and node.attr.startswith("_")
  }
  assert not private


@pytest.mark.parametrize("module", sorted(MODULES))
def test_long_functions_say_why(module):
  """Of over 60 lines, with a comment above that begins with 'Long'."""
  lines = MODULES[module].read_text(encoding="utf-8").splitlines()
  for node in ast.walk(ast.parse("\n".join(lines))):
    if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
      above = lines[min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 2].strip()
      assert above.startswith("# Long"), f"{node.name}: {node.end_lineno - node.lineno + 1} lines"


def test_all_packages_and_configs_are_in_the_wheel():
  setup = configparser.ConfigParser()
  setup.read(ROOT / "setup.cfg")
  listed = set(setup["options"]["packages"].split())
  packages = {m for m, path in MODULES.items() if path.name == "__init__.py"}
  assert listed == packages | {"mstgcn_jax.configs"}
