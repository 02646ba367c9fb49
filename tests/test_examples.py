"""Both examples of an exported file, onnx_runtime.py and the browser's page: they are the run."""

import dataclasses
import functools
import http.server
import itertools
import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from test_classifier import write_run

from mstgcn_jax.use import export
from mstgcn_jax.use.classifier import Classifier

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "onnx_runtime.py"
BROWSER, ONNXRUNTIME_WEB = os.environ.get("CHROMIUM"), os.environ.get("ONNXRUNTIME_WEB")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  blocks = ((3, 8, False, 1), (8, 8, True, 2))
  return write_run(tmp_path_factory.mktemp("run"), block_type="ms", spatial_scales=2, blocks=blocks)


@pytest.fixture(scope="module")
def clip():
  return np.random.default_rng(0).normal(size=(2, 12, 25, 3)).astype(np.float32)


PLACINGS = [
  ("uniform", "frame", False),
  ("loop", "first_frame", False),
  ("random_sorted", "first_frame", True),  # the recipe for small data
]


@pytest.fixture(params=itertools.product(PLACINGS, [7, 12, 40]), ids=str)
def shown(request, workdir):
  """A clip, what is beside an exported file, and the window that the run sees of it."""
  (kind, origin, sized), frames = request.param
  classify = Classifier(workdir)
  parents = classify.skeleton.bone_parents if sized else None
  sampling = dataclasses.replace(classify.sampling, kind=kind, origin=origin, bone_parents=parents)
  persons = np.random.default_rng(2).normal(size=(2, frames, 25, 3))
  persons = persons.round(3).astype(np.float32)  # a command line has no room for more digits
  persons[1, frames - 3 :] = 0  # the second one leaves earlier, and loops with a period of its own
  persons[0, :2] = 0  # and the first comes later
  persons[:, :, 5] = 0
  own = [persons[0], persons[1, : frames - 3]]
  # Nobody is there in the end, nor ever in the first place; a third person is left out.
  persons = np.pad(persons, ((1, 1), (0, 5), (0, 0), (0, 0)))
  persons[3] = 1
  facts = {"window": 12, "num_persons": 2, "sampling": kind, "fill": "loop", "center": 1}
  facts |= {"origin": origin, "bone_parents": parents, "class_names": ["sit", "stand"]}
  facts["skeleton"] = {"joints": list(classify.skeleton.joints)}
  expected = sampling.windows(own)
  return persons, facts | {"input": {"shape": ["batch", *expected.shape]}}, expected


def test_the_example_makes_the_window_that_the_run_sees(shown):
  pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  persons, facts, expected = shown
  window = runpy.run_path(str(EXAMPLE))["window"]
  np.testing.assert_array_equal(window(persons, facts), expected)


def test_the_page_makes_the_window_that_the_run_sees(shown):
  persons, facts, expected = shown
  clip = persons.astype(np.float64).round(3).tolist()
  beside = {"run.onnx.json": json.dumps(facts), "clip.json": json.dumps(clip)}
  window, _ = said_by_the_page(beside | {"print": "the window"})
  # The page computes in double precision.
  np.testing.assert_allclose(json.loads(window), expected.ravel(), atol=2e-6)


@pytest.fixture(scope="module")
def onnx_file(workdir, tmp_path_factory):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  pytest.importorskip("onnxruntime", reason="of the extra 'export'")
  out = tmp_path_factory.mktemp("onnx") / "run.onnx"
  export.export(workdir, "onnx", out)
  return out


def test_the_example_runs_on_an_exported_file(
  workdir, onnx_file, clip, tmp_path, capsys, monkeypatch
):
  np.save(tmp_path / "clip.npy", clip)
  monkeypatch.setattr(sys, "argv", ["", str(onnx_file), str(tmp_path / "clip.npy")])
  runpy.run_path(str(EXAMPLE), run_name="__main__")
  classify = Classifier(workdir)
  prepared = classify.sampling.windows(list(clip))
  best = np.asarray(classify(prepared[None]))[0].max()
  assert capsys.readouterr().out.splitlines()[0].startswith(f"{100 * best:6.2f} %")


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (None, r"clip.npy is no .npy file that can be read \(.*No such file"),
    (b"wave, clap\n", r"clip.npy is no .npy file that can be read"),
    (np.zeros((2, 12, 20, 3)), r"shape \(2, 12, 20, 3\); .* \(\[person,\] frame, 25 joints, 3 ch"),
    (np.zeros(5), r"the shape \(5,\)"),
    (np.full((12, 25, 3), np.nan), "holds other than finite numbers; what is not tracked is 0"),
    (np.zeros((12, 25, 3)), "nobody is tracked"),
  ],
  ids=["absent", "text", "other joints", "flat", "nan", "nobody"],
)
def test_the_example_says_in_one_line_why_a_clip_has_no_answer(
  onnx_file, tmp_path, monkeypatch, content, said
):
  clip = tmp_path / "clip.npy"
  if isinstance(content, bytes):
    clip.write_bytes(content)
  elif content is not None:
    np.save(clip, content)
  monkeypatch.setattr(sys, "argv", ["", str(onnx_file), str(clip)])
  with pytest.raises(SystemExit, match=said) as ended:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
  assert "\n" not in str(ended.value)


@pytest.mark.parametrize("is_network", [False, True])
def test_the_example_says_in_one_line_why_a_file_is_no_network_of_ours(
  onnx_file, tmp_path, monkeypatch, is_network
):
  import onnx

  path = tmp_path / "other.onnx"
  path.write_bytes(b"no network")
  if is_network:
    model = onnx.load(onnx_file)
    del model.metadata_props[:]
    onnx.save(model, path)
  monkeypatch.setattr(sys, "argv", ["", str(path), "clip.npy"])
  with pytest.raises(SystemExit, match="lacks the metadata" if is_network else "other.onnx"):
    runpy.run_path(str(EXAMPLE), run_name="__main__")


# The browser page's script in just enough of a page, with a network that says 0.25 and 0.75. Prints
# what the page says and answers, at the start and after each clip that is chosen.
PAGE = """
const fs = require("fs"), [html, files, ...chosen] = process.argv.slice(1);
const made = {}, element = (id) => made[id] ??= {
  getContext: () => ({ clearRect() {} }),
  addEventListener(_, listener) { this.choose = listener; },
  replaceChildren(...lines) { this.lines = lines.map((line) => line.textContent); },
};
globalThis.document = { getElementById: element, createElement: () => ({}) };
globalThis.requestAnimationFrame = () => {};
globalThis.fetch = async (name) => ({
  ok: name in JSON.parse(files), status: 404, text: async () => JSON.parse(files)[name],
});
const session = { run: async () => ({ probabilities: { data: [0.25, 0.75] } }) };
if (!("no ort" in JSON.parse(files))) globalThis.ort = {
  env: { wasm: {} },
  Tensor: class {
    constructor(_, data) { if (JSON.parse(files).print) console.log(JSON.stringify([...data])); }
  },
  InferenceSession: { create: async () => session },
};
const show = async () => {
  await new Promise(setImmediate);  // the page waits for nothing that takes time
  const said = element("said").textContent.replace(/^\\d+ ms$/, "answered");
  console.log(said, element("answer").lines ?? []);
};
process.on("unhandledRejection", (error) => console.log("not caught", String(error)));
(0, eval)(fs.readFileSync(html, "utf8").match(/<script>\\n([^]*?)<\\/script>/)[1]);
show().then(async () => {
  for (const text of chosen) {
    element("file").choose({ target: { files: [{ text: async () => text }] } });
    await show();
  }
});
"""


def said_by_the_page(beside, *chosen):
  if not (node := shutil.which("node")):
    pytest.skip("needs node, which runs the page's script")
  page = str(EXAMPLE.parent / "browser" / "index.html")
  arguments = [node, "-e", PAGE, page, json.dumps(beside), *chosen]
  return subprocess.check_output(arguments, text=True, timeout=60).splitlines()


def beside_the_page():
  facts = {
    "input": {"shape": ["batch", 1, 4, 2, 3]},
    "skeleton": {"joints": ["hip", "head"], "inward": [[1, 0]]},
    "class_names": ["sit", "stand"],
    "window": 4,
    "num_persons": 1,
    "sampling": "loop",
    "fill": "loop",
    "center": None,
  }
  clip = [[[[1, 2, 3], [4, 5, 6]]]]
  return {"run.onnx.json": json.dumps(facts), "clip.json": json.dumps(clip)}


def test_the_page_answers_no_clip_that_the_network_does_not_take():
  beside = beside_the_page()
  wrong = [
    "[[[[1, 2, 3]]]]",
    "[[[[1, 2], [4, 5]]]]",
    "[[[1, 2, 3], [4, 5, 6]]]",
    '{"a": 1}',
    "[[null]]",
  ]
  untracked = ["[]", "[[[[0, 0, 0], [0, 0, 0]]]]"]
  answered = "answered [ 'stand: 75.00 %', 'sit: 25.00 %' ]"
  expected = "Error: a clip is numbers [person][frame][2 joints][3 channels] []"
  nobody = "Error: nobody is tracked in the clip []"
  said = said_by_the_page(beside, *wrong, *untracked, "no JSON", beside["clip.json"])
  assert said[:-2] == [answered, *[expected] * len(wrong), *[nobody] * len(untracked)]
  assert said[-2].startswith("SyntaxError") and said[-2].endswith(" []")
  assert said[-1] == answered


def test_the_page_names_a_file_that_is_not_beside_it():
  beside = beside_the_page()
  for name in beside:
    others = {other: text for other, text in beside.items() if other != name}
    assert said_by_the_page(others) == [f"Error: {name} is not beside this page (404) []"]
  without = said_by_the_page(beside | {"no ort": ""})
  assert without == ["Error: ort.wasm.min.js is not beside this page []"]


@pytest.mark.skipif(
  not (BROWSER and ONNXRUNTIME_WEB),
  reason="CHROMIUM= names a browser, ONNXRUNTIME_WEB= the folder dist of onnxruntime-web",
)
def test_the_page_says_what_the_run_says_in_a_browser(workdir, clip, tmp_path):
  pytest.importorskip("onnx", reason="of the extra 'export'")
  export.export(workdir, "onnx", tmp_path / "run.onnx")
  for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
    shutil.copy(pathlib.Path(ONNXRUNTIME_WEB) / name, tmp_path)
  shutil.copy(EXAMPLE.parent / "browser" / "index.html", tmp_path)
  persons = clip.copy()
  persons[1, 9:] = 0
  (tmp_path / "clip.json").write_text(json.dumps(persons.tolist()))
  handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
  with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    page = f"http://localhost:{server.server_port}/"
    done = subprocess.run(
      [BROWSER, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120
    )
    server.shutdown()
  classify = Classifier(workdir)
  prepared = classify.sampling.windows([persons[0], persons[1, :9]])
  expected = np.asarray(classify(prepared[None]))[0]
  best = int(expected.argmax())
  assert f"<li>{classify.class_names[best]}: {100 * expected[best]:.2f} %</li>" in done.stdout
