// All that the page knows: the run, its images, decisions, and what is shown. Parts of the page listen to changes by name.
import { fetchJson, post, postBytes, tab } from "./api.js";
import { setColours } from "./paint.js";

export const state = {
  run: null, images: null, states: new Map(), latest: 0, jobs: [],
  layer: "", highlight: null, scope: null, overlay: true,
  thresholds: {}, // by layer of maps: {all, own: {class index: value}}
  selected: new Set(), // numbers of images that are judged together
  order: [], place: 0, // numbers of the images that are shown, and which of them has the focus
};

const listeners = {};
export const on = (names, listen) => names.split(" ").forEach((name) => (listeners[name] ??= []).push(listen));
export const emit = (name, detail) => (listeners[name] ?? []).forEach((listen) => listen(detail));

export const layerOf = (name) => state.run.layers.find((layer) => layer.name === name);
export const shown = () => layerOf(state.layer);
export const focused = () => state.order[state.place];
export const classIndex = (name) => state.run.classes.indexOf(name);

const OPEN = { verdict: "open", source: null, labels: null, mask: null, stale: false };
export const decided = (number) => state.states.get(number) ?? OPEN;
export const labelsOf = (number) => decided(number).labels?.map(classIndex) ?? state.images.labels[number];

// The layer of maps whose threshold the slider moves: the one that is shown, else that of the pseudo masks.
export const mapsLayer = () => (shown()?.kind === "maps" ? shown() : layerOf(state.run.main_maps)) ?? null;

export function thresholdsOf(layer) {
  const { all, own } = state.thresholds[layer.name];
  return state.run.classes.map((_, index) => own[index] ?? all);
}

// Titles of what images are sorted and filtered by.
export const measures = () => ({
  confidence: "confidence", maps_disagreement: `${state.run.compared_maps.join(" / ")} differ`, model_disagreement: "mask / model differ", area: "area", iou: "IoU", agreement: "agrees with the other masks",
});

// The thresholds that the run's own masks were made with.
export function startOf(layer) {
  const own = Object.entries(layer.class_thresholds).map(([name, value]) => [classIndex(name), value]);
  return { all: layer.threshold, own: Object.fromEntries(own) };
}

export async function load() {
  [state.run, state.images] = await Promise.all([fetchJson("run"), fetchJson("images")]);
  setColours(state.run.colours);
  for (const layer of state.run.layers) if (layer.kind === "maps") state.thresholds[layer.name] = startOf(layer);
  state.layer = state.run.shown;
  await catchUp(true);
}

export function merge(changed) {
  for (const [number, each] of Object.entries(changed.states)) {
    const before = decided(+number).labels;
    state.states.set(+number, each);
    if (String(before) !== String(each.labels)) emit("relabelled", +number);
  }
  state.latest = Math.max(state.latest, changed.latest);
  const numbers = Object.keys(changed.states).map(Number);
  if (numbers.length) emit("decided", numbers);
}

// Decisions of other tabs, and jobs.
export async function catchUp(first = false) {
  const changed = await fetchJson(`changes?since=${state.latest}`);
  const others = Object.values(changed.states).filter((each) => each.tab && each.tab !== tab).length;
  merge(changed);
  const before = state.jobs;
  state.jobs = changed.jobs;
  for (const job of changed.jobs) {
    const known = before.find((each) => each.name === job.name);
    if (job.state !== "running" && known?.state === "running") emit("job-ended", job);
  }
  emit("jobs");
  if (others && !first) emit("toast", `${others} image${others > 1 ? "s" : ""} decided in another tab`);
}

export async function reloadImages() {
  state.images = await fetchJson("images");
  emit("images");
}

// What is shown, as the server gets it.
export function judgement(layerName = state.layer) {
  const layer = layerOf(layerName);
  if (layer?.kind !== "maps") return { layer: layerName };
  const { all, own } = state.thresholds[layer.name];
  const names = Object.fromEntries(Object.entries(own).map(([index, value]) => [state.run.classes[index], value]));
  return { layer: layer.name, threshold: all, class_thresholds: names };
}

// Instead of the pseudo mask, its corrected mask is shown where there is one, and the model's for images that are no training images.
export function layerFor(number) {
  const { masks, model, corrected } = state.run;
  if (!masks || state.layer !== masks) return state.layer;
  if (decided(number).mask) return corrected;
  return state.images.split[number] !== "train" && model ? model : masks;
}

// Accepts what is shown of each image, or gives another verdict. Photo and truth are nothing that could be accepted.
export async function decide(numbers, verdict) {
  if (verdict !== "accepted") return merge(await post("decisions", { tab, images: numbers, verdict }));
  if (!state.layer || state.layer === state.run.truth) throw new Error("Choose the layer to accept first: a mask, or maps at a threshold.");
  const groups = new Map(); // one decision, and one undo, of as many layers as there are
  for (const number of numbers) {
    const layer = layerFor(number), group = layer === state.run.corrected ? `${layer} ${number}` : layer;
    if (!groups.has(group)) groups.set(group, { layer, images: [] });
    groups.get(group).images.push(number);
  }
  const decisions = [...groups.values()].map(({ layer, images }) => ({ tab, images, verdict, ...judgement(layer) }));
  merge(decisions.length === 1 ? await post("decisions", decisions[0]) : await post("decisions/together", { decisions }));
}

export async function relabel(number, indices) {
  merge(await post("decisions", { tab, images: [number], labels: indices.map((index) => state.run.classes[index]) }));
}

export const saveMask = async (number, mask) => merge(await postBytes(`masks/${number}?tab=${tab}`, mask));

// Undo or redo of this tab; gives what it was, e.g. "accept of IMAGE".
export async function revert(how) {
  const reverted = await post(how, { tab });
  merge(reverted);
  return reverted.decision;
}

export function setThreshold(value) {
  const layer = mapsLayer();
  if (!layer) return;
  const thresholds = state.thresholds[layer.name];
  if (state.scope === null) thresholds.all = value;
  else thresholds.own[state.scope] = value;
  if (state.layer !== layer.name) show(layer.name); // a mask that is finished cannot follow the thumb; its maps can
  emit("threshold");
}

export function show(layer) {
  state.layer = layer;
  emit("layer");
}
