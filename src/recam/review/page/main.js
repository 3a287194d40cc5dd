// Puts the page together: bars, keys, and polling for changes of other tabs.
import { post } from "./api.js";
import { read as readAddress } from "./address.js";
import { need, update as updateThreshold } from "./curve.js";
import { brush, close, go, isOpen, judge, move, nextUnreviewed, open, paintWith, save, zoom } from "./detail.js";
import { intoModel, intoRecipe, openExport } from "./dialogs.js";
import { apply, fillChoices } from "./filters.js";
import { relayout, select } from "./grid.js";
import { cssColour } from "./paint.js";
import { catchUp, decide, decided, load, mapsLayer, on, reloadImages, setThreshold, show, shown, startOf, state, emit, revert } from "./state.js";

const $ = (id) => document.getElementById(id);
const guarded = (work) => async (...values) => { try { await work(...values); } catch (error) { toast(error.message); } };

let toasting = 0;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(toasting);
  toasting = setTimeout(() => $("toast").classList.remove("on"), 3500);
}
on("toast", toast);

function fillLayers() {
  const entries = [...(state.run.photos ? [["", "image"]] : []), ...state.run.layers.map((layer) => [layer.name, layer.title])];
  $("layers").replaceChildren(...entries.map(([name, title]) => {
    const button = document.createElement("button");
    button.textContent = title;
    button.dataset.layer = name;
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", name === state.layer);
    button.addEventListener("click", () => show(name));
    return button;
  }));
}

function fillClasses() {
  const counts = new Array(state.run.classes.length).fill(0);
  for (const labels of state.images.labels) for (const index of labels) counts[index]++;
  $("classes").replaceChildren(...state.run.classes.map((name, index) => {
    const chip = document.createElement("button"), small = document.createElement("small");
    chip.className = "chip";
    chip.style.setProperty("--colour", cssColour(index));
    small.textContent = counts[index];
    chip.append(name, small);
    chip.title = `Highlight ${name}`;
    chip.addEventListener("click", () => highlight(index));
    return chip;
  }));
  $("scope").replaceChildren(new Option("all classes", ""), ...state.run.classes.map((name, index) => new Option(name, index)));
  $("paint-class").replaceChildren(...state.run.classes.map((name, index) => new Option(name, index + 1)), ...(state.run.background ? [new Option("background (0)", 0)] : []), new Option("ignore (255)", 255));
  brush.nothing = state.run.background ? 0 : 255;
}

function highlight(index) {
  state.highlight = state.highlight === index ? null : index;
  [...$("classes").children].forEach((chip, at) => chip.setAttribute("aria-pressed", at === state.highlight));
  emit("highlight");
}

function progress() {
  const all = state.images.id.length, each = [...state.states.values()];
  const accepted = each.filter((one) => one.verdict === "accepted").length, rejected = each.filter((one) => one.verdict === "rejected").length;
  $("progress").querySelector(".accepted").style.width = `${(100 * accepted) / all}%`;
  $("progress").querySelector(".rejected").style.width = `${(100 * rejected) / all}%`;
  $("progress").querySelector("span").textContent = `${accepted + rejected} of ${all} reviewed`;
  $("progress").title = `${accepted} accepted, ${rejected} rejected of ${all}`;
}

// Images that the model has not predicted yet, of those that its masks are compared with or are all that there is.
const unpredicted = ({ split, model_disagreement, area }) => split.some((each, number) =>
  (each === "train" && model_disagreement[number] === null) || (each === "unlabelled" && area[number] === null));

function modelButton() {
  const job = state.jobs.find((each) => each.name === "model");
  const button = $("model"), running = job?.state === "running";
  button.hidden = !state.run.model || !state.run.photos || (!running && !unpredicted(state.images));
  button.disabled = running;
  button.textContent = running ? `model ${job.done} / ${job.total}` : "Predict all images";
  button.title = "Predicts every image once, so that masks can be sorted by how far the model disagrees";
}

const overlayOn = (value) => { state.overlay = value; document.body.classList.toggle("no-overlay", !value); };
const step = (by) => { const layer = mapsLayer(); if (layer && state.run.background) { $("threshold").value = +$("threshold").value + by; setThreshold($("threshold").value / 100); } };
const resize = (by) => { $("size").value = +$("size").value * by + Math.sign(by - 1); brush.radius = $("size").value / 2; };

function nextLayer() {
  const names = [...$("layers").children].map((button) => button.dataset.layer);
  show(names[(names.indexOf(state.layer) + 1) % names.length]);
}

const undoDecision = guarded(async () => toast(`Undid: ${await revert("undo")}`));
const redoDecision = guarded(async () => toast(`Redid: ${await revert("redo")}`));
// With Ctrl, and by their own keys: strokes while there are any, else decisions.
const undoAny = () => (brush.drawing || brush.done.length ? brush.undo() : undoDecision());
const redoAny = () => (brush.undone.length ? brush.redo() : redoDecision());

function chooseClass(index) {
  if (index >= state.run.classes.length) return;
  if (brush.mask) { brush.value = index + 1; $("paint-class").value = index + 1; if (brush.tool === "eraser") paintWith("brush"); } else highlight(index);
}

const KEYS = {
  a: guarded(() => judge("accepted")), r: guarded(() => judge("rejected")), u: undoDecision, U: redoDecision, n: nextUnreviewed, o: () => overlayOn(!state.overlay), l: nextLayer,
  Enter: () => (brush.drawing ? brush.close() : !isOpen() && open()), Backspace: () => brush.drawing && brush.undo(), Escape: () => (brush.drawing ? brush.drop() : isOpen() ? close() : select([])), ",": () => step(-1), ".": () => step(1),
  b: () => isOpen() && paintWith("brush"), e: () => isOpen() && paintWith("eraser"), f: () => isOpen() && paintWith("fill"),
  p: () => isOpen() && paintWith("polygon"), w: () => isOpen() && paintWith("wand"), "[": () => resize(0.8), "]": () => resize(1.25),
  z: () => brush.undo(), y: () => brush.redo(), s: guarded(() => save()),
  "+": () => zoom.by(1.25), "=": () => zoom.by(1.25), "-": () => zoom.by(0.8), 0: () => zoom.reset(), "?": () => $("help").showModal(),
};

addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (document.querySelector("dialog[open]") || event.altKey || event.metaKey) return;
  const typing = target.matches("select, input:not([type=range])");
  if (typing) { if (key === "Escape") target.blur(); return; }
  if (event.ctrlKey) {
    const act = { z: event.shiftKey ? redoAny : undoAny, y: redoAny, a: isOpen() ? null : () => select(state.order) }[key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
    return;
  }
  if (key === " " && isOpen() && zoom.over) { event.preventDefault(); return zoom.hold(true); }
  if (key.startsWith("Arrow")) { if (target.type === "range") return; event.preventDefault(); move(key); return; }
  if (key === "Enter" && target.matches("button") && !brush.drawing) return;
  if (/^[1-9]$/.test(key)) return chooseClass(key - 1);
  const act = KEYS[key] ?? KEYS[key.length === 1 ? key.toLowerCase() : key];
  if (act) { event.preventDefault(); act(); }
});

addEventListener("keyup", (event) => { if (event.key === " ") zoom.hold(false); });

const click = (id, act) => $(id).addEventListener("click", act);
click("accept", KEYS.a); click("reject", KEYS.r); click("undo", undoDecision); click("redo", redoDecision); click("next", () => go(1)); click("previous", () => go(-1)); click("close", close);
click("brush", () => paintWith("brush")); click("eraser", () => paintWith("eraser")); click("fill", () => paintWith("fill")); click("polygon", () => paintWith("polygon")); click("wand", () => paintWith("wand"));
 click("save", KEYS.s); click("stroke-undo", KEYS.z); click("stroke-redo", KEYS.y); click("discard", () => brush.stop());
click("try-open", () => $("try").showModal()); click("export-open", openExport); click("help-open", () => $("help").showModal());
click("recipe", guarded(intoRecipe)); click("learn", guarded(intoModel));
click("model", guarded(async () => { await post("model", {}); await catchUp(); }));
click("filter-toggle", () => { const on = document.body.classList.toggle("open-filters"); $("filter-toggle").setAttribute("aria-expanded", on); relayout(); });
click("reset", () => { const layer = mapsLayer(); if (layer) { state.thresholds[layer.name] = startOf(layer); emit("threshold"); } });
click("accept-all", guarded(async () => {
  const open = state.order.filter((number) => decided(number).verdict === "open");
  const what = shown()?.title ?? "mask";
  if (!open.length) return toast("Every image that is shown is reviewed already.");
  if (!confirm(`Accept ${what} of ${open.length} images that are shown and not reviewed yet? One undo takes it all back.`)) return;
  await decide(open, "accepted");
  toast(`${open.length} accepted`);
}));
$("opacity").addEventListener("input", (event) => { document.documentElement.style.setProperty("--overlay", event.target.value / 100); overlayOn(true); });
$("threshold").addEventListener("input", (event) => setThreshold(event.target.value / 100));
$("scope").addEventListener("change", (event) => {
  state.scope = event.target.value === "" ? null : +event.target.value;
  emit("scope");
});
$("size").addEventListener("input", (event) => { brush.radius = event.target.value / 2; });
$("paint-class").addEventListener("change", (event) => { brush.value = +event.target.value; });
on("open", open);
click("accept-selected", KEYS.a); click("reject-selected", KEYS.r); click("select-none", () => select([]));
on("selected order", () => { $("selection").hidden = !state.selected.size; $("selection").firstChild.textContent = `${state.selected.size} selected`; });
on("layer", () => [...$("layers").children].forEach((button) => button.setAttribute("aria-checked", button.dataset.layer === state.layer)));
on("decided", progress);
on("jobs images", modelButton);
on("job-ended", guarded(async (job) => {
  if (job.state === "failed") toast(job.message);
  if (job.name === "model") await reloadImages();
  else if (job.name.startsWith("counts")) need(mapsLayer());
}));

async function begin() {
  await load();
  document.title = `${state.run.run} · recam review`;
  $("run").textContent = state.run.run;
  fillLayers(); fillClasses(); fillChoices(); apply(); progress(); modelButton(); updateThreshold();
  readAddress();
  if (state.run.no_photos) toast(`The photos are not available: ${state.run.no_photos}`);
  else if (state.run.damaged_lines) toast(`${state.run.damaged_lines} damaged lines of the log of decisions were left out.`);
  if (!isOpen()) $("grid").focus();
  document.body.dataset.ready = "yes";
  const poll = async () => {
    const running = state.jobs.some((job) => job.state === "running");
    if (!document.hidden || running) await catchUp().catch(() => toast("No response from the server: is `recam review` still running?"));
    setTimeout(poll, 1500);
  };
  setTimeout(poll, 1500);
}
guarded(begin)();
