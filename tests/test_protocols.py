"""Who trains and who evaluates."""

import numpy as np
import pytest
from prepared import prepare, random_clips

from data_prep.readers.interface import Clip
from mstgcn_jax.data import protocols
from mstgcn_jax.errors import ConfigError


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
  return prepare(tmp_path_factory.mktemp("data"), random_clips(40))


def with_facts(folder, facts):
  """A data set of a clip for each of some facts."""
  person = np.ones((1, 25, 3), np.float32)
  return prepare(folder, [Clip(f"c{i}", 0, [person], fact) for i, fact in enumerate(facts)])


def subjects(data_set, rows):
  return set(data_set.table["subject"][rows].tolist())


@pytest.mark.parametrize(
  "protocol",
  ["xsub", "xview", "xset", "cross_subject", "kfold", "kfold:k=3,fold=2", "leave_one_out:value=3"],
)
def test_every_clip_is_on_exactly_one_side(data_set, protocol):
  train, evaluate = protocols.split(data_set, protocol)
  assert sorted([*train, *evaluate]) == list(range(40))
  assert len(train) and len(evaluate)


def test_xsub_trains_on_the_published_performers(data_set, tmp_path):
  train, evaluate = protocols.split(data_set, "xsub")
  assert subjects(data_set, train) == {1, 2, 4, 5}
  assert subjects(data_set, evaluate) == {3, 6, 7}
  everybody = with_facts(tmp_path, [{"subject": s} for s in range(1, 107)])
  train, evaluate = protocols.split(everybody, "xsub")
  # Shahroudy et al. 2016, section 3.2.1
  of_60 = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
  # Liu et al. 2020, section 4.2, those beyond the first 40
  of_120 = {45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85}
  of_120 |= {86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103}
  assert subjects(everybody, train) == of_60 | of_120
  assert len(train) + len(evaluate) == 106


def test_xview_trains_on_cameras_two_and_three(data_set):
  train, evaluate = protocols.split(data_set, "xview")
  assert set(data_set.table["camera"][train].tolist()) == {2, 3}
  assert set(data_set.table["camera"][evaluate].tolist()) == {1}


def test_xset_trains_on_even_setups(data_set):
  train, evaluate = protocols.split(data_set, "xset")
  assert set(data_set.table["setup"][train].tolist()) == {2, 4}
  assert set(data_set.table["setup"][evaluate].tolist()) == {1, 3}


def test_cross_subject_trains_on_odd_subjects(data_set):
  train, evaluate = protocols.split(data_set, "cross_subject")
  assert subjects(data_set, train) == {1, 3, 5, 7}
  assert subjects(data_set, evaluate) == {2, 4, 6}


@pytest.mark.parametrize("k", [3, 7])
def test_the_folds_evaluate_every_subject_once(data_set, k):
  sides = [
    subjects(data_set, protocols.split(data_set, f"kfold:k={k},fold={i}")[1]) for i in range(k)
  ]
  assert sorted(s for side in sides for s in side) == [1, 2, 3, 4, 5, 6, 7]


def test_the_folds_are_of_the_values_whatever_they_are(tmp_path):
  data_set = with_facts(tmp_path, [{"subject": name} for name in ("ann", "bob", "cid")])
  rows = [protocols.split(data_set, f"kfold:k=3,fold={i}")[1].tolist() for i in range(3)]
  assert sorted(rows) == [[0], [1], [2]]


def test_what_a_protocol_does_not_say_is_the_default(data_set):
  for short, long in (
    ("kfold", "kfold:column=subject,k=5,fold=0,seed=0"),
    ("leave_one_out:value=3", "leave_one_out:column=subject,value=3"),
  ):
    for a, b in zip(protocols.split(data_set, short), protocols.split(data_set, long), strict=True):
      np.testing.assert_array_equal(a, b)


def test_of_many_values_some_are_named(tmp_path):
  def message(subjects):
    data_set = with_facts(tmp_path / str(subjects), [{"subject": i} for i in range(subjects)])
    with pytest.raises(ConfigError) as error:
      protocols.split(data_set, "leave_one_out:value=99")
    return str(error.value)

  shown = "no clip has subject '99'; there are " + ", ".join(map(str, range(20)))
  assert message(20) == f"leave_one_out: {shown}"
  assert message(21) == f"leave_one_out: {shown}, …"


def test_another_seed_gives_other_folds(data_set):
  folds = {
    tuple(protocols.split(data_set, f"kfold:k=2,seed={seed}")[1].tolist()) for seed in range(8)
  }
  assert len(folds) > 1


def test_leaving_one_out_works_on_any_column(data_set):
  _, evaluate = protocols.split(data_set, "leave_one_out:column=camera,value=2")
  assert set(data_set.table["camera"][evaluate].tolist()) == {2}


def test_a_value_may_hold_a_comma(tmp_path):
  data_set = with_facts(tmp_path, [{"subject": "Doe, Jane"}, {"subject": "Roe"}])
  for protocol in ("column=subject,value=Doe, Jane", "value=Doe, Jane,column=subject"):
    _, evaluate = protocols.split(data_set, f"leave_one_out:{protocol}")
    assert evaluate.tolist() == [0]


def test_all_trains_and_evaluates_on_everything(data_set):
  train, evaluate = protocols.split(data_set, "all")
  np.testing.assert_array_equal(train, np.arange(40))
  np.testing.assert_array_equal(evaluate, np.arange(40))


def test_given_splits_come_from_their_column(tmp_path):
  pairs = [("train", ""), ("val", "train"), ("", "test")]
  data_set = with_facts(tmp_path, [{"split": a, "split_xsub": b} for a, b in pairs])
  assert [side.tolist() for side in protocols.split(data_set, "given")] == [[0], [1]]
  other = protocols.split(data_set, "given:column=split_xsub")
  assert [side.tolist() for side in other] == [[1], [2]]


@pytest.mark.parametrize(
  ("protocol", "message"),
  [
    ("xsubb", "'xsubb' is unknown; expected one of xsub, xview"),
    ("given", "no column 'split'; it has name, label, persons, frames, subject"),
    ("kfold:folds=3", "option 'folds=3' is unknown; options: column=subject, k=5"),
    ("kfold:k", "option 'k' is unknown; options: column=subject, k=5, fold=0, seed=0"),
    ("xsub:k=3", "option 'k=3' is unknown; options: none"),
    ("kfold:k=1", "k=1 is not possible with the 7 values of column 'subject'; expected 2 to 7"),
    ("kfold:fold=-1", "fold=-1 is outside 0..4"),
    ("kfold:k=many", "k must be a whole number, not 'many'"),
    ("kfold:k=9", "k=9 is not possible with the 7 values of column 'subject'"),
    ("kfold:k=3,fold=3", "fold=3 is outside 0..2"),
    ("kfold:seed=-1", "seed=-1 is not possible; expected 0 or more"),
    ("leave_one_out:value=12", "no clip has subject '12'; there are 1, 2, 3"),
  ],
)
def test_a_wrong_protocol_says_what_is_possible(data_set, protocol, message):
  with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
    protocols.split(data_set, protocol)


@pytest.mark.parametrize("protocol", ["xsub", "cross_subject"])
def test_subjects_by_name_are_refused_where_numbers_are_needed(tmp_path, protocol):
  data_set = with_facts(tmp_path, [{"subject": "ann"}, {"subject": "bob"}])
  with pytest.raises(ConfigError, match="texts there, such as 'ann': take kfold:column=subject"):
    protocols.split(data_set, protocol)
