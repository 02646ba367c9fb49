"use strict";
// Draws the page of the runs in #runs (report/__init__.py says what they hold). Names of classes,
// clips and runs only ever become text, never markup.
const runs = JSON.parse(document.getElementById("runs").textContent);
const COLORS = ["#2563eb", "#ea580c", "#059669", "#9333ea", "#db2777", "#0891b2", "#65a30d", "#b45309"];
const SVG = "http://www.w3.org/2000/svg";
const UNTRACKED = -32768;
const percent = (share, digits = 1) => (100 * share).toFixed(digits) + " %";
const color = (number) => COLORS[number % COLORS.length];

function make(tag, attributes = {}, ...children) {
  const of = ["svg", "g", "rect", "line", "path", "circle", "text", "title"].includes(tag);
  const element = of ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else element.setAttribute(name, value);
  }
  element.append(...children.map((child) => (typeof child === "number" ? String(child) : child)));
  return element;
}

// A table; columns are {name, number, value: row -> text, order: row -> what it is sorted by}.
function table(columns, rows, id) {
  const body = make("tbody");
  let sorted = null, down = false;
  const fill = () => body.replaceChildren(...rows.map((row) =>
    make("tr", row.differs ? { class: "differs" } : {}, ...columns.map((column) =>
      make("td", column.number ? { class: "number" } : {}, column.value(row))))));
  const head = columns.map((column) => make("th", column.number ? { class: "number" } : {},
    make("button", {
      type: "button",
      onclick: () => {
        down = sorted === column ? !down : false;
        sorted = column;
        const order = column.order || column.value;
        rows.sort((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : 0) * (down ? -1 : 1));
        fill();
      },
    }, column.name)));
  fill();
  return make("div", { class: "wide" }, make("table", { id }, make("thead", {}, make("tr", {}, ...head)), body));
}

function section(title, said, ...children) {
  return make("section", {}, make("h2", {}, title), make("p", { class: "faint" }, said), ...children);
}

// Axes and lines; each line is {x, y, color, dashed, dots, name}.
function plot(lines, { x: xName, y: yName, yTop, diagonal, xTop }) {
  const [w, h, left, bottom, top, right] = [460, 280, 46, 38, 12, 12];
  const numbers = (key) => lines.flatMap((line) => line[key].filter((v) => v !== null));
  const xMax = xTop || Math.max(1e-9, ...numbers("x"));
  const yMax = yTop || Math.max(1e-9, ...numbers("y")) * 1.05;
  const px = (v) => left + (v / xMax) * (w - left - right);
  const py = (v) => h - bottom - (Math.min(v, yMax) / yMax) * (h - bottom - top);
  const svg = make("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${yName} over ${xName}` });
  const nice = (max) => {
    const power = 10 ** Math.floor(Math.log10(max / 4));
    return power * [1, 2, 5, 10].find((digit) => digit * power >= max / 5);
  };
  const ticks = (max) => {
    const step = nice(max), found = [];
    for (let i = 0; i * step <= max * 1.0001; i++) found.push(Number((i * step).toPrecision(6)));
    return found;
  };
  for (const v of ticks(yMax)) {
    svg.append(make("line", { class: "grid", x1: left, x2: w - right, y1: py(v), y2: py(v) }),
      make("text", { x: left - 6, y: py(v) + 4, "text-anchor": "end" }, v));
  }
  for (const v of ticks(xMax)) {
    svg.append(make("text", { x: px(v), y: h - bottom + 16, "text-anchor": "middle" }, v));
  }
  svg.append(make("text", { x: (left + w) / 2, y: h - 4, "text-anchor": "middle" }, xName),
    make("text", { x: 12, y: h / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${h / 2})` }, yName));
  if (diagonal) svg.append(make("line", { x1: px(0), y1: py(0), x2: px(xMax), y2: py(xMax), stroke: "var(--faint)", "stroke-dasharray": "4 4" }));
  for (const line of lines) {
    let path = "", pen = "M";
    line.x.forEach((x, i) => {
      if (line.y[i] === null) { pen = "M"; return; }
      path += `${pen}${px(x).toFixed(1)} ${py(line.y[i]).toFixed(1)}`;
      pen = "L";
    });
    svg.append(make("path", { d: path, fill: "none", stroke: line.color, "stroke-width": line.dots ? 2 : 1.2, opacity: line.dots ? 1 : 0.6 }));
    if (line.dots) line.x.forEach((x, i) => line.y[i] !== null && svg.append(
      make("circle", { cx: px(x), cy: py(line.y[i]), r: 3.5, fill: line.color },
        make("title", {}, `${line.name}, ${xName} ${Number(x.toPrecision(3))}: ${Number(line.y[i].toPrecision(4))}${line.notes ? ", " + line.notes[i] : ""}`))));
  }
  return svg;
}

function legend(names) {
  const p = make("p");
  names.forEach(([name, tint]) => {
    const mark = make("span", {}, "■ ");
    mark.style.color = tint;
    p.append(mark, name, "   ");
  });
  return p;
}

function overview() {
  const figures = [["top1", "top-1"], ["top5", "top-5"], ["mean_class", "mean class"], ["loss", "loss"], ["calibration", "calibration error"]];
  const has = figures.filter(([key]) => runs.some((run) => key in run.figures));
  return section("Results", "Of the last epoch's network on the evaluation clips; the interval is the bootstrap's, 95 %, over clips.",
    table([
      { name: "run", value: (run) => run.name },
      { name: "network", value: (run) => `${run.network}, ${run.streams.join(" + ")}` },
      { name: "data", value: (run) => `${run.data}${run.protocol ? ", " + run.protocol : ""}` },
      { name: "clips", number: true, value: (run) => run.counted.toLocaleString("en"), order: (run) => run.counted },
      ...has.map(([key, name]) => ({
        name, number: true, order: (run) => run.figures[key] ?? -1,
        value: (run) => !(key in run.figures) ? "–" : key === "loss" ? run.figures.loss.toFixed(3)
          : percent(run.figures[key], 2) + (key === "top1" ? ` (${percent(run.interval[0])} to ${percent(run.interval[1])})` : ""),
      })),
    ], [...runs], "results"));
}

function curves() {
  const lines = (key) => runs.flatMap((run, number) => run.curves.map((curve) => ({
    x: curve.epoch, y: curve[key], dots: curve.split === "eval",
    color: color(runs.length > 1 ? number : streamsOf(run).indexOf(curve.stream)),
    name: `${run.name}, ${curve.stream}, ${curve.split}`,
  })));
  const losses = runs.flatMap((run) => run.curves.flatMap((c) => c.loss.filter((v) => v !== null))).sort((a, b) => a - b);
  if (!losses.length) return section("Curves", "No metrics.csv is there.");
  const names = runs.length > 1 ? runs.map((run, i) => [run.name, color(i)]) : streamsOf(runs[0]).map((s, i) => [s, color(i)]);
  return section("Curves", "Thin: training; dots: evaluation.", legend(names), make("div", { class: "row", id: "curves" },
    plot(lines("loss"), { x: "epoch", y: "loss", yTop: losses[Math.floor(0.99 * (losses.length - 1))] * 1.1 || 1 }),
    plot(lines("top1"), { x: "epoch", y: "top-1", yTop: 1 })));
}
const streamsOf = (run) => [...new Set(run.curves.map((curve) => curve.stream))];

function settings() {
  const fields = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))];
  const rows = fields.map((field) => ({ field, differs: runs.some((run) => run.settings[field] !== runs[0].settings[field]) }));
  const columns = [{ name: "field", value: (row) => row.field },
    ...runs.map((run) => ({ name: run.name, value: (row) => run.settings[row.field] ?? "–" }))];
  const some = rows.filter((row) => row.differs);
  const parts = [make("details", {}, make("summary", {}, `all ${rows.length} fields`), table(columns, rows, "settings"))];
  if (runs.length > 1) parts.unshift(some.length ? table(columns, some, "differences") : make("p", {}, "The runs have the same settings."));
  return section("Settings", runs.length > 1 ? "First those in which the runs differ." : "As the run was started.", ...parts);
}

function matrix(run, show) {
  const n = run.classes.length, unit = n <= 30 ? 26 : Math.min(10, 1200 / n), label = n <= 30 ? 170 : 30;
  const every = 5 * Math.ceil(n / 120), side = unit - Math.min(1, unit / 10);
  const sums = run.confusion.map((row) => row.reduce((a, b) => a + b, 0));
  const said = make("p", { class: "said", id: "said" }, "Point at a cell; a click lists its clips.");
  const svg = make("svg", { id: "matrix", role: "img", "aria-label": "confusion matrix" });
  let order = [...run.classes.keys()];
  const draw = () => {
    const size = label + n * unit + 4;
    svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
    svg.replaceChildren();
    // Of many classes most cells are empty: one rectangle stands for all of these.
    if (n > 30) svg.append(make("rect", { x: label, y: label, width: n * unit, height: n * unit, fill: "var(--soft)" }));
    order.forEach((i, y) => {
      const name = n <= 30 ? run.classes[i] : y % every ? "" : String(i);
      const short = name.length > 25 ? name.slice(0, 24) + "…" : name;
      svg.append(make("text", { x: label - 6, y: label + (y + 0.7) * unit, "text-anchor": "end" }, short),
        make("text", { x: 0, y: 0, transform: `translate(${label + (y + 0.7) * unit} ${label - 6}) rotate(-90)` }, short));
      order.forEach((j, x) => {
        const count = run.confusion[i][j], share = sums[i] ? count / sums[i] : 0;
        if (!count && n > 30) return;
        const words = `${run.classes[i]} → ${run.classes[j]}: ${count} of ${sums[i]} clips (${percent(share)})`;
        const shade = i === j ? `rgba(37, 99, 235, ${share})` : `rgba(220, 38, 38, ${count ? 0.15 + 0.85 * share : 0})`;
        const cell = make("rect", {
          class: "cell", x: label + x * unit, y: label + y * unit, width: side, height: side, fill: count ? shade : "var(--soft)", "data-cell": `${i},${j}`,
          onclick: () => {
            svg.querySelectorAll(".chosen").forEach((old) => old.classList.remove("chosen"));
            cell.classList.add("chosen");
            said.textContent = words;
            show(i, j);
          },
        }, make("title", {}, words));
        cell.addEventListener("pointerenter", () => { said.textContent = words; });
        svg.append(cell);
        if (count && n <= 30) {
          const figure = make("text", { x: label + (x + 0.48) * unit, y: label + (y + 0.65) * unit, "text-anchor": "middle", "pointer-events": "none" }, count);
          if (share > 0.5) figure.style.fill = "#fff";
          svg.append(figure);
        }
      });
    });
  };
  draw();
  const accuracy = (i) => (sums[i] ? run.confusion[i][i] / sums[i] : 2);
  const sort = make("button", { type: "button", class: "plain", id: "sort", onclick: () => {
    const byName = sort.textContent === "in the order of the classes";
    order = byName ? [...run.classes.keys()] : [...order].sort((a, b) => accuracy(a) - accuracy(b));
    sort.textContent = byName ? "worst classes first" : "in the order of the classes";
    draw();
  } }, "worst classes first");
  return section("Confusion matrix", "Rows are true classes, columns what was said; red is a mistake.", sort, said, make("div", { class: "matrix wide" }, svg));
}

function perClass(run) {
  const said = (other, j) => other.confusion.reduce((sum, row) => sum + row[j], 0);
  const alike = runs.filter((other) => other !== run && JSON.stringify(other.classes) === JSON.stringify(run.classes));
  const recall = (other, i) => {
    const all = other.confusion[i].reduce((a, b) => a + b, 0);
    return all ? other.confusion[i][i] / all : null;
  };
  const rows = run.classes.map((name, i) => {
    const clips = run.confusion[i].reduce((a, b) => a + b, 0), answered = said(run, i);
    let most = -1;
    run.confusion[i].forEach((count, j) => { if (j !== i && count && (most < 0 || count > run.confusion[i][most])) most = j; });
    return { i, name, clips, precision: answered ? run.confusion[i][i] / answered : null, most };
  });
  const share = (name, value) => ({ name, number: true, value: (row) => (value(row) === null ? "–" : percent(value(row))), order: (row) => value(row) ?? -1 });
  return section("Classes", "A click on a heading sorts.", table([
    { name: "class", value: (row) => row.name },
    { name: "clips", number: true, value: (row) => row.clips },
    share(alike.length ? `found, ${run.name}` : "found", (row) => recall(run, row.i)),
    ...alike.map((other) => share(`found, ${other.name}`, (row) => recall(other, row.i))),
    share("right when said", (row) => row.precision),
    { name: "most taken for", value: (row) => (row.most < 0 ? "" : `${run.classes[row.most]} (${run.confusion[row.i][row.most]})`) },
  ], rows, "classes"));
}

function calibration(run) {
  const bins = run.bins.filter((bin) => bin.clips);
  const line = { x: bins.map((b) => b.sure), y: bins.map((b) => b.right), dots: true, color: color(0), name: run.name, notes: bins.map((b) => `${b.clips} clips`) };
  return section("Calibration", `Expected calibration error ${percent(run.figures.calibration, 2)}: how far the probability of an answer is from how often it is right, on average. Points on the dashed line are calibrated.`,
    make("div", { class: "row" }, plot([line], { x: "probability of the answer", y: "share that is right", yTop: 1, xTop: 1, diagonal: true }),
      table([{ name: "probability", value: (b) => `${b.from.toFixed(1)} to ${b.to.toFixed(1)} %`, order: (b) => b.from }, { name: "clips", number: true, value: (b) => b.clips },
        { name: "mean", number: true, value: (b) => percent(b.sure) }, { name: "right", number: true, value: (b) => percent(b.right) }],
      run.bins.map((b, i) => ({ ...b, from: 100 * i / run.bins.length, to: 100 * (i + 1) / run.bins.length })).filter((b) => b.clips), "bins")));
}

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// From grey to red, as a joint's weight goes from 0 to 1.
const stress = (weight) => `rgb(${[[107, 220], [114, 38], [128, 38]].map(([a, b]) => Math.round(a + (b - a) * weight)).join(" ")})`;

// A moving clip. Dragged sideways it turns. Where its weights are known, joints show them.
function skeleton(run, name) {
  const clip = run.moving.clips[name];
  const points = new Int16Array(bytes(clip.points).buffer), [persons, frames, joints] = clip.shape;
  const weights = clip.weights ? bytes(clip.weights) : null;
  const canvas = make("canvas", { width: 400, height: 400, role: "img", "aria-label": `clip ${name}` });
  const place = (person, yaw) => { // how far to the right somebody stands in the first frame
    const found = [];
    for (let i = person * frames * joints, end = i + joints; i < end; i++) {
      if (points[3 * i] !== UNTRACKED) found.push(points[3 * i] * Math.cos(yaw) + points[3 * i + 2] * Math.sin(yaw));
    }
    return found.length ? found.reduce((a, b) => a + b, 0) / found.length : 0;
  };
  const apart = (yaw) => (persons > 1 ? Math.abs(place(0, yaw) - place(1, yaw)) : 0);
  let from = null, yaw = clip.flat ? 0 : [0.5, -0.5, 1.1, -1.1].reduce((best, other) => (apart(other) > apart(best) ? other : best));
  canvas.addEventListener("pointerdown", (event) => { from = event.clientX; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (from === null || clip.flat) return;
    yaw += (event.clientX - from) / 80;
    from = event.clientX;
  });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("pointercancel", () => { from = null; });
  const draw = (time) => {
    const pen = canvas.getContext("2d"), frame = Math.floor(time / (33 * clip.step)) % frames;
    const [cos, sin] = [Math.cos(yaw), Math.sin(yaw)];
    pen.clearRect(0, 0, 400, 400);
    pen.lineCap = "round";
    for (let person = persons - 1; person >= 0; person--) {
      const at = (joint) => {
        const i = 3 * ((person * frames + frame) * joints + joint);
        if (points[i] === UNTRACKED) return null;
        const [x, y, z] = [points[i], points[i + 1], points[i + 2]];
        return [200 + (x * cos + z * sin) / 88, 200 - (y - 0.15 * (z * cos - x * sin)) / 88];
      };
      for (const [child, parent] of run.moving.bones) {
        const a = at(child), b = at(parent);
        if (!a || !b) continue;
        pen.strokeStyle = color(person);
        pen.globalAlpha = (run.moving.right[child] ? 0.6 : 1) * (weights ? 0.5 : 1);
        pen.lineWidth = 5;
        pen.beginPath();
        pen.moveTo(...a);
        pen.lineTo(...b);
        pen.stroke();
      }
      pen.globalAlpha = 1;
      const weight = (joint) => (weights ? weights[(person * frames + frame) * joints + joint] / 255 : 0);
      const order = [...Array(joints).keys()].sort((a, b) => weight(a) - weight(b));
      for (const joint of order) {
        const a = at(joint);
        if (!a) continue;
        pen.fillStyle = weights ? stress(weight(joint)) : color(person);
        pen.beginPath();
        pen.arc(...a, weights ? 3 + 11 * weight(joint) : 4, 0, 7);
        pen.fill();
      }
    }
    pen.fillStyle = "#9ca3af";
    pen.fillRect(0, 396, (400 * (frame + 1)) / frames, 4);
  };
  canvas.draw = draw;
  return canvas;
}

// Names are people's own: "constructor" is one that every object seems to have.
const moves = (run, name) => Boolean(run.moving.clips) && Object.hasOwn(run.moving.clips, name);

function card(run, [name, label, predicted, sure]) {
  const right = label === predicted, { decided } = run.moving.clips[name];
  return make("div", { class: "clip" }, skeleton(run, name), make("div", { class: "faint name" }, name),
    make("div", {}, make("b", {}, run.classes[label])),
    right ? make("div", {}, `said with ${percent(sure)}`)
      : make("div", { class: "wrong" }, `taken for ${run.classes[predicted]}, with ${percent(sure)}`),
    ...(decided ? [make("div", { class: "faint decided" }, `decided by ${decided}`)] : []));
}

// What red joints are; nothing where no clip moves.
function decides(run) {
  if (!run.moving.clips) return [];
  if (run.moving.undecided) return [make("p", { class: "faint decides" }, "What decided is not shown: the run's network was not there.")];
  const marks = [0.1, 0.5, 1].map((weight) => {
    const mark = make("span", { class: "mark" });
    mark.style.background = stress(weight);
    mark.style.width = mark.style.height = `${6 + 10 * weight}px`;
    return mark;
  });
  return [make("p", { class: "faint decides" }, ...marks, "The larger and redder a joint, the more what was said owes to it at that moment (gradient × input, the highest of each clip is full red). Bones have the colour of the person.")];
}

function listed(run, clips) {
  const moving = clips.filter(([name]) => moves(run, name));
  const still = clips.filter(([name]) => !moves(run, name));
  const words = ([name, label, predicted, sure]) => `${name}: ${run.classes[predicted]}, ${percent(sure)}`;
  return [...(moving.length ? decides(run) : []), make("div", { class: "clips" }, ...moving.map((clip) => card(run, clip))),
    make("ul", { class: "names" }, ...still.slice(0, 300).map((clip) => make("li", {}, words(clip)))),
    ...(still.length > 300 ? [make("p", {}, `and ${still.length - 300} more`)] : [])];
}

function mistakes(run) {
  const wrong = run.clips.filter(([, label, predicted]) => label !== predicted);
  const drawn = run.clips.filter(([name]) => moves(run, name));
  if (!drawn.length) {
    return section("Worst mistakes", wrong.length ? "The surest first; the data set was not there to draw them from." : "There are none.", ...listed(run, wrong.slice(0, 50)));
  }
  const shown = drawn.slice(0, Math.max(8, drawn.filter(([, label, predicted]) => label !== predicted).length));
  return section("Worst mistakes", `${wrong.length} of ${run.counted.toLocaleString("en")} clips are wrong; the surest first, then right ones, the least sure first. Drag one sideways to turn it.`, ...decides(run),
    make("div", { class: "clips", id: "worst" }, ...shown.map((clip) => card(run, clip))));
}

function confused(run) {
  if (!run.pairs.length) return section("Most confused", "No class was taken for another.");
  const shown = make("div", { id: "pair" });
  const part = (clip, said) => (!clip ? make("p", {}, `No clip of ${run.classes[said]} is right.`) : moves(run, clip[0]) ? card(run, clip)
    : make("p", {}, `${clip[0]}: ${run.classes[clip[1]]}, said ${run.classes[clip[2]]} with ${percent(clip[3])}. It is not drawn here.`));
  const show = (pair) => shown.replaceChildren(...(moves(run, pair.wrong[0]) ? decides(run) : []),
    make("div", { class: "clips pair" }, part(pair.wrong), part(pair.right, pair.said)));
  show(run.pairs[0]);
  const sum = (label) => run.confusion[label].reduce((a, b) => a + b, 0);
  return section("Most confused", "What was taken for what, most often first; a click shows a clip of it, the surest, beside a right one of the class that it was taken for.", table([
    { name: "class", value: (pair) => run.classes[pair.label] },
    { name: "taken for", value: (pair) => run.classes[pair.said] },
    { name: "clips", number: true, value: (pair) => `${pair.times} of ${sum(pair.label)}`, order: (pair) => pair.times },
    { name: "", value: (pair) => make("button", { type: "button", class: "plain", onclick: () => { show(pair); shown.scrollIntoView({ block: "nearest", behavior: "smooth" }); } }, "show") },
  ], [...run.pairs], "pairs"), shown);
}

function details(run) {
  const chosen = make("div", { id: "chosen" });
  const show = (i, j) => {
    const clips = run.clips.filter(([, label, predicted]) => label === i && predicted === j);
    const missing = run.confusion[i][j] - clips.length;
    chosen.replaceChildren(make("h2", {}, `${run.classes[i]} → ${run.classes[j]}`), ...listed(run, clips),
      ...(missing ? [make("p", {}, `and ${missing} whose names this page leaves out`)] : []));
    chosen.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };
  return [matrix(run, show), chosen, confused(run), perClass(run), calibration(run), mistakes(run)];
}

function start() {
  const page = document.getElementById("page"), part = make("div", { id: "run" });
  const tabs = make("nav", { class: "tabs", "aria-label": "runs" });
  const choose = (number) => {
    [...tabs.children].forEach((tab, i) => tab.setAttribute("aria-pressed", String(i === number)));
    part.replaceChildren(...details(runs[number]));
  };
  runs.forEach((run, i) => tabs.append(make("button", { type: "button", onclick: () => choose(i) }, run.name)));
  page.replaceChildren(make("h1", {}, document.title), overview(), curves(), settings(), ...(runs.length > 1 ? [tabs] : []), part);
  choose(0);
  const tick = (time) => {
    for (const canvas of document.querySelectorAll("canvas")) {
      const box = canvas.getBoundingClientRect();
      if (box.bottom > 0 && box.top < innerHeight) canvas.draw(time);
    }
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
}

start();
