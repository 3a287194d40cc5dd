// The grid: as many cells as fit on the screen, moved along as it scrolls.
import { fetchBytes, unpack, unpackThumbnails } from "./api.js";
import { Cache } from "./cache.js";
import { colourTable, cssColour, limits, paintMask, paintWinners, winners } from "./paint.js";
import { decided, labelsOf, layerFor, on, shown, state, emit, thresholdsOf } from "./state.js";

const GAP = 12, CAPTION = 30, OVERSCAN = 2, SIDE = 160, BOUND = 96 << 20;
const MARKS = { accepted: "✓", rejected: "✕" };

const root = document.getElementById("grid"), space = document.getElementById("canvas-space");
const cells = new Map(); // place in the order → cell
const spare = [];
let columns = 1, tile = 200, picture = 200, row = 242, pad = 16, timer = 0;

export const thumbnails = new Cache(async (numbers) => {
  const found = unpackThumbnails(await fetchBytes(`thumbnails?images=${numbers.join()}`)).filter((each) => each.jpeg.length);
  return Promise.all(found.map(async ({ number, jpeg }) => {
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    return [number, bitmap, bitmap.width * bitmap.height * 4];
  }));
}, BOUND, { drop: (bitmap) => bitmap?.close() });

// One cache a layer; a mask or the winners of maps, whichever it has.
const layers = new Map();
export function planes(name) {
  if (!layers.has(name)) {
    const cache = new Cache(async (numbers) => {
      const items = unpack(await fetchBytes(`layers?layer=${encodeURIComponent(name)}&images=${numbers.join()}&side=${SIDE}`));
      return items.map((item) => {
        const value = item.isMask ? { h: item.h, w: item.w, mask: item.planes[0] } : winners(item, labelsOf(item.number), state.run.background);
        return [item.number, value, item.h * item.w * 2];
      });
    }, BOUND);
    cache.arrived = (numbers) => repaint(new Set(numbers));
    layers.set(name, cache);
  }
  return layers.get(name);
}
thumbnails.arrived = (numbers) => { const some = new Set(numbers); for (const cell of cells.values()) if (some.has(cell.number)) drawPhoto(cell); };

function makeCell() {
  const element = document.createElement("div");
  element.className = "cell";
  element.setAttribute("role", "option");
  element.innerHTML = '<div class="picture"><canvas class="photo"></canvas><canvas class="overlay"></canvas></div><span class="badge"></span><div class="caption"><span class="id"></span></div>';
  const [photo, overlay] = element.querySelectorAll("canvas");
  const cell = { element, photo, overlay, badge: element.querySelector(".badge"), caption: element.querySelector(".caption"), number: -1 };
  element.addEventListener("click", (event) => choose(cell, event));
  element.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") { event.preventDefault(); toggle(cell.number); } }); // a long press
  return cell;
}

// Shift takes all from the last one on, Ctrl one more, and so does a tap once one is taken by a long press.
let anchor = 0;
function choose(cell, event) {
  const { place, number } = cell;
  if (event.shiftKey) {
    const [from, to] = anchor < place ? [anchor, place] : [place, anchor];
    select([...state.selected, ...state.order.slice(from, to + 1)]);
    return focus(place);
  }
  anchor = place;
  focus(place);
  if (event.ctrlKey || event.metaKey || (state.selected.size && event.pointerType === "touch")) toggle(number);
  else emit("open");
}

function toggle(number) {
  select(state.selected.has(number) ? [...state.selected].filter((each) => each !== number) : [...state.selected, number]);
}

export function select(numbers) {
  state.selected = new Set(numbers);
  for (const cell of cells.values()) mark(cell);
  emit("selected");
}

function fill(cell, place) {
  const number = state.order[place];
  cell.place = place;
  const x = pad + (place % columns) * (tile + GAP), y = pad + Math.floor(place / columns) * row;
  cell.element.style.cssText = `width:${tile}px;transform:translate(${x}px,${y}px)`;
  cell.element.firstChild.style.height = `${picture}px`;
  if (cell.number !== number) {
    cell.number = number;
    cell.element.dataset.number = number;
    cell.drawn = false;
    caption(cell);
    drawPhoto(cell);
  }
  paintCell(cell);
  mark(cell);
}

function caption(cell) {
  const id = state.images.id[cell.number];
  cell.caption.querySelector(".id").textContent = `\u200e${id}`;
  cell.element.title = `${id}\n${labelsOf(cell.number).map((index) => state.run.classes[index]).join(", ") || "no label"}`;
  cell.caption.querySelectorAll(".dot").forEach((dot) => dot.remove());
  for (const index of labelsOf(cell.number).slice(0, 5)) {
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.setProperty("--colour", cssColour(index));
    cell.caption.append(dot);
  }
}

function drawPhoto(cell) {
  const bitmap = thumbnails.get(cell.number);
  cell.photo.style.visibility = bitmap ? "" : "hidden";
  if (!bitmap) return;
  cell.photo.width = bitmap.width;
  cell.photo.height = bitmap.height;
  cell.photo.getContext("2d").drawImage(bitmap, 0, 0);
}

let table = null, limit = null;
function renew() {
  const layer = shown();
  table = colourTable(state.run.classes.length, state.highlight);
  limit = layer?.kind === "maps" ? limits(thresholdsOf(layer)) : null;
}

function paintCell(cell) {
  const { overlay, number } = cell;
  const found = state.layer ? planes(layerFor(number)).get(number) : null;
  overlay.style.visibility = found ? "" : "hidden";
  if (!found) return;
  if (overlay.width !== found.w || overlay.height !== found.h) { overlay.width = found.w; overlay.height = found.h; cell.pixels = null; }
  const context = overlay.getContext("2d");
  cell.pixels ??= context.createImageData(found.w, found.h);
  const out = new Uint32Array(cell.pixels.data.buffer);
  if (found.mask) paintMask(found.mask, table, out);
  else paintWinners(found, limit, table, out);
  context.putImageData(cell.pixels, 0, 0);
}

function mark(cell) {
  const { verdict, mask, stale } = decided(cell.number);
  cell.element.className = `cell ${verdict}${cell.place === state.place ? " focus" : ""}${state.selected.has(cell.number) ? " selected" : ""}`;
  cell.element.setAttribute("aria-selected", state.selected.size ? state.selected.has(cell.number) : cell.place === state.place);
  cell.badge.textContent = `${MARKS[verdict] ?? ""}${mask ? " ✎" : ""}${stale ? " earlier" : ""}`;
}

function repaint(some) {
  renew();
  for (const cell of cells.values()) if (!some || some.has(cell.number)) paintCell(cell);
}

function measure() {
  const width = root.clientWidth;
  pad = width < 500 ? 10 : 16;
  const least = width < 500 ? 150 : 190;
  columns = Math.max(1, Math.floor((width - 2 * pad + GAP) / (least + GAP)));
  tile = Math.floor((width - 2 * pad - (columns - 1) * GAP) / columns);
  const { height, width: widths } = state.images;
  const aspects = widths.map((each, number) => each / height[number]).filter((each) => each > 0).sort((a, b) => a - b);
  const middle = Math.min(1.5, Math.max(0.8, aspects[aspects.length >> 1] ?? 1));
  picture = Math.round(tile / middle);
  row = picture + CAPTION + GAP;
}

function render() {
  if (!state.images || root.offsetParent === null) return;
  const first = Math.max(0, Math.floor((root.scrollTop - pad) / row) - OVERSCAN) * columns;
  const last = Math.min(state.order.length, (Math.ceil((root.scrollTop + root.clientHeight - pad) / row) + OVERSCAN) * columns);
  for (const [place, cell] of cells) {
    if (place < first || place >= last) { cells.delete(place); cell.element.hidden = true; spare.push(cell); }
  }
  for (let place = first; place < last; place++) {
    if (cells.has(place)) continue;
    const cell = spare.pop() ?? makeCell();
    if (!cell.element.parentNode) space.append(cell.element);
    cell.element.hidden = false;
    cells.set(place, cell);
    fill(cell, place);
  }
  // Nothing is requested while the grid scrolls, everything where it stops.
  clearTimeout(timer);
  timer = setTimeout(request, 40, first, last);
}

function request(first, last) {
  const numbers = state.order.slice(first, last);
  if (state.run.photos) thumbnails.want(numbers);
  if (!state.layer) return;
  const groups = new Map([[state.layer, []]]);
  for (const number of numbers) {
    const name = layerFor(number);
    groups.set(name, [...(groups.get(name) ?? []), number]);
  }
  for (const [name, some] of groups) planes(name).want(some);
}

export function relayout() {
  if (root.offsetParent === null) return;
  measure();
  space.style.height = `${Math.ceil(state.order.length / columns) * row + 2 * pad}px`;
  document.getElementById("empty").hidden = state.order.length > 0;
  renew();
  for (const [place, cell] of cells) { cells.delete(place); cell.element.hidden = true; cell.number = -1; spare.push(cell); }
  render();
}

export function focus(place, reveal = true) {
  state.place = Math.max(0, Math.min(state.order.length - 1, place));
  for (const cell of cells.values()) mark(cell);
  if (reveal && root.offsetParent !== null) {
    const top = pad + Math.floor(state.place / columns) * row;
    if (top < root.scrollTop + 4) root.scrollTop = top - pad;
    else if (top + row > root.scrollTop + root.clientHeight) root.scrollTop = top + row - root.clientHeight + pad;
  }
  emit("focus");
}

export const columnsNow = () => columns;

let due = false;
export function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; repaint(); });
}

root.addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
new ResizeObserver(() => state.images && relayout()).observe(root);
on("threshold highlight", soon);
on("layer", () => { repaint(); render(); });
on("order", () => { anchor = state.place; });
on("order images", relayout);
on("relabelled", (number) => {
  for (const [name, cache] of layers) if (name !== state.run.truth) cache.forget(number);
  for (const cell of cells.values()) if (cell.number === number) caption(cell);
  render();
});
on("decided", (numbers) => {
  const some = new Set(numbers);
  const corrected = layers.get(state.run.corrected);
  for (const number of numbers) corrected?.forget(number);
  for (const cell of cells.values()) if (some.has(cell.number)) { mark(cell); paintCell(cell); }
  render();
});
on("job-ended", (job) => { if (job.name === "model" && state.run.model) { planes(state.run.model).clear(); render(); } });
