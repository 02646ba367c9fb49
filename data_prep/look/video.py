"""Pictures as a video, by the program ffmpeg."""

import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from mstgcn_jax import files
from mstgcn_jax.errors import ConfigError, DataError, first_line


def ffmpeg() -> str:
  """The program: on the PATH, or the one that imageio-ffmpeg brings.

  Raises:
    ConfigError: there is none.
  """
  if found := shutil.which("ffmpeg"):
    return found
  with contextlib.suppress(ImportError, RuntimeError):  # the latter: it has none for this system
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
  raise ConfigError(
    "a .mp4 is written by the program ffmpeg, which is not on the PATH: install it (apt or brew "
    "install ffmpeg, or pip install imageio-ffmpeg), or take .gif"
  )


def write(pictures: Sequence[Any], path: pathlib.Path, milliseconds: float) -> None:
  """Writes pictures (PIL, RGB, of one size) as a .mp4, each shown for so long.

  Raises:
    ConfigError: there is no ffmpeg.
    DataError: it fails.
  """
  width, height = pictures[0].size
  with files.written_whole(path) as aside:
    command = [
      *(ffmpeg(), "-loglevel", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
      *("-s", f"{width}x{height}", "-r", f"{1000 / milliseconds:.6g}", "-i", "pipe:0"),
      # Players want colours at half the resolution, and so even sides.
      *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-pix_fmt", "yuv420p"),
      *("-movflags", "+faststart", "-f", "mp4", str(aside)),
    ]
    frames = b"".join(picture.tobytes() for picture in pictures)
    done = subprocess.run(command, input=frames, capture_output=True, check=False)
    if done.returncode:
      said = first_line(done.stderr.decode(errors="replace"))
      raise DataError(f"{path}: ffmpeg failed ({said})")
