"""Names of modules in version 0.1, which are still found; this file goes with version 1.0."""

import importlib
import importlib.abc
import importlib.util
import sys
import warnings

_ROOMS = {
  "data": "augment data_set input_pipeline protocols streams temporal_sampling",
  "evaluation": "metrics plots scores",
  "training": "checkpoints config distributed experiment loop optimizer run_log train_step",
  "use": "classifier",
  "commands": "ensemble evaluate",
  "model": "summary",
}
_MOVED = {
  f"mstgcn_jax.{name}": f"mstgcn_jax.{room}.{name}"
  for room, names in _ROOMS.items()
  for name in names.split()
}
_MOVED |= {
  f"data_prep.{name}": f"data_prep.readers.{name}"
  for name in ["annotations", "arrays", "exchange", "kinetics", "ntu", "own", "utd_mhad"]
}
_MOVED["data_prep.normalise"] = "mstgcn_jax.data.normalise"


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds a module of version 0.1 in the room where it lives now."""

  def find_spec(self, fullname, path=None, target=None):
    if fullname not in _MOVED:
      return None
    return importlib.util.spec_from_loader(fullname, self, origin=_MOVED[fullname])

  def create_module(self, spec):
    new = _MOVED[spec.name]
    warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
    module = importlib.import_module(new)
    spec.loader_state = module.__spec__
    return module

  def exec_module(self, module):
    module.__spec__ = module.__spec__.loader_state  # its own, which the import has replaced

  def get_code(self, fullname):  # python -m mstgcn_jax.evaluate
    command = fullname.rpartition(".")[2]
    run = f"sys.exit(main([{command!r}, *sys.argv[1:]]))"
    return compile(f"import sys\nfrom mstgcn_jax.__main__ import main\n{run}", fullname, "exec")


def install() -> None:
  """Has the names of version 0.1 found, once."""
  if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
    sys.meta_path.append(_Moved())
