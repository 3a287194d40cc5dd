// One image: the stage with its overlay, all layers side by side, labels, and the way to the brush.
import { fetchBytes, unpack } from "./api.js";
import { Brush } from "./brush.js";
import { columnsNow, focus, relayout, select } from "./grid.js";
import { colourTable, cssColour, fullMask, fullWinners, paintHeat, paintOutlined } from "./paint.js";
import { decide, decided, focused, labelsOf, layerFor, layerOf, measures, on, relabel, saveMask, state, show, emit, thresholdsOf } from "./state.js";
import { Zoom } from "./zoom.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), sheet = $("sheet"), photo = $("photo"), overlay = $("overlay");
const TITLES = { accepted: "Accepted", rejected: "Rejected", open: "Not reviewed yet" };
const tiles = new Map(); // layer → canvas of the strip
let number = -1, layers = new Map(), size = null, mask = null, loads = 0, pixel = 1; // pixel: of the image, on the screen at zoom 1

export const isOpen = () => !$("detail").hidden;
export const brush = new Brush(stage, sheet, { ring: $("brush-ring"), outline: $("outline"), proposed, preview, changed: () => paint(), dirtied: showHistory });
export const zoom = new Zoom(stage, sheet, { painting: () => Boolean(brush.mask), interrupted: () => brush.interrupt(), changed: showZoom });

function showHistory() {
  $("dirty").hidden = !brush.dirty && !brush.undone.length;
  $("stroke-undo").disabled = !brush.done.length;
  $("stroke-redo").disabled = !brush.undone.length;
  $("save").disabled = !brush.dirty;
}

// The slider goes by octaves.
function showZoom() {
  $("zoom").value = (100 * Math.log2(zoom.k)) / Math.log2(zoom.most);
  $("zoom-value").textContent = `${zoom.k < 10 ? zoom.k.toFixed(1) : Math.round(zoom.k)}×`;
  sheet.classList.toggle("crisp", pixel * zoom.k > 3);
  if (brush.drawing) brush.trace();
}

// Regions for the wand: one request an image and grain; the size slider chooses the grain.
let regions = new Map(), previewed = "";
const grain = () => Math.min(3, Math.floor($("size").value / 18));

function proposed() {
  const key = grain();
  if (!regions.has(key)) {
    const mine = regions;
    mine.set(key, null);
    fetchBytes(`regions/${number}?grain=${key}`).then((content) => {
      const [height, width] = new Uint32Array(content, 0, 2);
      mine.set(key, { height, width, numbers: new Uint32Array(content, 8) });
    }).catch((error) => emit("toast", error.message));
  }
  return regions.get(key);
}

function preview(found, region) {
  const what = region < 0 ? "" : `${grain()} ${region}`;
  if (what === previewed) return;
  previewed = what;
  const canvas = $("proposal");
  canvas.hidden = region < 0;
  if (region < 0) return;
  canvas.width = found.width;
  canvas.height = found.height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(found.width, found.height), out = new Uint32Array(pixels.data.buffer);
  for (let at = 0; at < out.length; at++) if (found.numbers[at] === region) out[at] = 0xb0ffffff;
  context.putImageData(pixels, 0, 0);
}

export async function open() {
  if (focused() === undefined) return;
  $("detail").hidden = false;
  $("grid").style.visibility = "hidden";
  document.body.classList.add("open-detail");
  emit("opened");
  await load();
}

export function close() {
  if (!leave()) return;
  brush.stop();
  $("detail").hidden = true;
  $("grid").style.visibility = "";
  document.body.classList.remove("open-detail");
  emit("opened");
  relayout();
  focus(state.place);
  $("grid").focus();
}

// Painted and not saved: nobody's work is thrown away by a key.
function leave() {
  if (brush.dirty) emit("toast", "Your strokes are not saved: S saves and accepts, Discard drops them.");
  return !brush.dirty;
}

export function go(step) {
  if (!leave()) return;
  const place = state.place + step;
  if (place < 0 || place >= state.order.length) return emit("toast", step > 0 ? "That was the last one." : "This is the first one.");
  focus(place);
  if (isOpen()) load();
}

export function nextUnreviewed() {
  if (!leave()) return;
  const ahead = [...state.order.keys()].slice(state.place + 1).find((place) => decided(state.order[place]).verdict === "open");
  if (ahead === undefined) return emit("toast", "All images after this one are reviewed.");
  focus(ahead);
  if (isOpen()) load();
}

export const move = (key) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columnsNow(), ArrowDown: columnsNow() }[key];
  if (isOpen()) return Math.abs(step) === 1 || columnsNow() === 1 ? go(Math.sign(step)) : undefined;
  focus(state.place + step);
};

export async function judge(verdict) {
  if (state.selected.size && !isOpen()) {
    const numbers = [...state.selected];
    await decide(numbers, verdict);
    emit("toast", `${numbers.length} ${verdict}`);
    return select([]);
  }
  if (focused() === undefined) return;
  if (brush.dirty && verdict === "accepted") return save();
  if (!leave()) return;
  const at = focused();
  await decide([at], verdict);
  if (state.place + 1 < state.order.length) go(1);
  else if (isOpen()) side();
}

export async function save() {
  if (!brush.dirty) return;
  await saveMask(number, brush.mask);
  brush.stop();
  emit("toast", "Mask saved and accepted");
  if (state.run.masks) show(state.run.masks);
  await load();
}

async function load() {
  const here = ++loads;
  if (number !== focused()) { zoom.reset(); regions = new Map(); }
  number = focused();
  brush.stop();
  layers = new Map();
  mask = null;
  size = [state.images.height[number], state.images.width[number]];
  $("name").textContent = state.images.id[number];
  $("position").textContent = `${state.place + 1} of ${state.order.length}`;
  photo.hidden = !state.run.photos;
  if (state.run.photos) photo.src = `api/photos/${number}`;
  fit();
  side();
  strip();
  paint();
  const names = state.run.layers.map((layer) => layer.name);
  if (decided(number).mask) names.push(state.run.corrected);
  names.sort((one, other) => (other === wanted()) - (one === wanted()));
  await Promise.all(names.map(async (name) => {
    const [item] = unpack(await fetchBytes(`layers?layer=${encodeURIComponent(name)}&images=${number}&side=0`));
    if (here !== loads) return;
    layers.set(name, item ?? null);
    tiles.get(name)?.parentNode.classList.toggle("missing", !item);
    if (item && name === wanted()) {
      if (!size[0]) { size = [item.height, item.width]; fit(); }
      paint();
    }
    drawTile(name);
  })).catch((error) => emit("toast", error.message));
}

const wanted = () => layerFor(number);

function fit() {
  const [height, width] = size[0] ? size : [300, 400];
  pixel = Math.max(1e-3, Math.min((stage.clientWidth - 8) / width, (stage.clientHeight - 8) / height));
  zoom.fit(width * pixel, height * pixel, pixel);
}

// What the overlay shows: the strokes, else the layer at its thresholds.
function current() {
  if (brush.mask) return brush.mask;
  const item = layers.get(wanted());
  if (!item) return null;
  if (item.isMask) return item.planes[0];
  item.full ??= fullWinners(item, labelsOf(number), state.run.background);
  return fullMask(item.full, thresholdsOf(layerOf(wanted())));
}

function paint() {
  if (!isOpen() || !size) return;
  mask = size[0] ? current() : null;
  overlay.style.visibility = mask ? "" : "hidden";
  if (!mask) return;
  const [height, width] = size;
  if (overlay.width !== width || overlay.height !== height) { overlay.width = width; overlay.height = height; }
  const context = overlay.getContext("2d"), pixels = context.createImageData(width, height);
  paintOutlined(mask, width, height, colourTable(state.run.classes.length, brush.mask ? null : state.highlight), 0.8, new Uint32Array(pixels.data.buffer));
  context.putImageData(pixels, 0, 0);
}

export function paintWith(tool) {
  if (tool === "wand" && !state.run.photos) return emit("toast", "The wand needs the photo, which is not available.");
  if (brush.tool === tool && brush.mask && !brush.dirty && !brush.drawing) return brush.stop();
  if (!brush.mask) {
    const start = current() ?? (size[0] ? new Uint8Array(size[0] * size[1]) : null);
    if (!start) return emit("toast", "The size of this image is not known, so it cannot be painted.");
    const [first] = labelsOf(number);
    if (first !== undefined) { brush.value = first + 1; $("paint-class").value = first + 1; }
    brush.begin(Uint8Array.from(start), size);
  }
  brush.choose(tool);
  if (tool === "wand") proposed();
}

function strip() {
  $("strip").replaceChildren();
  tiles.clear();
  const names = [...(state.run.photos ? [""] : []), ...state.run.layers.map((layer) => layer.name), ...(decided(number).mask ? [state.run.corrected] : [])];
  for (const name of names) {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    const layer = layerOf(name);
    button.append(canvas, name === "" ? "image" : (layer?.title ?? "corrected mask"));
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", name === wanted());
    button.addEventListener("click", () => { if (leave()) show(name === state.run.corrected ? state.run.masks : name); });
    $("strip").append(button);
    tiles.set(name, canvas);
    const [height, width] = size[0] ? size : [3, 4];
    canvas.width = Math.round((208 * width) / height);
    canvas.height = 208;
    canvas.style.aspectRatio = `${width} / ${height}`;
    drawTile(name);
  }
}

function drawTile(name) {
  const canvas = tiles.get(name), item = layers.get(name);
  if (!canvas) return;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (photo.complete && photo.naturalWidth) {
    context.filter = name ? "grayscale(0.7)" : "none";
    context.drawImage(photo, 0, 0, canvas.width, canvas.height);
    context.filter = "none";
  }
  if (!item) return;
  const small = document.createElement("canvas");
  small.width = item.w;
  small.height = item.h;
  const pixels = small.getContext("2d").createImageData(item.w, item.h), out = new Uint32Array(pixels.data.buffer);
  if (item.isMask) paintOutlined(item.planes[0], item.w, item.h, colourTable(state.run.classes.length, state.highlight), 0.65, out);
  else paintHeat(item, state.highlight, out);
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// Verdict, measures and labels of the image.
function side() {
  const { verdict, source, stale, mask: edited } = decided(number);
  const layer = source && layerOf(source.layer);
  const at = layer?.kind === "maps" ? ` at ${source.threshold?.toFixed(2)}` : "";
  const what = !source || verdict !== "accepted" ? "" : source.layer === state.run.corrected ? ", corrected by hand" : `: ${layer?.title ?? source.layer}${at}`;
  $("verdict").textContent = `${TITLES[verdict]}${what}${stale ? " (of an earlier run)" : ""}${edited && source?.layer !== state.run.corrected ? "; a corrected mask is kept" : ""}`;
  $("accept").classList.toggle("on", verdict === "accepted");
  $("reject").classList.toggle("on", verdict === "rejected");
  $("measures").textContent = state.images.damaged[number] ||
    Object.entries(measures()).filter(([name]) => state.images[name][number] !== null).map(([name, word]) => `${word} ${Math.round(100 * state.images[name][number])} %`).join(" · ");
  const own = state.images.labels[number], now = labelsOf(number);
  $("labels").replaceChildren(...[...new Set([...own, ...now])].map((index) => {
    const chip = document.createElement("button"), there = now.includes(index);
    chip.className = `chip${there ? "" : " gone"}`;
    chip.style.setProperty("--colour", cssColour(index));
    chip.textContent = `${state.run.classes[index]} ${there ? "×" : "↺"}`;
    chip.title = there ? "Remove this label" : "Put this label back";
    chip.addEventListener("click", () => setLabels(there ? now.filter((each) => each !== index) : [...now, index]));
    return chip;
  }));
  if (!own.length && !now.length) $("labels").textContent = "none";
  const free = [...state.run.classes.keys()].filter((index) => !now.includes(index) && !own.includes(index));
  $("add-label").replaceChildren(new Option("a class …", ""), ...free.map((index) => new Option(state.run.classes[index], index)));
}

async function setLabels(indices) {
  try {
    await relabel(number, indices.sort((one, other) => one - other));
  } catch (error) { emit("toast", error.message); }
}

$("add-label").addEventListener("change", (event) => {
  if (event.target.value) setLabels([...labelsOf(number), +event.target.value]);
});
photo.addEventListener("load", () => {
  if (!size[0]) { size = [photo.naturalHeight, photo.naturalWidth]; fit(); strip(); }
  for (const name of tiles.keys()) drawTile(name);
});
$("zoom").addEventListener("input", () => zoom.by(zoom.most ** ($("zoom").value / 100) / zoom.k));
new ResizeObserver(() => isOpen() && size && fit()).observe(stage);
on("threshold highlight", () => { if (isOpen()) { paint(); } });
on("highlight", () => { if (isOpen()) for (const name of tiles.keys()) drawTile(name); });
on("layer", () => { if (isOpen()) { if (!brush.dirty) brush.stop(); strip(); paint(); } });
on("decided", (numbers) => { if (isOpen() && numbers.includes(number)) side(); });
on("relabelled", (changed) => { if (isOpen() && changed === number) load(); });
