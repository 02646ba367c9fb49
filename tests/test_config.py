"""Fields as they are typed, what a config says in vain, and files of it that were damaged."""

import functools
import json
import pathlib
import re
import shlex

import numpy as np
import pytest
import tiny

from mstgcn_jax import words
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.training import config as config_lib

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


def typed(*texts: str):
  return config_lib.load(tiny.CONFIG, [tuple(text.split("=", 1)) for text in texts])


@pytest.mark.parametrize("path", [tiny.CONFIG, *CONFIGS], ids=lambda path: path.stem)
def test_what_help_prints_can_be_typed(path):
  config = config_lib.load(path)
  again = config_lib.default()
  for name, value in config_lib.flatten(config.to_dict()).items():
    (argument,) = shlex.split(config_lib.typed(name, value))
    name, _, text = argument.removeprefix("--config.").partition("=")
    config_lib.override(again, name, text)
  assert again.to_dict() == config.to_dict()
  assert shlex.split(config_lib.typed("data.dir", "my data")) == ["--config.data.dir=my data"]


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("streams=joint,bone", ("joint", "bone")),
    ("streams=bone", ("bone",)),
    ("streams=('joint', 'bone')", ("joint", "bone")),
    ("streams=(joint,bone)", ("joint", "bone")),
    ("seeds=0,1,2", (0, 1, 2)),
    ("seeds=[0, 1]", (0, 1)),
    ("seeds=", ()),
    ("seeds=()", ()),
    ("optimizer.decay_epochs=7", (7,)),
    ("data.holdout_subjects=ann,bob", ("ann", "bob")),
    ("data.holdout_subjects='ann, bob'", ("ann, bob",)),
    ("augment.rotation=0,0,0.5", (0, 0, 0.5)),
    ("model.blocks=((3,8,False,1),(8,8,True,2))", ((3, 8, False, 1), (8, 8, True, 2))),
    ("model.blocks=None", None),
    ("model.attention=none", None),
    ("model.attention=ca", "ca"),
    ("model.remat=true", True),
    ("model.remat=False", False),
    ("model.remat=1", True),
    ("model.remat=0", False),
    ("optimizer.learning_rate=1", 1.0),
    ("optimizer.learning_rate=1e-3", 0.001),
    ("epochs=7", 7),
    ("data.name=7", "7"),
  ],
)
def test_a_value_is_understood_as_its_field_is(text, expected):
  name = text.partition("=")[0]
  value = config_lib.flatten(typed(text).to_dict())[name]
  assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("epoch=3", "no such field: epoch; did you mean epochs"),
    ("lr=0.1", "no such field: lr; did you mean optimizer.learning_rate"),
    ("width=8", "no such field: width; did you mean model.width"),
    ("optimizer.weight_dekay=0", "did you mean optimizer.weight_decay"),
    ("model=5", "model is a section; set a field of it, such as --config.model"),
    ("zzzz=5", "no such field: zzzz$"),
    ("epochs=many", "epochs is 'many'; it must be a whole number"),
    ("epochs=2.5", "epochs is 2.5; it must be a whole number"),
    ("epochs=None", "epochs is None; it must be a whole number$"),
    ("epochs=True", "epochs is True; it must be a whole number$"),
    ("model.width=wide", "model.width is 'wide'; it must be a whole number or None$"),
    ("model.remat=maybe", "model.remat is 'maybe'; it must be true or false"),
    ("optimizer.learning_rate=fast", "learning_rate is 'fast'; it must be a number"),
    ("optimizer.learning_rate=1" + 400 * "0", "learning_rate is 10*; it must be a number"),
  ],
)
def test_a_mistyped_field_or_value_is_named(text, message):
  with pytest.raises(ConfigError, match=message):
    typed(text)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("seeds=3", r"seeds is \(3,\); it must be several, such as \(0, 1, 2\); .*set seed"),
    ("optimizer.decay_factor=-3", "decay_factor is -3.0; it must lie in"),
    ("optimizer.decay_factor=0", "decay_factor is 0.0; it must lie in"),
    ("optimizer.decay_epochs=50.7", r"decay_epochs is \(50.7,\); it must be whole numbers"),
    ("optimizer.decay_epochs=-1", r"decay_epochs is \(-1,\); it must be whole numbers"),
    ("optimizer.decay_epochs=2,2", r"decay_epochs is \(2, 2\); .* each once"),
    ("model.blocks=3", r"model.blocks is \(3,\); it must be \(in_channels, out_channels, residual"),
    ("model.blocks=(('a', 8),)", r"model.blocks is \(\('a', 8\),\); it must be"),
    ("streams={'joint'}", r"streams is .* it must be such as \('joint', 'bone'\)"),
    ("seed=4294967296", r"seed is 4294967296; it must be 0 or more, below 2\*\*32"),
    ("seeds=(0, 4294967296)", r"seeds is .* it must be whole numbers from 0"),
    ("seeds=" + 5000 * "[", r"seeds is .* it must be whole numbers from 0"),
    ("seeds=" + 5000 * "-" + "1", r"seeds is .* it must be whole numbers from 0"),
    ("epochs=3000000000", "epochs is 3000000000; it must be at least 1, below"),
    ("optimizer.decay_epochs=(3000000000,)", "decay_epochs is .* it must be whole numbers"),
    ("optimizer.freeze_adjacency_through=3000000000", "must be below"),
    ("init_ignore=None", r"init_ignore is \(None,\); it must be parts of the paths of tensors"),
    ("model.attention=None2", "attention is 'None2'; allowed: None, stja"),
    *(
      (f"{field}=0", f"{field} is 0; it must be at least 1")
      for field in ("epochs", "batch_size", "eval_batch_size", "eval_every", "heartbeat_timeout")
    ),
    *(
      (f"data.{field}=0", f"data.{field} is 0; it must be at least 1")
      for field in ("window", "num_persons", "views")
    ),
    *(
      (f"data.{field}={2**31}", rf"data.{field} is {2**31}; it must be at least 1, below 2\*\*31")
      for field in ("window", "num_persons", "views")
    ),
    *(
      (f"{field}=-1", f"{field} is -1; it must be 0 or more")
      for field in ("save_every_steps", "early_stopping", "stream_devices", "profile_steps")
    ),
    *(
      (f"min_steps_per_epoch={steps}", f"is {steps}; it must be 0 or more, below")
      for steps in (-1, 2**31)
    ),
    ("seed=-1", r"seed is -1; it must be 0 or more, below 2\*\*32"),
    ("seeds=0,True", r"seeds is \(0, True\); it must be whole numbers from 0, each once"),
    ("seeds=0,1,0", r"seeds is \(0, 1, 0\); it must be whole numbers from 0, each once"),
    ("streams=()", r"streams is \(\); it must be such as \('joint', 'bone'\)"),
    ("streams=joint,7", r"streams is \('joint', 7\); it must be such as \('joint', 'bone'\)"),
    ("streams=joint,joint", r"streams is \('joint', 'joint'\); it must be without repetition"),
    ("loss=focal", "loss is 'focal'; it must be 'package.module:function', or '' for the"),
    ("label_smoothing=-0.1", r"label_smoothing is -0.1; it must be in \[0, 1\)"),
    ("mixup=1e999", "mixup is inf; it must be 0 or more"),
    ("init_ignore=('',)", r"init_ignore is \('',\); it must be parts of the paths of tensors"),
    ("model.blocks=((),)", r"model.blocks is \(\(\),\); it must be"),
    ("augment.joint_dropout=2", r"joint_dropout must be a probability in \[0, 1\), not 2.0"),
    ("data.sampling=middle", "sampling 'middle' is unknown; expected one of loop, "),
    ("data.center=middle", "data.center is 'middle'; it must be of frame, first_frame"),
    ("label_smoothing=1", r"label_smoothing is 1.0; it must be in \[0, 1\)"),
    ("mixup=-0.1", "mixup is -0.1; it must be 0 or more"),
    ("streams=joint,knee", r"streams is \('joint', 'knee'\); it must be of joint, "),
    ("streams=joint,joint+bone", "streams is .* it must be of equal channels; train apart"),
    ("model.dtype=float64", "model.dtype is 'float64'; it must be float32 or bfloat16 unless"),
  ],
)
def test_a_value_that_makes_no_sense_is_refused(text, message):
  with pytest.raises(ConfigError, match=message):
    config_lib.validate(typed(text))


def test_the_largest_numbers_are_taken():
  config_lib.validate(typed(f"seed={2**32 - 1}", f"epochs={2**31 - 1}"))
  config_lib.validate(typed(f"seeds=0,{2**32 - 1}", f"min_steps_per_epoch={2**31 - 1}"))


def test_subjects_as_numpy_counts_them_are_refused_before_anything_is_written():
  config = typed("data.holdout_subjects=1,3")
  config_lib.validate(config)
  config.data.holdout_subjects = tuple(np.unique([3, 1]))  # which JSON does not take
  with pytest.raises(
    ConfigError, match=r"holdout_subjects is .* it must be whole numbers or texts"
  ):
    config_lib.validate(config)


def test_a_graph_of_another_count_of_joints_than_ntus_is_left_to_the_data():
  config_lib.validate(typed("model.graph=msr_action3d"))  # of 20


def test_part_attention_alone_needs_parts():
  arm = {"name": "arm", "joints": ["a", "b"], "bone_parents": [0, 0]}
  config = typed("model.attention=ja")
  assert config_lib.model_config(config, skeleton=arm).attention == "ja"
  with pytest.raises(ConfigError, match="parts"):
    config_lib.model_config(typed("model.attention=pa"), skeleton=arm)


@pytest.mark.parametrize(
  "change",
  [
    lambda c: c.update(epoch=3),
    lambda c: c["model"].update(widht=3),
    lambda c: c.update(epochs="3"),
    lambda c: c.update(streams="joint"),
    lambda c: c.update(data=[]),
    lambda c: c["model"].update(blocks=8),
    lambda c: c.update(seeds=functools.reduce(lambda deep, _: [deep], range(600))),
  ],
)
def test_a_config_that_was_damaged_on_the_disk_is_named(change, tmp_path):
  content = config_lib.load(tiny.CONFIG).to_dict()
  change(content)
  (tmp_path / "config.json").write_text(json.dumps(content))
  with pytest.raises(DataError, match=r"config\.json is damaged, or no config of this version"):
    config_lib.read(tmp_path / "config.json")


def test_a_runs_config_is_taken_as_a_file_of_configs_is(tmp_path, monkeypatch):
  config_lib.write(typed("model.width=12", "allow_config_change=1"), tmp_path / "config.json")
  again = config_lib.load(tmp_path / "config.json", [("seed", "7")])
  assert again.to_dict() == typed("model.width=12", "seed=7").to_dict()
  assert config_lib.name_of("runs/x/config.json") == "x" and config_lib.name_of("a/b.py") == "b"
  monkeypatch.chdir(tmp_path)
  assert config_lib.name_of("config.json") == tmp_path.name


def test_code_that_a_runs_config_names_is_imported_where_it_is_said_again(tmp_path):
  config_lib.write(typed("model.block_type=mine:Layer/ms"), tmp_path / "config.json")
  with pytest.raises(ConfigError, match=r"say so by --config.model.block_type=mine:Layer/ms"):
    config_lib.load(tmp_path / "config.json")
  changes = [("seed", "1"), ("model.block_type", "mine:Layer/ms")]
  assert config_lib.load(tmp_path / "config.json", changes).model.block_type == "mine:Layer/ms"
  lines = ("from mstgcn_jax.training import config", "get_config = config.default")
  (tmp_path / "mine.py").write_text("\n".join(lines))  # a program already
  assert config_lib.load(tmp_path / "mine.py", changes[1:]).model.block_type == "mine:Layer/ms"
  (tmp_path / "mine.py").write_text(  # which is code itself
    "from mstgcn_jax.training import config\n\ndef get_config():\n  c = config.default()\n"
    "  c.model.block_type = 'mine:Layer/ms'\n  return c"
  )
  assert config_lib.load(tmp_path / "mine.py").model.block_type == "mine:Layer/ms"
  ours = [("model.block_type", "ms")]
  assert config_lib.load(tmp_path / "config.json", ours).model.block_type == "ms"
  both = typed("model.block_type=mine:Layer/ms", "loss=mine:loss")
  config_lib.write(both, tmp_path / "config.json")
  with pytest.raises(ConfigError, match=r"own, 'mine:loss'; .* say so by --config.loss=mine:loss"):
    config_lib.load(tmp_path / "config.json", changes)
  changes.append(("loss", "mine:loss"))
  assert config_lib.load(tmp_path / "config.json", changes).loss == "mine:loss"


def test_the_folder_of_a_run_is_said_to_have_a_config(tmp_path):
  (tmp_path / "config.json").write_text("{}")
  path = re.escape(str(tmp_path / "config.json"))
  message = rf"is a folder; name the Python file \(\.py\), or {path}$"
  with pytest.raises(ConfigError, match=message):
    config_lib.load(tmp_path)


def test_a_config_named_without_its_ending_is_found_and_said(tmp_path):
  (tmp_path / "mine.py").write_text("")
  path = re.escape(str(tmp_path / "mine.py"))
  with pytest.raises(ConfigError, match=rf"mine does not exist, .*; did you mean {path}\?"):
    config_lib.load(tmp_path / "mine")


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (
      "def get_config():\n  return {'epochs': 3}",
      r"mine\.py: get_config\(\) returns {'epochs': 3}, not a",
    ),
    ("def config():\n  pass", r"mine\.py has no function get_config\(\)$"),
    ("def get_config():\n  raise ValueError('a\\n b')", r"mine\.py, line 2: ValueError: a b$"),
    ("from mstgcn_jax.errors import ConfigError\nraise ConfigError('as it is')", "^as it is$"),
    (
      "import ml_collections\nget_config = ml_collections.ConfigDict",
      r"mine\.py: the config has no field allow_config_change, .*, …; begin with config\.default",
    ),
    (
      "from mstgcn_jax import config\ndef get_config():\n  c = config.default().unlock()\n"
      "  c.note = 'of a run that could not be resumed'\n  return c",
      r"mine\.py: no such field: note$",
    ),
    (
      "from mstgcn_jax import config\ndef get_config():\n  c = config.default()\n"
      "  with c.ignore_type():\n    c.epochs = '3'\n  return c",
      r"mine\.py: epochs is '3'; it must be a whole number$",
    ),
  ],
)
def test_a_file_that_gives_no_config_is_named(tmp_path, content, said):
  (tmp_path / "mine.py").write_text(content)
  with pytest.raises(ConfigError, match=said):
    config_lib.load(tmp_path / "mine.py")


def test_a_file_is_read_as_it_is_now_and_its_errors_have_their_line(tmp_path, monkeypatch):
  lines = ("from mstgcn_jax import config", "def get_config():", "  c = config.default()", "  {}")
  text = "\n".join([*lines, "  return c"])
  monkeypatch.chdir(tmp_path)
  file = pathlib.Path("mine.py")
  for epochs in (1, 2, 3):  # within a second, and of one length
    file.write_text(text.format(f"c.epochs = {epochs}"))
    assert config_lib.load(file).epochs == epochs
  assert not pathlib.Path("__pycache__").exists()
  file.write_text(text.format("c.epochs = 1 / 0"))
  with pytest.raises(ConfigError, match=r"^config file mine\.py, line 4: ZeroDivisionError: div"):
    config_lib.load(file)
  file.write_text("import pathlib\nraise ValueError(pathlib.Path(__file__).is_absolute())")
  with pytest.raises(ConfigError, match=r"mine\.py, line 2: ValueError: True$"):
    config_lib.load(file)


def test_a_config_that_no_run_could_read_again_is_refused():
  config = config_lib.default().unlock()
  config.note = 3
  with pytest.raises(ConfigError, match=r"^no such field: note$"):
    config_lib.validate(config)
  del config.note, config.data.views
  with pytest.raises(ConfigError, match=r"^the config has no field data\.views; begin with"):
    config_lib.validate(config)


def test_a_mistyped_field_in_a_file_of_ones_own_is_no_new_one():
  with pytest.raises(AttributeError, match="epoch"):
    config_lib.default().epoch = 3


def test_another_number_of_epochs_is_another_computation_where_the_rate_knows_the_end():
  differences = lambda *texts: config_lib.differences(
    typed("epochs=5", *texts), typed("epochs=6", *texts)
  )
  assert differences() == [] and differences("optimizer.schedule=cosine") == ["epochs: 5 -> 6"]


def test_all_fields_but_those_of_paths_intervals_and_devices_make_another_computation():
  others = {int: 77, float: 0.77, str: "other", tuple: (77,), type(None): 77}
  known = {"model.network": "stgcn", "optimizer.name": "adamw", "optimizer.schedule": "cosine"}
  known["optimizer.decay_mask"] = "weights"
  old, same = config_lib.default(), []
  for name, value in config_lib.flatten(old.to_dict()).items():
    other = not value if type(value) is bool else known.get(name, others.get(type(value)))
    changed = config_lib.default()
    with changed.ignore_type():
      changed.update_from_flattened_dict({name: other})
    if not config_lib.differences(old, changed):
      same.append(name)
  assert sorted(same) == [
    *("allow_config_change", "data.dir", "early_stopping", "epochs", "eval_batch_size"),
    *("eval_every", "heartbeat_timeout", "model.remat", "profile_steps", "save_every_steps"),
    *("seeds", "stream_devices"),
  ]


def test_numbers_and_nouns_agree():
  assert [words.counted(n, "clip") for n in (0, 1, 1200)] == ["0 clips", "1 clip", "1,200 clips"]
  assert words.counted(2, "class") == "2 classes"


def test_a_stream_that_doubles_channels_needs_an_even_number_of_them():
  config = config_lib.default()
  config.streams, config.model.blocks = ("joint+bone",), ((7, 8, False, 1),)
  with pytest.raises(ConfigError, match=r"blocks is \(\(7.* even .*joint\+bone doubles a joint's"):
    config_lib.validate(config)
  config.model.blocks = ((6, 8, False, 1),)
  config_lib.validate(config)
