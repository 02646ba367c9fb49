"""The one door, mstgcn COMMAND: help, versions, statuses, names."""

import importlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import types

import pytest
import tiny
from ending import Ended, catch_ends

import mstgcn_jax
from mstgcn_jax import __main__ as door
from mstgcn_jax.commands import process, train
from mstgcn_jax.errors import ConfigError, DataError, Preempted
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import devices, loop, workdir


@pytest.fixture
def ends(monkeypatch):
  """Statuses with which commands end the process."""
  monkeypatch.setattr(process, "quiet_libraries", lambda: None)
  return catch_ends(monkeypatch)


def status_of(argv: list[str]) -> int:
  """The status of a command that ends by itself or by argparse."""
  try:
    return door.main(argv)
  except SystemExit as end:
    return end.code


@pytest.mark.parametrize("command", door.COMMANDS)
def test_every_command_has_help_that_names_it(command, ends, capsys):
  assert status_of([command, "--help"]) == 0 and not ends
  printed = capsys.readouterr()
  assert f"usage: mstgcn {command} " in printed.out and not printed.err
  assert status_of(["--help"]) == 0
  assert f"\n  {command} " in capsys.readouterr().out


def test_the_version(capsys):
  assert door.main(["--version"]) == 0
  assert capsys.readouterr().out == f"mstgcn-jax {mstgcn_jax.__version__}\n"


def test_an_unknown_command_is_wrong_usage_and_gets_a_hint(capsys):
  assert door.main(["evalute"]) == 2
  assert "error: no command 'evalute'; did you mean evaluate?\nusage:" in capsys.readouterr().err
  assert door.main([]) == 2
  printed = capsys.readouterr()
  assert printed.err.startswith("usage: mstgcn COMMAND") and not printed.out


@pytest.mark.parametrize(
  "argv",
  [
    ["prepare"],
    ["prepare", "ntu60"],
    ["info"],
    ["show"],
    ["evaluate"],
    ["ensemble"],
    ["summary"],
    ["weights"],
    ["weights", "import"],
  ],
)
def test_what_a_command_lacks_is_said_under_its_name(argv, ends, capsys):
  assert status_of(argv) == 2
  error = capsys.readouterr().err
  assert error.startswith(f"usage: mstgcn {' '.join(argv)} ")
  assert f"\nmstgcn {' '.join(argv)}: error: " in error


@pytest.mark.parametrize(
  "argv",
  [
    ["show", "data", "--lable=0"],
    ["prepare", "ntu60", "--raw=a", "--out=b", "--lable=0"],
    ["weights", "export", "a", "b.pt", "--lable=0"],
  ],
)
def test_an_unknown_flag_is_said_under_the_commands_name(argv, capsys):
  assert status_of(argv) == 2
  command = " ".join(argv[: 1 if argv[0] == "show" else 2])
  error = capsys.readouterr().err
  assert error.startswith(f"usage: mstgcn {command} ")
  assert error.endswith(f"\nmstgcn {command}: error: unrecognized arguments: --lable=0\n")


def test_wrong_usage_is_2_and_bad_data_1(ends, tmp_path, capsys):
  with pytest.raises(Ended):
    door.main(["train", "--config", "quickstrat"])
  assert ends == [2] and "did you mean quickstart?" in capsys.readouterr().err
  with pytest.raises(Ended):
    door.main(["evaluate", str(tmp_path)])
  assert ends == [2, 1] and capsys.readouterr().err.startswith("error: ")
  assert door.main(["info", str(tmp_path / "none")]) == 1


class Asked(Exception):
  """What a command asked the library for, which goes no further."""


@pytest.mark.parametrize(
  ("called", "argv", "more"),
  [
    ("commands.predict.Predictor", ["predict", "run", "a.npy"], {"stream": "bone"}),
    ("commands.stream.Predictor", ["stream", "run"], {"stream": "bone"}),
    ("commands.explain.Predictor", ["explain", "run", "a.npy"], {"stream": "bone"}),
    ("commands.embed.Classifier", ["embed", "run", "data", "--out", "a.npz"], {"stream": "bone"}),
    (
      "use.export.export",
      ["export", "run", "--to", "onnx", "a.onnx", "--quantize", "float16"],
      {"stream": "bone", "quantize": "float16"},
    ),
    ("use.weights.export_checkpoint", ["weights", "export", "run", "a.pt"], {"stream": "bone"}),
    (
      "commands.evaluate.evaluate",
      ["evaluate", "run", "--protocol", "xview", "--data", "folder", "--data-name", "mine"],
      {"protocol": "xview", "data_set": pathlib.Path("folder/mine")},
    ),
  ],
)
def test_what_of_a_run_a_command_takes_is_handed_on(called, argv, more, monkeypatch):
  module, name = f"mstgcn_jax.{called}".rsplit(".", 1)
  command = importlib.import_module(f"mstgcn_jax.commands.{argv[0]}")

  def ask(*_, **options):
    raise Asked(options)

  facts = types.SimpleNamespace(streams=("joint", "bone"), stream=lambda stream: stream)
  monkeypatch.setattr(importlib.import_module(module), name, ask)
  monkeypatch.setattr(workdir, "read", lambda _: facts)
  monkeypatch.setattr(config_lib, "read", lambda _: config_lib.default())
  monkeypatch.setattr(process, "start", lambda: None)
  monkeypatch.setattr(devices, "start", lambda: None)
  for of_recordings in ("_found", "open_data_set"):
    if hasattr(command, of_recordings):
      none = types.SimpleNamespace(notes=(), read=[None])
      monkeypatch.setattr(command, of_recordings, lambda *_, none=none: none)
  stream = ["--stream", more["stream"]] if "stream" in more else []
  with pytest.raises(Asked) as asked:
    command.main([*argv[1:], "--checkpoint", "7", *stream, "--trust"])
  assert asked.value.args == ({"checkpoint": "7", "trust": True} | more,)


def test_a_run_goes_where_its_config_is_named_and_joins_the_processes_it_is_told_of(monkeypatch):
  asked = []
  monkeypatch.setattr(loop, "train", lambda config, workdir: asked.append(workdir))
  monkeypatch.setattr(train.distributed, "initialize", lambda **said: asked.append(said))
  monkeypatch.setattr(process, "start", lambda *, trains: asked.append(trains))
  argv = ["--config", str(tiny.CONFIG), "--config.heartbeat_timeout=77"]
  assert train.main(argv) == 0
  alone = {"coordinator": None, "num_processes": None, "process_id": None}
  assert asked == [alone | {"heartbeat_timeout": 77}, True, pathlib.Path("runs/tiny_config")]
  asked.clear()
  several = ["--coordinator=a:1", "--num_processes", "2", "--process_id=0", "--workdir", "there"]
  assert train.main([*argv, *several]) == 0
  together = {"coordinator": "a:1", "num_processes": 2, "process_id": 0}
  assert asked == [together | {"heartbeat_timeout": 77}, True, pathlib.Path("there")]
  for wrong in ("x", "-1", "1.5", ""):
    with pytest.raises(ConfigError, match=f"--process_id is '{wrong}'; it must be a whole number"):
      train.main([*argv, f"--process_id={wrong}"])
  with pytest.raises(ConfigError, match="--config needs a value\nusage: "):
    train.main(["--config"])


@pytest.mark.parametrize("command", ["train --config", "compare"])
def test_what_was_asked_to_end_says_so_and_ends_with_75(
  command, ends, tiny_data, tmp_path, monkeypatch, capsys
):
  def train(*_, **__):
    raise Preempted("asked to end: saved step 3")

  monkeypatch.setattr(loop, "train", train)
  argv = [*command.split(), str(tiny.CONFIG), "--workdir", str(tmp_path)]
  assert door.main([*argv, f"--config.data.dir={tiny_data}"]) == 75 and not ends
  assert capsys.readouterr().out == "asked to end: saved step 3\n"


def test_a_shipped_config_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  given, config = train.parse(["--config", "quickstart", "--config.epochs=1"])
  assert given == {"config": "quickstart"} and config.epochs == 1
  assert config.data.name == "synthetic"
  assert {"quickstart", "ntu_joint", "own_recordings"} <= set(config_lib.shipped())


def test_a_field_is_set_with_an_equals_sign_or_a_space():
  given = ["--config.epochs=1", "a.py", "--config.data.name", "x", "--seeds", "0"]
  changes, others = process.config_changes(given)
  assert changes == [("epochs", "1"), ("data.name", "x")] and others == ["a.py", "--seeds", "0"]
  with pytest.raises(ConfigError, match=r"--config\.epochs needs a value"):
    process.config_changes(["--config.epochs"])
  assert process.config_changes(["--config.init_from", ""]) == ([("init_from", "")], [])


def test_a_file_goes_before_a_shipped_config_of_its_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  path = config_lib.shipped()["quickstart"]
  (tmp_path / "quickstart.py").write_text(path.read_text().replace("epochs = 12", "epochs = 7"))
  assert train.parse(["--config", "quickstart.py"])[1].epochs == 7
  assert train.parse(["--config", "quickstart"])[1].epochs == 12


def test_a_checkout_without_activation_and_the_names_of_before_are_the_same_door():
  root = config_lib.shipped()["quickstart"].parents[1]
  for argv, usage in (
    (["-m", "mstgcn_jax", "summary", "--help"], "usage: mstgcn summary "),
    (["-m", "mstgcn_jax.summary", "--help"], "usage: mstgcn summary "),
    (["-m", "data_prep", "info", "--help"], "usage: python -m data_prep info "),
    (["train.py", "--help"], "usage: mstgcn train "),
  ):
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and usage in done.stdout, done.stderr


def test_ctrl_c_while_libraries_are_imported_ends_the_command_in_a_line():
  # TensorFlow's modules catch whatever is raised while they look for what they may do without.
  code = """
import signal, sys
from mstgcn_jax import __main__ as door

class Swallowing:
  def find_spec(name, *_):
    if name == "mstgcn_jax.commands.train":
      try:
        signal.raise_signal(signal.SIGINT)
      except BaseException:
        sys.exit("swallowed")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & leaves it ignored
sys.meta_path.insert(0, Swallowing)
door.main(["train"])
"""
  ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert (ended.returncode, ended.stderr) == (130, "error: interrupted\n")


@pytest.mark.parametrize(
  "argv",
  [["--version"], ["train", "--help"], ["summary", "--config", "quickstart"], ["info", "DATA"]],
)
def test_output_that_nobody_reads_any_more_is_no_error(argv, tiny_data):
  read, write = os.pipe()
  os.close(read)
  env = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
  argv = [str(tiny_data / "tiny") if word == "DATA" else word for word in argv]
  command = [sys.executable, "-m", "mstgcn_jax", *argv]
  ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=env)
  os.close(write)
  assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_in_a_file_of_output_and_errors_the_error_stands_last(ends, tmp_path, monkeypatch):
  with open(tmp_path / "log", "a") as out, open(tmp_path / "log", "a", buffering=1) as err:
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(Ended), process.errors_in_one_line():
      print("figures")
      raise DataError("no clip")
    assert ends == [1] and (tmp_path / "log").read_text() == "figures\nerror: no clip\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_an_error_is_said_although_the_disk_under_the_output_is_full(ends, monkeypatch, capsys):
  with open("/dev/full", "w") as full:
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(Ended), process.errors_in_one_line():
      print("figures")
      raise DataError("no clip")
    assert ends == [1] and capsys.readouterr().err == "error: no clip\n"
    monkeypatch.undo()
    with pytest.raises(OSError):  # which still holds the figures
      full.close()


def test_output_whose_encoding_lacks_a_letter_is_no_error(monkeypatch):
  output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
  monkeypatch.setattr(sys, "stdout", output)
  assert door.main(["--help"]) == 0
  output.flush()
  assert output.buffer.getvalue().startswith(b"usage: mstgcn COMMAND ?")


def test_files_do_not_take_the_place_of_output_that_was_closed(tmp_path):
  code = f"""
import os, sys
from mstgcn_jax import words
words.ready_output()
with open({str(tmp_path / "metrics.csv")!r}, "w"):
  os.write(1, b"of a library")
print(sys.stdout.isatty(), sys.stderr.isatty(), flush=True)
"""
  command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, code]
  assert subprocess.run(command).returncode == 0
  assert (tmp_path / "metrics.csv").read_bytes() == b""
