"""Which form of a computation is traced, and what lowering makes of it."""

import contextlib
import threading
import types

import jax
import jax.numpy as jnp
import pytest

from mstgcn_jax.model import platform

FORMS = platform.by_platform(cpu=jnp.sin, gpu=jnp.cos, onnx=jnp.tanh)


def lowered(form: str | None, device: str) -> str:
  function = jax.jit(lambda x: FORMS(x))  # a new one, which nobody has traced
  if form is None:
    traced = function.trace(jnp.ones(3))
  else:
    with platform.forced(form):
      traced = function.trace(jnp.ones(3))
  return traced.lower(lowering_platforms=(device,)).as_text()


def operations(program: str) -> set[str]:
  return {name for name in ("sine", "cosine", "tanh") if f"stablehlo.{name} " in program}


@pytest.mark.parametrize(
  ("form", "device", "operation"),
  [
    ("cpu", "cuda", "sine"),
    ("gpu", "cpu", "cosine"),
    ("onnx", "cpu", "tanh"),
    ("tflite", "cpu", "sine"),
    ("any", "cpu", "sine"),
    ("any", "cuda", "cosine"),
    ("any", "tpu", "cosine"),
  ],
)
def test_a_program_has_the_form_that_is_asked_for(form, device, operation):
  assert operations(lowered(form, device)) == {operation}


@pytest.mark.parametrize(("device", "operation"), [("cpu", "sine"), ("cuda", "cosine")])
def test_by_default_and_for_one_device_that_is_the_form_of_the_device(device, operation):
  described = types.SimpleNamespace(platform=device)
  for context in (contextlib.nullcontext(), platform.of(described)):
    with context:
      assert operations(lowered(None, device)) == {operation}
  with platform.of(described):
    assert operations(lowered("onnx", device)) == {"tanh"}
    assert platform.on_gpu() == (jax.default_backend() == "gpu")


def test_a_function_that_was_called_in_one_form_is_traced_anew_in_another():
  function = jax.jit(lambda x: FORMS(x))
  x = jnp.ones(3)
  assert function(x)[0] == jnp.sin(1.0)
  with platform.forced("gpu"):
    assert function(x)[0] == jnp.cos(1.0)
  assert function(x)[0] == jnp.sin(1.0)


def test_python_runs_a_form_once_for_equal_shapes_and_options():
  calls = []

  def scaled(x, *, by):
    calls.append((x.shape, by))
    return by * x

  form = platform.by_platform(cpu=scaled, gpu=jnp.cos)

  def layers(x):
    with platform.of(jax.devices("cpu")[0]):
      return form(form(x, by=2), by=2).sum() + form(x, by=3).sum() + form(x[:2], by=2).sum()

  program = jax.jit(layers).lower(jnp.ones(3)).as_text()
  assert calls == [((3,), 2), ((3,), 3), ((2,), 2)]
  assert program.count("multiply") == 4 and "call @" not in program


def test_programs_say_where_a_form_was_called_not_where_it_was_chosen():
  gradient = jax.jit(jax.grad(lambda x: FORMS(x).sum()))
  program = gradient.lower(jnp.ones(3)).as_text(debug_info=True)
  assert "/test_platform.py" in program and "/platform.py" not in program


def test_a_thread_is_not_told_what_another_traces():
  found = []
  with platform.forced("onnx"):
    thread = threading.Thread(target=lambda: found.append(operations(lowered(None, "cpu"))))
    thread.start()
    thread.join()
  assert found == [{"sine"}]


@pytest.mark.parametrize(
  ("capability", "asked"),
  [
    ("7.5", {}),
    ("8.0", {"xla_gpu_force_conv_nhwc": True}),
    ("8.9", {"xla_gpu_force_conv_nhwc": True}),
    ("9.0", {}),
    ("12.0", {}),
    ("gfx90a", {}),
  ],
)
def test_channels_are_asked_last_of_gpus_whose_compiler_has_them_first(capability, asked):
  device = types.SimpleNamespace(compute_capability=capability)
  assert platform.compiler_options(device) == asked
  with jax.enable_x64(True):  # there may be float64, which cuDNN has no such convolutions of
    assert platform.compiler_options(device) == {}


def test_nothing_is_asked_of_a_cpu():
  assert platform.compiler_options(jax.devices("cpu")[0]) == {}
