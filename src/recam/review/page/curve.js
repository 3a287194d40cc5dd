// The mIoU of any thresholds from the counts that the server made once, and the curve above the slider.
import { fetchResponse } from "./api.js";
import { mapsLayer, on, state, emit, thresholdsOf } from "./state.js";

const counts = new Map(); // by layer: null while they are being made
const LEVELS = 100;
const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
const percent = (value) => (100 * value).toFixed(1);

export async function need(layer) {
  if (!layer?.countable || counts.get(layer.name)) return;
  counts.set(layer.name, null);
  const response = await fetchResponse(`counts?layer=${encodeURIComponent(layer.name)}`).catch(() => null);
  if (!response) return;
  if (response.status === 202) { setTimeout(need, 1500, layer); return; }
  const flat = new Float64Array(await response.arrayBuffer()), size = state.run.classes.length + 1;
  // above[truth][winner][i]: pixels whose largest map exceeds the i-th threshold; total: all of them.
  const above = [], total = [];
  for (let truth = 0; truth < size; truth++) {
    above.push([]); total.push([]);
    for (let winner = 0; winner < size; winner++) {
      const start = (truth * size + winner) * LEVELS, sums = new Float64Array(LEVELS);
      let sum = 0;
      for (let level = LEVELS - 1; level >= 1; level--) { sum += flat[start + level]; sums[level - 1] = sum; }
      above[truth].push(sums);
      total[truth].push(sum + flat[start]);
    }
  }
  counts.set(layer.name, { above, total });
  emit("counted");
}

// IoU of the background and each class; NaN for one in neither truth nor prediction. `levels`: index of the threshold of each class.
export function ious({ above, total }, levels) {
  const classes = levels.length, hits = new Float64Array(classes + 1), truths = new Float64Array(classes + 1), found = new Float64Array(classes + 1);
  for (let truth = 0; truth <= classes; truth++) {
    for (let winner = 0; winner < classes; winner++) {
      const shown = above[truth][winner][levels[winner]], rest = total[truth][winner] - shown;
      truths[truth] += shown + rest;
      found[winner + 1] += shown;
      found[0] += rest;
      if (truth === winner + 1) hits[truth] += shown;
      if (truth === 0) hits[0] += rest;
    }
    truths[truth] += total[truth][classes]; // ignored: missing from its class
  }
  return Array.from(hits, (hit, at) => hit / (truths[at] + found[at] - hit));
}

const mean = (values) => {
  const there = values.filter((value) => !Number.isNaN(value));
  return there.reduce((sum, value) => sum + value, 0) / there.length;
};
const levelOf = (value) => Math.min(98, Math.max(0, Math.round(value * 100) - 1));

function scores(layer) {
  const counted = counts.get(layer.name), values = thresholdsOf(layer);
  if (counted) {
    const each = ious(counted, values.map(levelOf));
    return { miou: mean(each), own: state.scope === null ? null : each[state.scope + 1] };
  }
  // The run's own curve holds where one threshold is that of all.
  if (layer.curve && values.every((value) => value === values[0])) return { miou: layer.curve[levelOf(values[0])], own: null };
  return null;
}

// mIoU, or the IoU of the class in scope, over all places of the thumb.
function points(layer) {
  const counted = counts.get(layer.name), levels = thresholdsOf(layer).map(levelOf);
  if (!counted) return layer.curve && state.scope === null ? layer.curve : null;
  return Array.from({ length: 99 }, (_, at) => {
    if (state.scope === null) return mean(ious(counted, levels.map((level, index) => (state.thresholds[layer.name].own[index] === undefined ? at : level))));
    return ious(counted, levels.map((level, index) => (index === state.scope ? at : level)))[state.scope + 1];
  });
}

let touched = false;
on("threshold scope", () => { touched = true; });

let drawn = "";
function draw(layer) {
  const canvas = document.getElementById("curve"), box = canvas.getBoundingClientRect(), ratio = devicePixelRatio;
  if (!box.width) return;
  const others = JSON.stringify([layer?.name, state.scope, state.thresholds[layer?.name]?.own, Boolean(counts.get(layer?.name)), box.width, matchMedia("(prefers-color-scheme: dark)").matches]);
  if (others === drawn && state.scope === null) return;
  drawn = others;
  canvas.width = box.width * ratio;
  canvas.height = box.height * ratio;
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const values = layer && points(layer);
  context.scale(ratio, ratio);
  if (!values) return;
  const top = Math.max(...values.filter((value) => !Number.isNaN(value)), 1e-9), height = box.height - 14;
  const x = (at) => (at / 98) * box.width, y = (value) => 2 + height * (1 - (value || 0) / top);
  context.beginPath();
  context.moveTo(0, height + 2);
  values.forEach((value, at) => context.lineTo(x(at), y(value)));
  context.lineTo(box.width, height + 2);
  context.globalAlpha = 0.22;
  context.fillStyle = style.getPropertyValue("--accent");
  context.fill();
  context.globalAlpha = 1;
  const best = values.indexOf(top);
  if (best >= 0) { context.beginPath(); context.arc(x(best), y(top) + 1, 2.5, 0, 7); context.fill(); }
}

export function update() {
  const layer = mapsLayer(), bar = document.getElementById("threshold-bar");
  bar.hidden = !layer || !state.run.background;
  if (bar.hidden) return;
  const value = state.scope === null ? state.thresholds[layer.name].all : thresholdsOf(layer)[state.scope];
  document.getElementById("threshold").value = Math.round(value * 100);
  document.getElementById("value").textContent = value.toFixed(2);
  const scored = scores(layer), output = document.getElementById("miou"), counting = state.jobs.find((job) => job.name === `counts ${layer.name}` && job.state === "running");
  if (scored) {
    const start = layer.curve?.[levelOf(layer.threshold)], by = start === undefined || start === null ? 0 : scored.miou - start;
    const parts = ["mIoU ", make("b", percent(scored.miou))];
    if (Math.abs(by) >= 0.0005) parts.push(" ", Object.assign(make("span", `${by > 0 ? "+" : "−"}${percent(Math.abs(by))}`), { className: by > 0 ? "up" : "down" }));
    if (scored.own !== null && !Number.isNaN(scored.own)) parts.push(make("br", ""), `${state.run.classes[state.scope]} IoU ${percent(scored.own)}`);
    output.replaceChildren(...parts);
  } else output.textContent = counting ? `counting truth ${counting.done} / ${counting.total}` : layer.countable ? "counting truth …" : "no truth to score by";
  draw(layer);
  // Counting takes the server's time, which the first pictures want: it begins when the run's own curve does not suffice any more.
  if (touched || !layer.curve) need(layer);
}


let due = false;
const soon = () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; update(); }); } };
on("threshold layer scope counted jobs", soon);
addEventListener("resize", soon);
