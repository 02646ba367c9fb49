"""Labels while the frames come in: camera | mstgcn stream runs/quickstart

A frame is a JSON line: [[x, y, z], …] of one person, or a list of such, each always at the same
place in it, null while not there; [] where nobody is seen. Every --hop frames an answer is
written, a JSON line:

  {"frame": 48, "label": "a", "confidence": 0.9, "top": [{"label": "a", "probability": 0.9}, …]}

Frames come from standard input, or through a local socket, from one program at a time, whose
answers go back to it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import sys
from collections.abc import Iterable, Iterator

from mstgcn_jax.commands import process
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.use.json_frames import frames_of, lines_of
from mstgcn_jax.use.predict import Naming, Predictor
from mstgcn_jax.use.stream import Stream


def main(argv: list[str]) -> int:
  args = _parser().parse_args(argv)
  process.check_label_arguments(args)
  process.start()
  predictor = Predictor(args.run, checkpoint=args.checkpoint, stream=args.stream, trust=args.trust)
  stream = Stream(predictor.classifier, frames=args.frames, hop=args.hop)
  predictor.probabilities([stream.example()])  # compiles a run's other streams, too
  naming = Naming(predictor.class_names, args.unknown_below)
  print(predictor.calibrated, file=sys.stderr)
  answer = lambda pipe: answers(lines_of(pipe), stream, predictor, naming, args.top)
  if args.socket is None:
    for line in answer(process.standard_input()):
      print(line, flush=True)
    if stream.count < stream.frames:
      print(
        f"no answer: the first is due at frame {stream.frames}, the input ended after "
        f"{stream.count}; --frames looks at fewer",
        file=sys.stderr,
      )
    return 0
  with listening(args.socket) as server:
    print(f"listening on {args.socket}; end with Ctrl-C", file=sys.stderr, flush=True)
    while True:
      connection, _ = server.accept()
      serve(connection, answer)


def _parser() -> argparse.ArgumentParser:
  parser = process.parser("stream", __doc__)
  parser.add_argument("run", type=pathlib.Path, help="workdir of a trained run")
  parser.add_argument(
    "--frames", type=int, help="looked at; default the run's window, but see docs/use.md"
  )
  parser.add_argument("--hop", type=int, help="frames between answers; default a quarter of these")
  parser.add_argument("--socket", metavar="PATH|PORT", help="a Unix socket, or a port of localhost")
  process.add_label_arguments(parser)
  process.add_checkpoint_arguments(parser, "all, fused")
  return parser


def answers(
  lines: Iterable[bytes], stream: Stream, predictor: Predictor, naming: Naming, top: int
) -> Iterator[str]:
  """JSON lines of answers to JSON lines of frames, of a stream that begins anew."""
  stream.clear()
  for frame in frames_of(lines):
    number = stream.count + 1
    try:
      clip = stream.take(frame)
    except (ConfigError, DataError) as error:
      raise type(error)(f"frame {number}: {error}") from error
    if clip is None:
      continue
    (probabilities,) = predictor.probabilities([clip])
    answer = {"frame": stream.count, **naming.as_json(probabilities, top)}
    yield json.dumps(answer, ensure_ascii=False)


@contextlib.contextmanager
def listening(where: str) -> Iterator[socket.socket]:
  """A server on a port of localhost or a Unix socket's path, which is removed in the end.

  Raises:
    ConfigError: no such port, or the path is of something else.
    DataError: another program listens there.
  """
  if where.isdecimal():
    if not 0 < int(where) < 65536:
      raise ConfigError(f"--socket {where} is no port; expected 1 to 65535, or a path")
    try:
      with socket.create_server(("127.0.0.1", int(where))) as server:
        yield server
    except OSError as error:
      raise DataError(f"--socket {where}: {error.strerror}") from error
    return
  if not hasattr(socket, "AF_UNIX"):
    raise ConfigError("--socket PATH needs a system with Unix sockets; take a port")
  _remove_dead(pathlib.Path(where))
  with socket.socket(socket.AF_UNIX) as server:
    try:
      server.bind(where)
      os.chmod(where, 0o600)
      server.listen()
    except OSError as error:
      raise DataError(f"--socket {where}: {error.strerror or error}") from error
    try:
      yield server
    finally:
      with contextlib.suppress(OSError):
        os.unlink(where)


def _remove_dead(path: pathlib.Path) -> None:
  """Removes a socket that a server left behind which no longer listens."""
  if not path.exists():
    return
  if not path.is_socket():
    raise ConfigError(f"--socket {path} is there already, and no socket")
  with socket.socket(socket.AF_UNIX) as client:
    try:
      client.connect(str(path))
    except ConnectionRefusedError:
      path.unlink()
      return
    except OSError as error:  # of another kind, or somebody else's
      raise DataError(f"--socket {path}: {error.strerror}") from error
  raise DataError(f"--socket {path}: another program listens there")


def serve(connection: socket.socket, answer) -> None:
  """Answers the frames of one client until it ends; what is wrong with them is answered, too."""
  with connection, connection.makefile("rb") as pipe, contextlib.suppress(OSError):
    try:
      for line in answer(pipe):
        connection.sendall(line.encode() + b"\n")
    except (ConfigError, DataError) as error:
      connection.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
