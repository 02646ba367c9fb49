"""Equality with the published codes of other networks: `golden/networks` holds their outputs.

Relative errors (‖a − b‖ / ‖b‖). Logits are compared in float32, where both round (1e-5), and in
float64, where the files hold what the published code gives in float64 (1e-9). Gradients and states
after three steps are compared in float64; the files hold them rounded to float32, so that 1e-6 is
what can be asked for.
"""

import json

import jax
import numpy as np
import pytest
from golden import golden
from reference import Reference, assert_comes_back, relative_error

from mstgcn_jax import torch_weights
from mstgcn_jax.model import platform

NAMES = (
  *("st_gcn_ntu", "st_gcn_openpose", "agcn_ntu", "aagcn_ntu", "ctrgcn_ntu", "ctrgcn_ucla"),
  *("stgcnpp_ntu", "stgcnpp_coco", "pyskl_stgcn_ntu", "pyskl_aagcn_ntu", "pyskl_ctrgcn_ntu"),
  *("pyskl_dgstgcn_ntu", "pyskl_msg3d_coco"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_evaluates_and_has_names_as_the_published_code(name):
  reference = Reference(f"networks/{name}")
  assert not reference.unused
  assert_comes_back(reference)
  logits, features = reference.evaluate()
  assert relative_error(logits, reference["eval/logits"]) < 1e-5
  assert relative_error(features, reference["eval/features"]) < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_network_evaluates_and_trains_as_the_published_code_in_float64(name):
  check_in_float64(name)


@pytest.mark.parametrize(
  "name", ("st_gcn_openpose", "stgcnpp_coco", "ctrgcn_ucla", "pyskl_msg3d_coco")
)
def test_the_forms_for_gpus_train_as_the_published_code(name):
  with platform.forced("gpu"):
    check_in_float64(name)


def check_in_float64(name: str) -> None:
  with jax.enable_x64(True):
    reference = Reference(f"networks/{name}", "float64")
    evaluated, _ = reference.evaluate()
    losses, logits, grads, after = reference.train()
  assert relative_error(evaluated, reference["eval64/logits"]) < 1e-9
  assert relative_error(logits, reference["train64/logits"]) < 1e-9
  np.testing.assert_allclose(losses, reference["train64/losses"], rtol=1e-9)
  expected = reference.group("grad/")
  largest = max(np.abs(value).max() for value in expected.values())
  for key, value in expected.items():
    # Some gradients are 0 by construction (of a bias before a norm, of entries that nothing reads).
    allowed = 1e-6 * np.linalg.norm(value) + 1e-12 * largest * value.size**0.5
    assert np.linalg.norm(grads[key] - value) <= allowed, key
  for key, value in reference.group("after3/").items():
    assert np.linalg.norm(after[key] - value) <= 1e-6 * np.linalg.norm(value) + 1e-12, key


@pytest.mark.parametrize("name", [name for name in NAMES if name != "pyskl_dgstgcn_ntu"])
def test_the_graph_is_the_published_codes(name):
  arrays = np.load(golden(f"networks/{name}.npz"))
  config = torch_weights.config_from_reference(json.loads(str(arrays["config"])))
  np.testing.assert_array_equal(config.adjacency(), arrays["graph/A"])
