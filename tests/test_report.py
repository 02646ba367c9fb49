"""The page of runs: what it holds, that names stay text, that it answers to clicks."""

import base64
import html.parser
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from prepared import NTU, prepare
from test_classifier import write_run as write_network

from data_prep.readers.interface import Clip
from mstgcn_jax import files
from mstgcn_jax.commands import report as command
from mstgcn_jax.data.data_set import open_data_set
from mstgcn_jax.data.temporal_sampling import Sampling
from mstgcn_jax.errors import ConfigError, DataError
from mstgcn_jax.evaluation.scores import Scores
from mstgcn_jax.model import ModelConfig
from mstgcn_jax.use import explain, report
from mstgcn_jax.use.classifier import Classifier
from mstgcn_jax.use.report import decided

EVIL = "</script><img src=x onerror=\"document.title='bad'\">"
BROWSER = os.environ.get("CHROMIUM") or next(
  filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Clip, said with the probability; in class order 0, 1, 2.
LOGITS = np.log(
  [[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.8, 0.1, 0.1], [0.05, 0.05, 0.9], [0.4, 0.35, 0.25]]
).astype(np.float32)
LABELS = np.array([0, 1, 1, 2, 1])
NAMES = ["a1_s1_t1", "a2_s1_t1", "a2_s2_t1", "a3_s1_t1", "a2_s3_t1"]
UNDECIDED = "nothing of what decided the clips"


def write_run(workdir, data_dir, width=16):
  """What a finished run leaves of what the page reads."""
  workdir.mkdir(parents=True)
  config = ModelConfig(3, "utd_mhad", num_persons=1)
  facts = {
    "model": config.to_dict(),
    "class_names": ["slow", EVIL, "fast"],
    "streams": ["joint"],
    "input": {"window": 12, "num_persons": 1, "sampling": "loop"},
  }
  files.write_json(workdir / "model.json", facts)
  data = {"dir": str(data_dir), "name": "tiny", "protocol": "all"}
  files.write_json(workdir / "config.json", {"data": data, "model": {"width": width}})
  Scores(np.array(NAMES), LABELS, LOGITS).save(workdir / "scores.npz", step=4)
  (workdir / "metrics.csv").write_text(
    "step,epoch,split,stream,loss,top1,top5,mean_class,learning_rate,grad_norm\n"
    "1,1,train,joint,2.0,0.25,,,0.1,1\n2,1,train,joint,1.0,0.5,,,0.1,1\n"
    "2,1,eval,joint,1.5,0.4,1.0,0.4,,\n4,2,eval,joint,0.7,0.6,1.0,0.6,,\n"
  )
  return workdir


@pytest.fixture
def run(tmp_path, tiny_data):
  return write_run(tmp_path / "runs" / "first", tiny_data)


class _Elements(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.tags, self.scripts, self.inside = [], [], False
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    self.inside = tag == "script"
    if self.inside:
      self.scripts.append("")

  def handle_endtag(self, tag):
    self.inside = False

  def handle_data(self, data):
    if self.inside:
      self.scripts[-1] += data


def content(path):
  return json.loads(_Elements(path.read_text(encoding="utf-8")).scripts[0])


def test_the_page_holds_the_figures_of_the_run(run, tmp_path):
  (note,) = report.write([run], tmp_path / "report.html")
  assert note.startswith(f"first: {UNDECIDED}")  # there is no checkpoint
  (found,) = content(tmp_path / "report.html")
  assert found["figures"]["top1"] == pytest.approx(3 / 5)
  assert "top5" not in found["figures"]  # of three classes it says nothing
  assert found["confusion"] == [[1, 0, 0], [2, 1, 0], [0, 0, 1]]
  assert found["settings"]["model.width"] == "16"
  train, evaluated = found["curves"]
  assert (train["epoch"], train["loss"]) == ([0.5, 1], [2, 1])
  assert (evaluated["epoch"], evaluated["top1"]) == ([1, 2], [0.4, 0.6])


def test_curves_are_of_training_and_evaluation(run):
  with open(run / "metrics.csv", "a") as file:
    file.write("4,2,holdout,joint,0.6,0.7,1.0,0.7,,\n")
  content, _ = report.gather(run, "run", drawn=1)
  assert [curve["split"] for curve in content["curves"]] == ["train", "eval"]


def test_mistakes_come_first_the_surest_before_the_others(run, tmp_path):
  report.write([run], tmp_path / "report.html")
  clips = content(tmp_path / "report.html")[0]["clips"]
  assert [clip[0] for clip in clips[:3]] == ["a2_s2_t1", "a2_s3_t1", "a1_s1_t1"]
  assert clips[0] == ["a2_s2_t1", 1, 0, pytest.approx(0.8)]


def test_the_pairs_that_are_confused_come_with_a_clip_of_each(run, tmp_path):
  report.write([run], tmp_path / "report.html")
  (pair,) = content(tmp_path / "report.html")[0]["pairs"]
  assert (pair["label"], pair["said"], pair["times"]) == (1, 0, 2)
  assert pair["wrong"][0] == "a2_s2_t1" and pair["right"][0] == "a1_s1_t1"  # the surest of each


def test_the_most_confused_pair_comes_first_and_may_lack_a_right_clip():
  labels = np.array([0, 0, 1, 1, 1, 2])
  predicted = np.array([0, 1, 2, 2, 0, 0])
  confusion = np.array([[1, 1, 0], [1, 0, 2], [1, 0, 0]])
  worst = report.worst_first(predicted == labels, np.array([0.9, 0.8, 0.5, 0.7, 0.6, 0.4]))
  pairs = report.most_confused(confusion, labels, predicted, worst)
  assert [(p.label, p.said, p.times) for p in pairs] == [(1, 2, 2), (0, 1, 1), (1, 0, 1), (2, 0, 1)]
  assert (pairs[0].wrong, pairs[0].right) == (3, None)
  assert (pairs[2].wrong, pairs[2].right) == (4, 0)


def test_calibration_by_hand():
  sure = np.array([0.95, 0.93, 0.55, 1.0])
  right = np.array([True, True, False, True])
  bins, error = report.calibration(sure, right)
  assert len(bins) == 15
  assert bins[14] == {"clips": 2, "sure": pytest.approx(0.975), "right": 1}
  assert bins[13] == {"clips": 1, "sure": pytest.approx(0.93), "right": 1}  # up to 14 / 15
  assert bins[8] == {"clips": 1, "sure": pytest.approx(0.55), "right": 0}
  assert error == pytest.approx(0.5 * 0.025 + 0.25 * 0.07 + 0.25 * 0.55)


def test_names_are_text_and_the_page_reaches_for_nothing(run, tmp_path):
  report.write([run], tmp_path / "report.html")
  elements = _Elements((tmp_path / "report.html").read_text(encoding="utf-8"))
  tags = [tag for tag, _ in elements.tags]
  assert tags.count("script") == 2 and not {"img", "link", "iframe"} & set(tags)
  assert not any({"src", "href"} & set(attributes) for _, attributes in elements.tags)
  policies = [a["content"] for tag, a in elements.tags if tag == "meta" and "http-equiv" in a]
  assert policies[0].startswith("default-src 'none'")
  assert content(tmp_path / "report.html")[0]["classes"][1] == EVIL


def test_a_clip_stands_upright_and_faces_who_looks(tmp_path):
  joints = np.zeros((4, 25, 3), np.float32)
  joints[:, 0] = 0.01, 0, 0.5
  joints[:, 1] = 0.01, 0, 1  # z is up, as data are prepared, and the right hand is at +x
  joints[:, 3] = 0.01, 0, 1.6
  joints[:, 15] = 0.01, -0.2, 0.1
  joints[:, 7], joints[:, 11] = (-0.5, 0, 1), (0.5, 0, 1)
  data_set = prepare(tmp_path, [Clip("a", 0, [joints], {})])
  drawn = report.drawing(data_set, 0)
  points = np.frombuffer(base64.b64decode(drawn["points"]), "<i2").reshape(1, 4, 25, 3)
  assert drawn["shape"] == [1, 4, 25] and drawn["step"] == 1 and not drawn["flat"]
  assert points[0, 0, 3, 1] > points[0, 0, 1, 1] > points[0, 0, 0, 1]
  assert points[0, 0, NTU.joints.index("right_hand"), 0] < 0 < points[0, 0, 7, 0]
  assert (points[0, 0, 5] == -32768).all()  # untracked


def test_the_joint_that_arrays_are_centred_on_is_drawn(tmp_path):
  joints = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
  joints[:, NTU.center] = 0
  data_set = prepare(tmp_path, [Clip("a", 0, [joints, joints], {})], rotated=None, center=None)
  drawn = report.drawing(data_set, 0)
  points = np.frombuffer(base64.b64decode(drawn["points"]), "<i2").reshape(2, 4, 25, 3)
  assert (points[0] != -32768).all()
  assert (points[1, :, NTU.center] == -32768).all()  # the other one's is not known


def test_a_clip_that_shows_nobody_in_the_frames_that_are_drawn_is_drawn(tmp_path):
  joints = np.zeros((100, 25, 3), np.float32)  # of which every second frame is
  joints[1::2] = np.random.default_rng(0).normal(size=(25, 3))
  drawn = report.drawing(prepare(tmp_path, [Clip("a", 0, [joints], {})]), 0)
  points = np.frombuffer(base64.b64decode(drawn["points"]), "<i2").reshape(drawn["shape"] + [3])
  assert drawn["shape"] == [1, 50, 25] and (points == -32768).all()


def test_the_clips_of_the_data_set_are_drawn(run, tmp_path, tiny_data):
  report.write([run], tmp_path / "report.html")
  moving = content(tmp_path / "report.html")[0]["moving"]
  assert len(moving["clips"]) == 5
  data_set = open_data_set(tiny_data / "tiny")
  frames = data_set.table["frames"][data_set.table["name"].tolist().index("a2_s2_t1")]
  assert moving["clips"]["a2_s2_t1"]["shape"] == [1, frames, 20]


def test_without_its_data_set_the_page_says_what_it_lacks(tmp_path):
  run = write_run(tmp_path / "run", tmp_path / "nowhere")
  (run / "metrics.csv").unlink()
  notes = report.write([run], tmp_path / "report.html")
  assert [note[:29] for note in notes] == [
    "run: no curves, metrics.csv i",
    "run: no moving skeletons, its",
  ]
  assert content(tmp_path / "report.html")[0]["moving"] == {}


def decoded(clip):
  return np.frombuffer(base64.b64decode(clip["weights"]), np.uint8).reshape(clip["shape"])


@pytest.fixture
def network(tmp_path, tiny_data):
  """A run with its network, as it is initialised, and its scores."""
  run = write_run(tmp_path / "runs" / "network", tiny_data)
  class_names = files.read_json(run / "model.json")["class_names"]
  write_network(run, center=2, skeleton="utd_mhad", num_persons=1)
  facts = files.read_json(run / "model.json")
  files.write_json(run / "model.json", facts | {"class_names": class_names})
  Scores(np.array(NAMES), LABELS, LOGITS).save(run / "scores.npz", step=0)
  return run


def test_what_decided_is_shown_on_every_clip(network, tmp_path, tiny_data):
  assert report.write([network], tmp_path / "report.html") == []
  moving = content(tmp_path / "report.html")[0]["moving"]
  assert "undecided" not in moving
  assert all(decoded(clip).max() == 255 for clip in moving["clips"].values())
  # This one's class 0 was said; a recording of more than 12 frames is cropped at its centre.
  classify, data_set = Classifier(network), open_data_set(tiny_data / "tiny")
  row = data_set.table["name"].tolist().index("a2_s2_t1")
  window = explain.gradient_times_input(classify, classify.from_data_set(data_set, row), 0)
  frames = data_set.table["frames"][row]
  expected = np.zeros((1, frames, 20))
  begin = max(0, frames - 12) // 2
  expected[:, begin : begin + 12] = np.maximum(window, 0) / window.max()
  clip = moving["clips"]["a2_s2_t1"]
  np.testing.assert_allclose(decoded(clip) / 255, expected, atol=1 / 255)  # whole numbers
  assert clip["decided"] == explain.in_words(expected, data_set.skeleton, 3)
  assert clip["decided"].count(" %") == 4 and f"of {frames} " in clip["decided"]


def test_without_its_network_the_clips_still_move(network, tmp_path):
  Scores(np.array(NAMES), LABELS, LOGITS).save(network / "scores.npz", step=7)
  (note,) = report.write([network], tmp_path / "report.html")
  assert UNDECIDED in note and "7" in note
  moving = content(tmp_path / "report.html")[0]["moving"]
  assert moving["undecided"] and "weights" not in moving["clips"]["a2_s2_t1"]
  Scores(np.array(NAMES), LABELS, LOGITS).save(network / "scores.npz")
  (note,) = report.write([network], tmp_path / "report.html")
  assert "does not say of which step it is" in note


def test_a_windows_importance_lies_on_the_frames_that_it_shows():
  body = np.ones((4, 2, 3), np.float32)
  short = body[:2] * [[[1]], [[0]]]  # nobody in its second frame
  window = np.arange(1, 13.0).reshape(2, 6, 1) * [1, 10]
  found = decided.in_recording(window, [body, short, body], Sampling(6, 2))
  # Frames 0, 1, 2, 3, 0, 1 of the first, who loops; 0, 1, 0, 1, 0, 1 of the second.
  assert found[0, :, 0].tolist() == [1 + 5, 2 + 6, 3, 4] and found[0, 0, 1] == 60
  assert found[1, :, 0].tolist() == [7 + 9 + 11, 0, 0, 0]
  assert not found[2].any()  # beyond the window's people


def test_between_the_frames_of_a_window_importance_lies_between():
  body = np.ones((9, 1, 3), np.float32)
  sampling = Sampling(3, 1, kind="uniform")  # frames 1, 4, 7
  found = decided.in_recording(np.array([[[3.0], [6.0], [0.0]]]), [body], sampling)
  np.testing.assert_allclose(found[0, :, 0], [0, 3, 4, 5, 6, 4, 2, 0, 0])


def test_of_several_streams_the_fused_score_is_explained(network, tiny_data, monkeypatch):
  sampling, data_set = Classifier(network).sampling, open_data_set(tiny_data / "tiny")
  facts = files.read_json(network / "model.json")
  files.write_json(network / "model.json", facts | {"streams": ["joint", "joint_motion"]})

  class Fake:
    def __init__(self, stream):
      self.stream, self.sampling = stream, sampling

    def from_data_set(self, data_set, row):
      return self.sampling.windows(data_set.read([row])[0])

  def importance(classifiers, weights, clip, target):
    found = np.zeros(clip.shape[:3])
    for classify, weight in zip(classifiers, weights, strict=True):
      found[0, :, 3 if classify.stream == "joint" else 5] = weight
    return found

  of_streams = lambda workdir, names, *, checkpoint, trust: {name: Fake(name) for name in names}
  monkeypatch.setattr(decided, "of_streams", of_streams)
  monkeypatch.setattr(explain, "fused_gradient_times_input", importance)
  (found,) = decided.of_clips(network, data_set, [0], [0], step=0)
  frame = len(found[0]) // 2
  # Motion counts half.
  assert (found[0, frame, 3], found[0, frame, 5], found[0, frame].sum()) == (1, 0.5, 1.5)


def test_a_clip_may_have_a_name_that_every_object_has():
  if (node := shutil.which("node")) is None:
    pytest.skip("nothing is wrong: this test needs Node.js")
  page = (pathlib.Path(report.__file__).parent / "page.js").read_text()
  (line,) = (line for line in page.splitlines() if line.startswith("const moves ="))
  code = f"{line} const run = {{ moving: {{ clips: {{ a: 1 }} }} }};"
  code += "console.log(moves(run, 'a'), moves(run, 'constructor'))"
  done = subprocess.run([node, "-e", code], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ["true", "false"]


@pytest.mark.parametrize("content", [[], {"data": []}])
def test_a_config_that_is_none_is_named(run, tmp_path, content):
  files.write_json(run / "config.json", content)
  with pytest.raises(DataError, match=r"config\.json is damaged"):
    report.write([run], tmp_path / "report.html")


def test_of_imported_weights_the_evaluation_is_reported(tmp_path):
  workdir = write_run(tmp_path / "run", tmp_path)
  evaluated = workdir / "evaluation_newest"
  evaluated.mkdir()
  (workdir / "scores.npz").rename(evaluated / "scores.npz")
  with pytest.raises(DataError, match=r"run.scores\.npz does not exist"):  # a run that goes on
    report.gather(workdir, "run", drawn=0)
  (workdir / "metrics.csv").unlink()
  found, missing = report.gather(workdir, "run", drawn=0)
  assert found["figures"]["top1"] == 0.6 and "no curves, metrics.csv is not there" in missing


def test_what_is_broken_is_named(run, tmp_path):
  out = tmp_path / "report.html"
  with pytest.raises(ConfigError, match=r"must end in \.html"):
    report.write([run], tmp_path / "report.pdf")
  with pytest.raises(ConfigError, match="named twice"):
    report.write([run, run], out)
  with pytest.raises(DataError, match="nowhere"):
    report.write([run], out, data_set=tmp_path / "nowhere")
  (run / "metrics.csv").write_text("step,epoch\n1,2\n")
  with pytest.raises(DataError, match=r"metrics\.csv: line 1 is damaged"):
    report.write([run], out)
  Scores(np.array(["a"]), np.array([0]), LOGITS[:1, :2]).save(run / "scores.npz")
  with pytest.raises(DataError, match=r"scores\.npz is of 2 classes, .* of 3"):
    report.write([run], out)
  (run / "scores.npz").unlink()
  with pytest.raises(DataError, match=r"scores\.npz does not exist; a run writes it"):
    report.write([run], out)
  assert not out.exists()


def test_the_command_writes_the_page(run, tmp_path, tiny_data, capsys):
  second = write_run(tmp_path / "runs" / "second", tiny_data, width=32)
  out = tmp_path / "report.html"
  assert command.main([str(run), str(second), "--out", str(out)]) == 0
  assert f"wrote {out} (0.1 MB)" in capsys.readouterr().out
  assert [r["name"] for r in content(out)] == ["first", "second"]


DRAWN = """
const page = [], made = (tag) => ({
  tag, inside: [], style: {}, classList: { add() {}, remove() {} }, children: [],
  setAttribute() {}, addEventListener() {}, append(...more) { this.inside.push(...more); },
  replaceChildren(...more) { this.inside = more; page.push(this); },
});
const text = require("fs").readFileSync(0, "utf8").split("</script>");
const runs = { textContent: text[0].split('id="runs">')[1] };
globalThis.document = {
  getElementById: (id) => (id === "runs" ? runs : made(id)),
  createElement: made, createElementNS: (_, tag) => made(tag),
};
globalThis.requestAnimationFrame = () => {};
eval(text[1].split("<script>")[1]);
const matrix = page.find((one) => one.tag === "svg").inside;
const words = (tag, of) => of.filter((one) => one.tag === tag).map((one) => one.inside[0]);
const cells = matrix.filter((one) => one.tag === "rect");
console.log(cells.length, words("text", matrix).filter((name) => name).length / 2);
console.log(cells.flatMap((cell) => words("title", cell.inside)).join("; "));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js here")
def test_of_many_classes_the_page_draws_the_cells_that_hold_clips():
  classes = [f"c{i}" for i in range(400)]
  confusion = np.zeros((400, 400), int)
  confusion[7, 7], confusion[7, 399] = 3, 1
  found = {"curves": [], "pairs": [], "bins": [], "clips": [], "moving": {}, "settings": {}}
  found |= {"name": "kinetics", "network": "mstgcn", "streams": ["joint"], "data": "", "counted": 4}
  figures = {"loss": 1.0, "top1": 0.75, "mean_class": 0.75, "calibration": 0.0}
  found |= {"classes": classes, "confusion": confusion.tolist(), "protocol": "", "figures": figures}
  page = report.page([found | {"interval": [0.5, 1.0]}])
  done = subprocess.run(
    ["node", "-e", DRAWN], input=page, capture_output=True, encoding="utf-8", timeout=60
  )
  # Two cells and what lies below them; every twentieth class is numbered.
  cells = "c7 → c7: 3 of 4 clips (75.0 %); c7 → c399: 1 of 4 clips (25.0 %)"
  assert done.stdout == f"3 20\n{cells}\n"


CLICKS = """
<script>
const said = [], note = (...words) => said.push(words.join(" "));
const all = (query) => [...document.querySelectorAll(query)];
const text = (query) => all(query).map((e) => e.textContent);
note("rows", ...text("#results tbody td:first-child"));
note("differs", ...text("#differences td"));
const cell = document.querySelector('[data-cell="1,0"]');
cell.dispatchEvent(new Event("pointerenter"));
note("hover", text("#said")[0].slice(-21));
cell.dispatchEvent(new MouseEvent("click"));
note("clips", ...text("#chosen .clip .name"), ...text("#chosen li").map((t) => t.slice(0, 8)));
document.querySelector("#sort").click();
note("first row", document.querySelector("#matrix .cell").dataset.cell);
all("#classes th button")[2].click();
note("classes", ...text("#classes tbody tr td:nth-child(3)"));
const canvas = document.querySelector("#worst canvas");
canvas.draw(0);
const painted = canvas.getContext("2d").getImageData(0, 0, 400, 390).data.some((v) => v > 0);
note("drawn", painted);
note("pairs", ...text("#pairs td.number"));
document.querySelector("#pairs tbody button").click();
note("pair", ...text("#pair .clip .name"));
const red = (canvas) => [...Array(12).keys()].some((frame) => {
  canvas.draw(33 * frame + 1);
  const { data } = canvas.getContext("2d").getImageData(0, 0, 400, 390);
  return [...data.keys()].some((i) => i % 4 === 0 && data[i] > 150 && data[i + 1] < 90
    && data[i + 2] < 90 && data[i + 3] > 200);
});
note("decided", all("#worst canvas").some(red), all("#worst .decided").length);
all(".tabs button")[1].click();
note("tab", all(".tabs button").map((b) => b.getAttribute("aria-pressed")));
note("title", document.title, all("img").length);
note("width", document.documentElement.scrollWidth <= innerWidth);
const result = document.createElement("pre");
result.textContent = said.join("\\n");
document.body.replaceChildren(result);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (CHROMIUM= names one)")
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_answers_to_clicks_in_a_browser(network, tmp_path, tiny_data, width):
  second = write_run(tmp_path / "runs" / "second", tiny_data, width=32)
  report.write([network, second], tmp_path / "report.html")
  page = (tmp_path / "report.html").read_text(encoding="utf-8")
  (tmp_path / "clicked.html").write_text(page.replace("</body>", f"{CLICKS}</body>"))
  flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
  page = (tmp_path / "clicked.html").as_uri()
  done = subprocess.run(
    [BROWSER, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120
  )
  said = done.stdout.partition("<pre>")[2].partition("</pre>")[0].splitlines()
  assert said == [
    "rows network second",
    "differs model.width 16 32",
    "hover 2 of 3 clips (66.7 %)",
    "clips a2_s2_t1 a2_s3_t1",
    "first row 1,1",
    "classes 33.3 % 100.0 % 100.0 %",
    "drawn true",
    "pairs 2 of 3",
    "pair a2_s2_t1 a1_s1_t1",
    "decided true 5",
    "tab false,true",
    "title Report of network, second 0",
    "width true",
  ]
