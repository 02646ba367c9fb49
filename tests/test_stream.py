"""Streams: the offline window's numbers at every hop, people who come and go, pipes and sockets."""

import io
import json
import pathlib
import socket
import stat
import sys
import threading

import numpy as np
import pytest
from test_classifier import write_run

import mstgcn_jax as mst
from mstgcn_jax import skeletons
from mstgcn_jax.commands import stream as command
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.use import json_frames
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.predict import Naming, Predictor
from mstgcn_jax.use.stream import Stream

SAME = {"rtol": 0, "atol": 1e-5}  # of issue 15; both go through the same compiled function


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp("run"))  # two persons, 12 frames, turned and centred


@pytest.fixture(scope="module")
def classify(workdir):
  return Classifier(workdir)


def recording(persons=2, frames=40, seed=0):
  return np.random.default_rng(seed).normal(size=(persons, frames, 25, 3)).astype(np.float32)


def offline(classify, window):
  return np.asarray(classify(classify.from_recording(window)[None]))[0]


def test_every_hop_gives_the_offline_windows_numbers(workdir, classify):
  stream, frames = mst.Stream(workdir, hop=3), recording()
  answered = []
  for t in range(frames.shape[1]):
    got = stream.push(frames[:, t])
    if got is not None:
      answered.append(t + 1)
      np.testing.assert_allclose(got, offline(classify, frames[:, t - 11 : t + 1]), **SAME)
  assert answered == list(range(12, 41, 3))


@pytest.mark.parametrize(("frames", "hop"), [(7, 7), (12, 1), (30, 4)])
def test_other_lengths_than_the_runs_window_are_looked_at(classify, frames, hop):
  stream, given = Stream(classify, frames=frames, hop=hop), recording()
  for t in range(given.shape[1]):
    got = stream.push(given[:, t])
    assert (got is not None) == (t + 1 >= frames and (t + 1 - frames) % hop == 0)
    if got is not None:
      np.testing.assert_allclose(got, offline(classify, given[:, t + 1 - frames : t + 1]), **SAME)


def test_people_come_and_go_and_a_third_takes_the_place_of_one_who_left(classify):
  frames = recording(persons=3)
  frames[0, 20:] = 0  # leaves
  frames[1, :15] = 0  # comes late
  frames[2, :5] = frames[2, 35:] = 0  # comes late and leaves
  stream = Stream(classify, hop=1)
  for t in range(frames.shape[1]):
    here = [m for m in range(3) if frames[m, t].any()]
    shown = frames[: here[-1] + 1, t] if here else frames[:0, t]  # who is not there is left out
    got = stream.push(shown[0] if len(shown) == 1 else shown)
    if got is not None:
      np.testing.assert_allclose(got, offline(classify, frames[:, t - 11 : t + 1]), **SAME)
  # In the end persons 1 and 2 alone are in the window.
  np.testing.assert_allclose(got, offline(classify, frames[1:, -12:]), **SAME)


def test_a_stream_that_is_not_full_shows_what_it_has_and_answers_by_quarters(classify):
  stream, frames = Stream(classify), recording()
  for t in range(5):
    stream.push(frames[:, t])
  window = stream.window()
  np.testing.assert_array_equal(window, frames[:, :5])
  window[...] = 0  # the caller's own
  np.testing.assert_array_equal(stream.window(), frames[:, :5])
  assert (stream.hop, Stream(classify, frames=3).hop) == (3, 1)


def test_where_nobody_is_seen_there_is_no_answer_until_somebody_is(classify):
  stream, frames = Stream(classify, hop=1), recording(persons=1)[0]
  nobody = np.zeros((0, 25, 3), np.float32)
  assert all(stream.push(nobody) is None for _ in range(15))
  got = stream.push(frames[0])
  alone = np.concatenate([np.zeros((11, 25, 3), np.float32), frames[:1]])
  np.testing.assert_allclose(got, offline(classify, alone), **SAME)


def test_a_cleared_stream_begins_anew(classify):
  stream, frames = Stream(classify), recording()
  for t in range(20):
    stream.push(frames[:, t])
  stream.clear()
  got = [stream.push(frames[:, t]) for t in range(20, 32)]
  assert all(p is None for p in got[:-1])
  np.testing.assert_allclose(got[-1], offline(classify, frames[:, 20:32]), **SAME)


@pytest.mark.parametrize(
  ("frame", "kind", "said"),
  [
    (np.ones((20, 3)), ConfigError, r"shape \(1, 20, 3\); expected \[joint, channel\] or"),
    (np.ones((100, 25, 3)), ConfigError, "up to 64 persons"),
    (np.full((25, 3), np.nan), DataError, "person 0, joint 0, channel 0 is nan"),
    (np.full((25, 3), 2e9), DataError, r"coordinates up to 1e\+09"),
    ("text", ConfigError, "expected an array of numbers"),
    ([[10**400] * 3] * 25, ConfigError, "expected an array of numbers"),
    ({"joints": []}, ConfigError, "expected an array of numbers"),
  ],
)
def test_a_frame_that_does_not_fit_is_not_taken(classify, frame, kind, said):
  stream = Stream(classify)
  with pytest.raises(kind, match=said):
    stream.push(frame)
  assert stream.count == 0


def test_a_frame_of_nobody_or_of_64_people_may_have_axes_of_its_own(classify):
  stream = Stream(classify)
  of_json = map(json_frames.parse_frame, (b"[]", b"[null]"))
  frames = [], [[]], *of_json, np.zeros((64, 25, 3))
  assert [stream.push(frame) for frame in frames] == [None] * 5
  assert stream.count == 5 and not stream.window().any()


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"hop": 1.5}, {"hop": True}])
def test_numbers_of_frames_are_checked(classify, wrong):
  with pytest.raises(ConfigError, match="expected a whole number of 1 or more"):
    Stream(classify, **wrong)


# --- the command


def lines_of(frames):
  return [json.dumps(frames[:, t].tolist()).encode() + b"\n" for t in range(frames.shape[1])]


def test_the_command_answers_json_lines_with_json_lines(workdir, classify, capsys, monkeypatch):
  frames = recording()
  stdin = io.TextIOWrapper(io.BytesIO(b"".join(lines_of(frames))))
  monkeypatch.setattr(sys, "stdin", stdin)
  assert command.main([str(workdir), "--hop", "10", "--top", "2"]) == 0
  answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
  assert [answer["frame"] for answer in answers] == [12, 22, 32]
  expected = offline(classify, frames[:, 20:32])
  best = int(expected.argmax())
  assert answers[-1]["label"] == classify.class_names[best]
  assert answers[-1]["confidence"] == pytest.approx(float(expected[best]), abs=1e-5)
  first, second = answers[-1]["top"]  # as of predict --format json
  assert first == {"label": answers[-1]["label"], "probability": answers[-1]["confidence"]}
  assert second["label"] in classify.class_names


def test_all_streams_of_a_run_are_compiled_before_the_first_frame(workdir, monkeypatch):
  computed = []
  compute = lambda self, clips: computed.extend(clip.shape for clip in clips)
  monkeypatch.setattr(Predictor, "probabilities", compute)
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
  assert command.main([str(workdir), "--frames", "30"]) == 0
  assert computed == [(2, 12, 25, 3)]


def test_a_pipe_that_ends_before_the_first_answer_says_so(workdir, capsys, monkeypatch):
  stdin = io.TextIOWrapper(io.BytesIO(b"".join(lines_of(recording(frames=11)))))
  monkeypatch.setattr(sys, "stdin", stdin)
  assert command.main([str(workdir)]) == 0
  said = capsys.readouterr()
  assert said.out == ""
  assert "the first is due at frame 12, the input ended after 11" in said.err
  stdin = io.TextIOWrapper(io.BytesIO(b"".join(lines_of(recording(frames=12)))))
  monkeypatch.setattr(sys, "stdin", stdin)
  assert command.main([str(workdir)]) == 0
  said = capsys.readouterr()
  assert len(said.out.splitlines()) == 1 and "no answer" not in said.err


def test_a_bad_line_ends_the_pipe_with_its_number(workdir, monkeypatch):
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[]\n[[1, 2, 3]]\nx\n")))
  with pytest.raises(ConfigError, match="frame 2: the frame has the shape"):
    command.main([str(workdir)])
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[]\nx\n")))
  with pytest.raises(DataError, match="line 2: is not JSON"):
    command.main([str(workdir)])


def test_what_is_wrong_with_the_frames_looked_at_is_said_of_the_newest(tmp_path):
  options = {"rotated": False, "center": None, "skeleton": skeletons.get("coco")}
  fractions = {"units": "image fractions"}
  predictor = Predictor(write_run(tmp_path, preparation=fractions, **options))
  stream, naming = Stream(predictor.classifier), Naming(predictor.class_names)
  pixels = lines_of(np.full((1, 12, 17, 3), 300.0))
  with pytest.raises(DataError, match=r"^frame 12: joints reach 300, 300: pixels"):
    list(command.answers(pixels, stream, predictor, naming, 3))


def test_a_socket_answers_one_client_after_the_other_and_says_what_is_wrong(
  workdir, classify, tmp_path, monkeypatch
):
  stream, predictor = Stream(classify, hop=100), Predictor(workdir)
  naming = Naming(classify.class_names)
  answer = lambda lines: command.answers(lines, stream, predictor, naming, 3)
  monkeypatch.chdir(tmp_path)
  path = "s"  # a socket's path has room for some 100 letters
  frames = recording()
  with command.listening(path) as server:

    def serve():
      for _ in range(3):
        command.serve(server.accept()[0], answer)

    thread = threading.Thread(target=serve)
    thread.start()
    first = ask(path, lines_of(frames))
    wrong = ask(path, [b"hello\n"])
    again = ask(path, lines_of(frames))
    thread.join()
    with (
      pytest.raises(DataError, match="another program listens there"),
      command.listening(path),
    ):
      pass
  assert first == again and [one["frame"] for one in first] == [12]
  assert "line 1: is not JSON" in wrong[0]["error"]
  assert not (tmp_path / "s").exists()


def ask(path, lines):
  with socket.socket(socket.AF_UNIX) as client:
    client.connect(path)
    client.sendall(b"".join(lines))
    client.shutdown(socket.SHUT_WR)
    with client.makefile("rb") as answers:
      return [json.loads(line) for line in answers]


class Endless(io.RawIOBase):
  """A pipe from which one line comes that does not end."""

  taken = 0

  def readable(self):
    return True

  def readinto(self, buffer):
    self.taken += len(buffer)
    assert self.taken < 3 * json_frames._MAX_LINE
    buffer[:] = b"[" * len(buffer)
    return len(buffer)


def test_a_line_without_end_is_not_waited_for():
  lines = json_frames.lines_of(io.BufferedReader(Endless()))
  with pytest.raises(DataError, match="line 1: is longer than 10,000,000 bytes"):
    next(json_frames.frames_of(lines))


def test_a_socket_that_nobody_listens_on_any_more_is_taken_over(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = pathlib.Path("s")
  left = socket.socket(socket.AF_UNIX)
  left.bind(str(path))
  left.close()
  with command.listening(str(path)):
    assert path.is_socket()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # of whoever started it alone
  assert not path.exists()


def test_a_port_that_is_in_use_is_named():
  with socket.create_server(("127.0.0.1", 0)) as used:
    port = str(used.getsockname()[1])
    with pytest.raises(DataError, match=f"^--socket {port}: "), command.listening(port):
      pass


def test_a_socket_of_another_kind_that_is_in_use_is_left_alone(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as used:
    used.bind("s")
    with pytest.raises(DataError, match="--socket s: "), command.listening("s"):
      pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
      client.connect("s")


@pytest.mark.parametrize(
  ("where", "said"),
  [
    ("99999", "no port"),
    ("0", "expected 1 to 65535"),
    ("file", "is there already, and no socket"),
  ],
)
def test_a_place_where_nothing_can_listen_is_named(tmp_path, monkeypatch, where, said):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").write_text("")
  with pytest.raises(ConfigError, match=said), command.listening(where):
    pass


def test_the_stream_of_a_kinetics_run_takes_scores(tmp_path):
  kinetics = skeletons.get("kinetics")
  classify = Classifier(write_run(tmp_path, rotated=False, center=None, skeleton=kinetics))
  stream = Stream(classify)
  frames = np.random.default_rng(0).random((2, 12, 18, 3)).astype(np.float32)
  for t in range(12):
    got = stream.push(frames[:, t])
  np.testing.assert_allclose(got, offline(classify, frames), **SAME)


@pytest.mark.parametrize(
  ("flags", "said"), [(["--top", "0"], "--top 0"), (["--unknown-below", "nan"], "below nan is no")]
)
def test_how_labels_are_said_is_checked_before_a_run_is_loaded(flags, said):
  with pytest.raises(ConfigError, match=said):
    command.main(["nothing", *flags])
