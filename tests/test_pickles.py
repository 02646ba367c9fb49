"""Pickles are read as data: what comes out, and what is refused."""

import argparse
import collections
import contextlib
import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from formats import FUZZ, OPTIONS, annotation_file, read_all, write_pickle
from hypothesis import given
from hypothesis import strategies as st

from data_prep import raw_files
from data_prep.decode import mediapipe, pickles
from data_prep.readers import annotations
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.use import recordings


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_and_text_survive_every_pickle_protocol(tmp_path, protocol):
  expected = [
    np.arange(6, dtype=np.float16).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.zeros((0, 4)),
    np.array(["left", "r"]),
  ]
  path = tmp_path / "a.pkl"
  scalars = {"f": np.float32(2.5), "i": np.int64(7), "s": np.str_("x"), "b": b"", "n": None}
  path.write_bytes(pickle.dumps((expected, scalars), protocol=protocol))
  found, values = pickles.load(path)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(pickles.as_array(one), other)
    assert pickles.as_array(one).shape == other.shape
  assert values == {"f": 2.5, "i": 7, "s": "x", "b": b"", "n": None}


def test_old_and_new_module_paths_of_numpy_are_read_alike(tmp_path):
  new = pickle.dumps(np.arange(3), protocol=0)
  old = new.replace(b"numpy._core", b"numpy.core")
  assert old != new
  for content in (old, new):
    (tmp_path / "a.pkl").write_bytes(content)
    array = pickles.as_array(pickles.load(tmp_path / "a.pkl"))
    np.testing.assert_array_equal(array, [0, 1, 2])


def test_containers_of_python_are_data_at_every_protocol(tmp_path):
  default = collections.defaultdict(list)
  default["train"].append("a")
  content = {
    "ordered": collections.OrderedDict(b=1, a=2),
    "default": default,
    "counter": collections.Counter("aab"),
    "sets": [{"a", "b"}, frozenset("c")],
    "deque": collections.deque([1, 2], maxlen=5),
    "names": np.array(["a", "bc"], dtype=object),
  }
  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    path = tmp_path / f"{protocol}.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = pickles.load(path)
    assert list(found["ordered"].items()) == [("b", 1), ("a", 2)]
    assert found["default"] == {"train": ["a"]}
    assert found["counter"] == {"a": 2, "b": 1}
    assert found["sets"] == content["sets"] and found["deque"] == [1, 2]
    assert pickles.as_list(found["names"]) == ["a", "bc"]
    assert pickles.as_array(found["names"]).tolist() == ["a", "bc"]
    assert pickles.as_list(found["sets"][0]) == ["a", "b"]


@pytest.mark.parametrize(
  "content",
  [
    b"K\x01r\x00\x00\x00\x01.",  # LONG_BINPUT
    b"K\x01p16777216\n.",  # PUT
    b"\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00K\x01r\x00\x00\x00\x01.",  # in a FRAME
  ],
)
def test_a_number_beyond_all_objects_takes_no_memory(tmp_path, content):
  (tmp_path / "a.pkl").write_bytes(content)
  with pytest.raises(DataError, match=r"a damaged one \(it numbers an object 16,777,216\)"):
    pickles.load(tmp_path / "a.pkl")


def test_arrays_of_lists_keep_their_lists(tmp_path):
  ragged = np.empty(2, dtype=object)
  ragged[:] = [["a"], ["b", "c"]]
  even = np.empty((1, 2), dtype=object)
  even[0, 0], even[0, 1] = [1, 2], [3, 4]
  path = write_pickle(tmp_path / "a.pkl", [ragged, even])
  first, second = pickles.load(path)
  assert pickles.as_list(first) == [["a"], ["b", "c"]]
  assert pickles.as_list(second) == [[1, 2], [3, 4]]
  np.testing.assert_array_equal(pickles.as_array(second), [[[1, 2], [3, 4]]])


def test_lists_are_arrays_up_to_eight_axes():
  value = 1.5
  for depth in range(1, 9):
    value = [value]
    assert pickles.as_array(value).shape == (1,) * depth
  with pytest.raises(DataError, match="more than 8 deep"):
    pickles.as_array([value])


_START = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
_FLOATS = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR"


@pytest.mark.parametrize(
  ("state", "reason"),
  [
    (b"(I2\ntI5\nI00\nS''\ntb.", "no type"),
    (b"(I-1\nI-1\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"shape \(-1, -1\)"),
    (b"(S'x'\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"shape \('x',\)"),
    (b"(I2\nt" + _FLOATS + b"I00\nS'12345678'\ntb.", r"8 bytes for the shape \(2,\)"),
    (b"(I2\nt" + _FLOATS + b"tb.", "a damaged array"),
  ],
)
def test_an_array_whose_state_is_damaged_is_refused_when_it_is_taken(tmp_path, state, reason):
  (tmp_path / "a.pkl").write_bytes(_START + state)
  with pytest.raises(DataError, match=reason):
    pickles.as_array(pickles.load(tmp_path / "a.pkl"))


def test_arrays_of_python_2_are_read(tmp_path):
  numbers = repr(np.array([1.5, -2]).tobytes())[1:].encode()
  (tmp_path / "a.pkl").write_bytes(_START + b"(I2\nt" + _FLOATS + b"I00\nS" + numbers + b"\ntb.")
  array = pickles.as_array(pickles.load(tmp_path / "a.pkl"))
  np.testing.assert_array_equal(array, [1.5, -2])


def test_an_array_of_things_that_are_no_data_is_refused_when_it_is_taken(tmp_path):
  path = write_pickle(tmp_path / "a.pkl", np.array([{}, None], dtype=object))
  with pytest.raises(DataError, match="expected an array of numbers"):
    pickles.as_array(pickles.load(path))


class _Shell:
  def __init__(self, target):
    self.target = target

  def __reduce__(self):
    return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(
  ("what", "named"),
  [
    (np.array([], dtype="M8[s]"), "type 'M8'"),
    (np.zeros(2, dtype=[("a", "f4")]), "type 'V4'"),
    (argparse.Namespace(a=1), "argparse.Namespace"),
    (io.BytesIO, "_io.BytesIO"),
    (eval, "builtins.eval"),
  ],
)
def test_anything_but_data_is_refused_by_name(tmp_path, what, named):
  path = write_pickle(tmp_path / "a.pkl", {"annotations": [what]})
  with pytest.raises(DataError, match=f"the pickle asks for .*{named}"):
    pickles.load(path)


def test_an_empty_file_is_called_empty_and_a_damaged_one_damaged(tmp_path):
  (tmp_path / "a.pkl").write_bytes(b"no pickle")
  with pytest.raises(DataError, match=r"a\.pkl is not a pickle, or a damaged one \(.+\)$"):
    pickles.load(tmp_path / "a.pkl")
  (tmp_path / "a.pkl").write_bytes(b"")
  with pytest.raises(DataError, match=r"a\.pkl is empty; expected a pickle"):
    pickles.load(tmp_path / "a.pkl")


def test_a_pickle_that_runs_a_command_does_not(tmp_path):
  target = tmp_path / "touched"
  path = write_pickle(tmp_path / "a.pkl", _Shell(target))
  with pytest.raises(DataError, match=r"asks for (posix|nt)\.system"):
    pickles.load(path)
  assert not target.exists()


def test_a_pickle_that_is_called_an_array_does_not_run_either(tmp_path):
  target = tmp_path / "touched"
  path = write_pickle(tmp_path / "a.npy", _Shell(target))
  with pytest.raises(DataError, match=r"a\.npy is not a \.npy array"):
    raw_files.map_npy(path)
  np.save(path, np.array([_Shell(target)], dtype=object), allow_pickle=True)
  with pytest.raises(DataError, match=r"a\.npy is not a \.npy array"):
    raw_files.map_npy(path)
  assert not target.exists()


def test_a_pickle_within_arrays_does_not_run_wherever_arrays_are_read(tmp_path):
  target = tmp_path / "touched"
  pickled = np.array([_Shell(target)], dtype=object)
  npy, npz, scores = (tmp_path / name for name in ("a.npy", "a.npz", "scores.npz"))
  np.save(npy, pickled)
  np.savez(npz, landmarks=pickled)
  np.savez(scores, names=np.array(["a"]), labels=pickled, logits=np.eye(1), step=pickled)
  # Without numpy's advice on how to load it all the same.
  with pytest.raises(DataError, match=r"^standard input is no whole \.npy array of numbers$"):
    recordings.read_pipe(io.BytesIO(npy.read_bytes()))
  for path in (npy, npz):
    with pytest.raises(DataError, match=rf"^{path.name} is not .*'no arrays of numbers'\)\)$"):
      mediapipe.decode(path)
  with pytest.raises(DataError, match="is not a scores file"):
    Scores.load(scores)
  with pytest.raises(DataError, match=r"labels and logits that a run writes$"):
    Scores.load(scores)
  with pytest.raises(DataError, match="does not say of which step it is"):
    Scores.step(scores)
  assert not target.exists()


@pytest.mark.parametrize(
  "program",
  [
    b"cnumpy\nndarray\n(I1000000\ntR.",  # the array type as a function
    b"cnumpy\nndarray\n(dS'x'\nI1\nsb.",  # a change of the reader itself
    b"cnumpy.core.multiarray\n_reconstruct\n(dS'x'\nI1\nsb.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I0\ntS'b'\ntR.",
    b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nI1\nNNtb.",  # an array of arrays
    b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
    b"cbuiltins\nint\n(S'5'\ntR.",  # what a defaultdict is made with, as a function
    b"ccollections\nOrderedDict\n(dS'x'\nI1\nsb.",
    b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
    b"Psomewhere else\n.",
  ],
)
def test_hand_written_programs_are_refused(tmp_path, program):
  (tmp_path / "a.pkl").write_bytes(program)
  with pytest.raises(DataError):
    pickles.load(tmp_path / "a.pkl")


@FUZZ
@given(st.data())
def test_damaged_pickles_give_a_data_error_or_data(tmp_path, data):
  content = bytearray(pickle.dumps(annotation_file(), protocol=data.draw(st.integers(0, 5))))
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  path = tmp_path / "a.pkl"
  path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
  with contextlib.suppress(DataError, ConfigError):
    read_all(annotations.open_raw(path, OPTIONS))


@FUZZ
@given(st.lists(st.sampled_from(pickletools.opcodes), max_size=12), st.binary(max_size=8))
def test_random_pickle_programs_give_a_data_error_or_data(tmp_path, opcodes, tail):
  path = tmp_path / "a.pkl"
  path.write_bytes(b"".join(op.code.encode("latin1") for op in opcodes) + tail + b".")
  with contextlib.suppress(DataError):
    pickles.load(path)
