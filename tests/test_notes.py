"""What is said at the start of a run; on the tiny experiment."""

import dataclasses

import jax
import pytest
import tiny
from test_config import typed

from mstgcn_jax import files, skeletons
from mstgcn_jax.training import config as config_lib
from mstgcn_jax.training import notes
from mstgcn_jax.training import workdir as workdir_lib
from mstgcn_jax.training.experiment import set_up


def test_the_start_says_what_it_runs_on_and_what_has_no_effect(tiny_data):
  changes = {"data.num_persons": 2, "optimizer.schedule": "cosine", "model.dtype": "bfloat16"}
  run = set_up(tiny.config(tiny_data, **changes))
  assert f"on {jax.device_count()} cpu device" in notes.describe(run, 0, 18)
  assert "27 training, 27 evaluation clips, 3 classes" in notes.describe(run, 0, 18)
  assert notes.of_run(run) == [
    "optimizer.decay_epochs has no effect: optimizer.schedule is 'cosine'",
    "data.num_persons is 2, but no clip has more than 1 person: the others stay empty and cost as "
    "much as those who are there",
    "model.dtype is bfloat16 on a CPU: most are slower in it, and with jaxlib from 0.11 on some "
    "networks come out wrong (docs/networks.md)",
  ]


def test_devices_that_no_stream_is_placed_on_are_mentioned(tiny_data, monkeypatch):
  run = set_up(tiny.config(tiny_data, streams=("joint", "bone"), stream_devices=1))
  before, here = notes.of_run(run), len({m.devices.flat[0] for m in run.meshes.values()})
  monkeypatch.setattr(jax, "device_count", lambda: here + 3)
  said = f"3 of {here + 3} devices stay idle: stream_devices is 1, for 2 streams"
  assert set(notes.of_run(run)) - set(before) == {said}


def test_the_start_says_what_these_data_do_not_allow(tmp_path):
  bare = skeletons.Skeleton("bare", tuple("abcdefghijklmnopqrst"), bone_parents=(0,) * 20)
  tiny.prepare(tmp_path, skeleton=bare, center=None)
  asked = {"data.center": "first_frame", "data.body_size": True, "augment.mirror": 0.5}
  fitted = {"augment.dimensions": 0, "augment.rotation": (0.3, 0.3, 0.3)}
  run = set_up(tiny.config(tmp_path, **asked, **fitted))
  assert notes.of_run(run) == [
    "data.center has no effect: the clips of tiny are not centred",
    "data.body_size has no effect: the clips of tiny are not centred",
    "augment.mirror has no effect: the layout bare names no `mirror` pairs",
    "augment.rotation has an effect about z only: the clips are taken to be flat",
  ]


def test_evaluation_clips_that_are_copies_of_training_clips_are_mentioned(tiny_data):
  run = set_up(tiny.config(tiny_data))
  copied = dataclasses.replace(run.data_set, copies=((9, 0),))  # subject 1 trains, 2 does not
  (line,) = set(notes.of_run(dataclasses.replace(run, data_set=copied))) - set(notes.of_run(run))
  assert "1 of 27 evaluation clips are copies of training clips (a1_s2_t1 is a1_s1_t1)" in line


def test_held_out_clips_that_are_copies_of_training_clips_are_mentioned(tiny_data):
  run = set_up(tiny.config(tiny_data, **{"data.holdout_subjects": (3,)}))
  assert "18 training, 27 evaluation and 9 held-out clips" in notes.describe(run, 0, 18)
  row, of = int(run.split.holdout[0]), int(run.split.train[0])
  copied = dataclasses.replace(run.data_set, copies=((max(row, of), min(row, of)),))
  (line,) = set(notes.of_run(dataclasses.replace(run, data_set=copied))) - set(notes.of_run(run))
  assert "1 of 9 held-out clips are copies of training clips (a1_s3_t1 is a1_s1_t1)" in line


def test_classes_without_a_training_clip_are_named(tiny_data):
  run = set_up(tiny.config(tiny_data))
  labels = run.data_set.table["label"]
  train = run.split.train[labels[run.split.train] != 1]
  split = dataclasses.replace(run.split, train=train)
  (line,) = set(notes.of_run(dataclasses.replace(run, split=split))) - set(notes.of_run(run))
  assert line.startswith("1 class evaluated without a training clip: medium; hardly any of their")


def test_what_init_from_learned_of_other_joints_classes_and_streams_is_mentioned(
  finished, tiny_data, tmp_path
):
  facts = workdir_lib.read(finished)
  said = lambda **changes: notes.of_start(
    set_up(tiny.config(tiny_data, init_from=str(tmp_path), **changes))
  )
  facts.write(tmp_path)
  assert said() == []
  files.write_json(tmp_path / "config.json", files.read_json(finished / "config.json"))
  assert said() == []
  assert said(**{"data.normalize": True, "data.body_size": True}) == [
    "init_from was trained on clips with data.body_size=False; these are with data.body_size=True",
    "init_from was trained on clips with data.normalize=False; these are with data.normalize=True",
  ]
  of_another_version = files.read_json(finished / "config.json") | {"of_another_version": 1}
  files.write_json(tmp_path / "config.json", of_another_version)
  assert said(**{"data.normalize": True}) == []  # whose tensors are taken all the same
  dataclasses.replace(facts, units="px").write(tmp_path)
  assert said() == []  # these clips' units are not known
  run = set_up(tiny.config(tiny_data, init_from=str(tmp_path)))
  in_metres = dataclasses.replace(run.data_set, coordinates={"units": "m"})
  assert notes.of_start(dataclasses.replace(run, data_set=in_metres)) == [
    "init_from was trained on clips in px; these are in m"
  ]
  joints = facts.model.skeleton.joints
  shuffled = dataclasses.replace(facts.model.skeleton, joints=joints[::-1], name="shuffled")
  other = dataclasses.replace(
    facts,
    model=dataclasses.replace(facts.model, skeleton=shuffled),
    class_names=facts.class_names[::-1],
    streams=("bone",),
  )
  other.write(tmp_path)
  layout, stream, classes = said()
  assert "joints of shuffled, these clips those of utd_mhad" in layout
  assert stream == "init_from was trained on bone, not joint" and "classes" in classes
  assert said(init_ignore=("classifier",)) == [layout, stream]
  assert said(init_ignore=("classifier", "norm_in", "learned_adjacency")) == [stream]
  dataclasses.replace(facts, rotated=True, joint_at_zero=None, scored=True).write(tmp_path)
  turned, centred, scored = said()
  assert turned.endswith("on clips turned upright; these are not turned")
  assert centred.endswith("on clips not centred; these are centred at joint 2")
  assert scored.endswith("on clips of coordinates and a score; these are of coordinates alone")
  other.write(tmp_path)
  assert said(**{"model.activation": "swish"})[0] == (
    "init_from's network is another one (activation: relu in the run, swish here)"
  )
  dataclasses.replace(other, data_name=None).write(tmp_path)  # imported: its classes are numbers
  assert said() == [layout, stream]


@pytest.mark.parametrize(
  ("texts", "said"),
  [
    ([], None),
    (["optimizer.schedule=cosine"], "optimizer.decay_epochs has no effect"),  # (2,) in this config
    (
      ["optimizer.decay_epochs=2,3,9"],
      "optimizer.decay_epochs has no effect at 3, 9: epochs count",
    ),
    (["optimizer.name=adam", "optimizer.momentum=0.5"], "optimizer.momentum has no effect"),
    (["optimizer.name=adamw", "optimizer.nesterov=False"], "optimizer.nesterov has no effect"),
    (
      ["optimizer.decay_mask=weights", "optimizer.weight_decay=0"],
      "optimizer.decay_mask has no effect",
    ),
    (["optimizer.warmup_epochs=3"], "the learning rate rises until the end"),
    (["epochs=1", "optimizer.warmup_epochs=1", "optimizer.decay_epochs=0"], None),
    (
      ["optimizer.freeze_adjacency_through=2"],
      "learned adjacencies never learn",
    ),  # of epochs 0 to 2
    (
      ["optimizer.freeze_adjacency_through=0", "model.edge_weights=fixed"],
      "optimizer.freeze_adjacency_through has no effect: model.edge_weights is 'fixed'",
    ),
    (["model.width=64"], "model.width has no effect: model.blocks says"),
    (["augment.openpose_match=1"], "augment.openpose_match has no effect"),  # of one person
    (["augment.openpose_match=1", "data.num_persons=2"], None),
    (["init_ignore=classifier"], "init_ignore has no effect: init_from is empty"),
    (["init_ignore=classifier", "init_from=runs/other"], None),
  ],
)
def test_what_has_no_effect_is_said(texts, said):
  lines = notes.of_config(typed(*texts))
  assert len(lines) == (said is not None) and all(line.startswith(said) for line in lines)


def test_an_adjacency_that_learns_whatever_its_edges_weigh_can_be_frozen():
  frozen = ["optimizer.freeze_adjacency_through=0", "model.edge_weights=fixed"]
  for block_type in ("ctrgcn", "agcn/ms"):
    lines = notes.of_config(
      typed(*frozen, "model.network=ctrgcn", f"model.block_type={block_type}")
    )
    assert not any("freeze_adjacency_through" in line for line in lines)


ONE = ((3, 8, False, 1),)


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"network": "agcn", "edge_weights": "fixed", "kernel_size": 5}, ["edge_weights"]),
    ({"network": "ctrgcn", "kernel_size": 5, "embedding": 4, "gates": False},
     ["gates", "kernel_size"]),
    ({"network": "dgstgcn", "subsets": 4, "branches": ("1x1",)}, []),
    ({"network": "dgstgcn", "subsets": 4, "strategy": "spatial"}, ["subsets"]),
    ({"network": "pyskl_msg3d", "windows": (3,), "gcn_scales": 4, "subsets": 4}, ["subsets"]),
    ({"block_type": "ctrgcn/sep", "kernel_size": 5, "expand_ratio": 2}, []),
    ({"spatial_scales": 2, "temporal_scales": 2, "layer_type": "sep", "expand_ratio": 2}, []),
    ({"block_type": "basic", "spatial_scales": 2, "layer_type": "sep", "reduction": 4},
     ["spatial_scales", "layer_type", "reduction"]),
    ({"attention": "pa", "reduction": 4}, []),
    ({"network": "tcn:TCN", "reduction": 4}, []),
    # Block 0 has no attention, no dropout and, in MST-GCN, a type of its own.
    ({"blocks": ONE, "attention": "stja", "reduction": 4, "block_type": "sep", "dropout": 0.5},
     ["block_type", "attention", "reduction"]),
    ({"blocks": ONE, "spatial_scales": 2, "edge_weights": "fixed"}, ["spatial_scales"]),
    ({"blocks": ONE, "network": "stgcn", "block_type": "sep", "dropout": 0.5}, ["dropout"]),
  ],
)  # fmt: skip
def test_a_field_that_no_layer_of_the_network_reads_is_named(fields, said):
  config = config_lib.default()
  config.model.update(fields)
  lines = [line for line in notes.of_config(config) if line.startswith("model.")]
  assert [line.split()[0] for line in lines] == [f"model.{field}" for field in said]
