"""Equality with the reference: `golden/model` holds its inputs, weights, outputs, gradients.

Relative errors (‖a − b‖ / ‖b‖) are bounded by 1e-5 for values and 1e-4 for gradients, a hundred to
a thousand roundings of float32. After three steps of training they are mostly 1e-6, but where the
input of a ReLU happens to round to the other side of 0 in the second or third step, whose
gradients the files do not hold, up to 5e-3 in weights and 1e-2 in biases, which are small.
"""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from golden import golden
from reference import Reference, gradient_errors, relative_error

NAMES = (
  "basic_kinetics",
  "basic_ntu",
  "bottle_kinetics",
  "ms",
  "ms_bottle_kinetics",
  "ms_ca_kinetics",
  "ms_fa_kinetics",
  "ms_hswish_kinetics",
  "ms_ja",
  "ms_kernel5_scale2_kinetics",
  "ms_kinetics",
  "ms_odd_length_kinetics",
  "ms_one_person",
  "ms_pa",
  "ms_sep_expand2_kinetics",
  "ms_sep_kinetics",
  "ms_stcja_kinetics",
  "ms_stja_kinetics",
  "ms_swish_kinetics",
  "sep_expand2_kinetics",
  "sep_kinetics",
)
# Groups and bottlenecks of two to four channels: some have hardly any variance, and the
# normalisation after them magnifies rounding.
GRADIENT_TOLERANCE = {
  "bottle_kinetics": 3e-4,
  "ms_sep_kinetics": 1e-2,
  "ms_sep_expand2_kinetics": 2e-2,
}
# In these, three steps amplify rounding beyond comparison. In float64, noise of 1e-7 in the clips
# takes the third loss of bottle_kinetics from 1.224 to anything between 1.218 and 1.317 (the
# reference: 1.251), and that of ms_kinetics nowhere (1.01008). Only the losses are compared.
AMPLIFYING = {
  "bottle_kinetics": 0.1,
  "ms_bottle_kinetics": 0.1,
  "ms_sep_kinetics": 0.1,
  "ms_sep_expand2_kinetics": 0.3,
}


@pytest.mark.parametrize("name", ("paper_size", *NAMES))
def test_evaluation_gives_the_references_logits_and_features(name):
  reference = Reference(name)
  logits, features = reference.evaluate()
  assert relative_error(logits, reference["eval/logits"]) < 1e-5
  if "eval/features" in reference:
    # The reference's own features of this file are 9.3e-6 from those computed in float64.
    tolerance = 1.5e-5 if name == "ms_sep_expand2_kinetics" else 1e-5
    assert relative_error(features, reference["eval/features"]) < tolerance


@pytest.mark.parametrize("name", NAMES)
def test_training_gives_the_references_losses_gradients_and_state(name):
  reference = Reference(name)
  losses, logits, grads, after = reference.train()
  assert relative_error(logits, reference["train/logits"]) < 1e-5
  np.testing.assert_allclose(losses[0], reference["train/losses"][0], rtol=1e-5)
  np.testing.assert_allclose(losses, reference["train/losses"], rtol=AMPLIFYING.get(name, 1e-3))
  errors = gradient_errors(grads, reference.group("grad/"))
  worst = max(errors, key=errors.get)
  assert errors[worst] < GRADIENT_TOLERANCE.get(name, 1e-4), worst
  if name not in AMPLIFYING:
    check_state(after, reference.group("after3/"))


def check_state(state, expected):
  for key, value in expected.items():
    if ".mstcn.bn_in." in key or key.endswith("num_batches_tracked"):
      continue  # owned by the reference, used by neither
    tolerance = 1e-2 if key.endswith("bias") else 5e-3
    # Besides 1e-6 an element: biases before a normalisation move by rounding noise only.
    allowed = tolerance * np.linalg.norm(value) + 1e-6 * value.size**0.5
    assert np.linalg.norm(state[key] - value) <= allowed, key


def test_float64_leaves_only_the_references_own_rounding():
  for name in ("ms_kinetics", "basic_kinetics"):
    golden(f"model/{name}.npz")
    code = f"""
from reference import Reference, gradient_errors, relative_error
reference = Reference({name!r}, dtype="float64")
logits, features = reference.evaluate()
assert logits.dtype == features.dtype == "float64"
assert relative_error(logits, reference["eval/logits"]) < 1e-6
assert relative_error(features, reference["eval/features"]) < 5e-6
losses, logits, grads, after = reference.train()
assert relative_error(logits, reference["train/logits"]) < 1e-6
assert max(gradient_errors(grads, reference.group("grad/")).values()) < 1e-4
"""
    subprocess.run(
      [sys.executable, "-c", code],
      env=os.environ | {"JAX_ENABLE_X64": "1"},
      cwd=pathlib.Path(__file__).parent,
      check=True,
      timeout=300,
    )
