// The tools that paint class values into a mask of the image's size; what they did can be undone and done again.
import { difference, fillConnected, fillLine, fillPolygon, fillRegion, regionAt } from "./regions.js";

export const TOOLS = ["brush", "eraser", "fill", "polygon", "wand"];
const KEPT_BYTES = 64 << 20, NEAR = 10; // pixels of the screen at which a click closes a polygon

export class Brush {
  // proposed(): regions of the image, see regions.js, null before they are there; preview(regions, number): what a
  // click of the wand would take. changed(): there is something to paint; dirtied(): what can be saved, undone and done again has changed.
  constructor(stage, sheet, { ring, outline, proposed, preview, changed, dirtied }) {
    Object.assign(this, { stage, sheet, ring, outline, proposed, preview, changed, dirtied });
    Object.assign(this, { mask: null, tool: "brush", value: 1, nothing: 0, radius: 9 }); // nothing: what the eraser leaves; radius: pixels of the screen
    this.forget();
    sheet.addEventListener("pointerdown", (event) => this.down(event));
    sheet.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) sheet.addEventListener(end, () => this.end());
    stage.addEventListener("pointerleave", () => { ring.hidden = true; this.preview(null, -1); });
  }

  get dirty() { return this.done.length > 0 || this.lost; }
  get drawing() { return this.points.length > 0; }

  forget() { Object.assign(this, { done: [], undone: [], lost: false, points: [], last: null, before: null }); }

  begin(mask, size) {
    this.forget();
    Object.assign(this, { mask, size });
    this.stage.classList.add("painting");
    this.dirtied();
  }

  choose(tool) {
    this.tool = tool;
    this.drop();
    this.preview(null, -1);
    this.stage.dataset.tool = this.mask ? tool : "";
    for (const name of TOOLS) document.getElementById(name).setAttribute("aria-pressed", Boolean(this.mask) && name === tool);
    this.changed();
  }

  stop() {
    this.mask = null;
    this.forget();
    this.ring.hidden = true;
    this.stage.classList.remove("painting");
    this.dirtied();
    this.choose(this.tool);
  }

  // A place of the image, and how many pixels of the screen one of the image takes.
  place(event) {
    const box = this.sheet.getBoundingClientRect(), scale = box.width / this.size[1];
    return [[(event.clientX - box.left) / scale, (event.clientY - box.top) / scale], scale];
  }

  down(event) {
    if (!this.mask || event.button) return;
    event.preventDefault();
    const [here, scale] = this.place(event);
    if (this.tool === "polygon") return this.corner(here, scale);
    this.before = Uint8Array.from(this.mask);
    if (this.tool === "fill") {
      fillConnected(this.mask, this.size, here, this.value);
      return this.end();
    }
    this.sheet.setPointerCapture(event.pointerId);
    this.last = here;
    if (this.tool === "wand") this.take(here);
    else this.stroke(here, scale);
  }

  // The region under the pointer, as a whole.
  take(here) {
    const regions = this.proposed();
    if (!regions) return;
    const number = regionAt(regions, this.size, here);
    this.preview(regions, number);
    if (!this.last || number < 0 || number === this.taken) return;
    this.taken = number;
    fillRegion(this.mask, this.size, regions, number, this.value);
    this.changed();
  }

  move(event) {
    if (!this.mask) return;
    const [here, scale] = this.place(event), box = this.stage.getBoundingClientRect();
    this.ring.hidden = this.tool !== "brush" && this.tool !== "eraser";
    const side = `${2 * this.radius}px`;
    Object.assign(this.ring.style, { left: `${event.clientX - box.left}px`, top: `${event.clientY - box.top}px`, width: side, height: side });
    if (this.drawing) this.trace(here);
    if (this.tool === "wand") this.take(here);
    else if (this.last) this.stroke(here, scale);
  }

  stroke(here, scale) {
    fillLine(this.mask, this.size, this.last, here, this.radius / scale, this.tool === "eraser" ? this.nothing : this.value);
    this.last = here;
    this.changed();
  }

  // What was painted since `before` can be undone from here on.
  end() {
    const entry = this.mask && this.before && difference(this.before, this.mask);
    Object.assign(this, { last: null, before: null, taken: null });
    if (!entry) return;
    this.done.push(entry);
    this.undone = [];
    let bytes = this.done.reduce((sum, each) => sum + each.bytes.length, 0);
    while (this.done.length > 1 && bytes > KEPT_BYTES) { bytes -= this.done.shift().bytes.length; this.lost = true; }
    this.changed();
    this.dirtied();
  }

  // A stroke that turned out to be a pinch.
  interrupt() {
    if (this.before) this.mask = this.before;
    Object.assign(this, { last: null, before: null });
    if (this.mask) this.changed();
  }

  corner(here, scale) {
    const [first] = this.points, closes = first && Math.hypot(here[0] - first[0], here[1] - first[1]) * scale < NEAR;
    if (closes && this.points.length > 2) return this.close();
    if (!closes) this.points.push(here);
    this.trace();
  }

  close() {
    if (this.points.length > 2) {
      this.before = Uint8Array.from(this.mask);
      fillPolygon(this.mask, this.size, this.points, this.value);
    }
    this.drop();
    this.end();
  }

  drop() {
    this.points = [];
    this.trace();
  }

  // The corners on the screen, and the pointer after them.
  trace(here = null) {
    this.outline.style.display = this.drawing ? "" : "none";
    if (!this.drawing) return;
    const box = this.sheet.getBoundingClientRect(), stage = this.stage.getBoundingClientRect(), scale = box.width / this.size[1];
    const shown = (here ? [...this.points, here] : this.points).map(([x, y]) => [box.left - stage.left + x * scale, box.top - stage.top + y * scale]);
    for (const line of this.outline.querySelectorAll("polyline")) line.setAttribute("points", shown.join(" "));
    const start = this.outline.querySelector("circle");
    start.setAttribute("cx", shown[0][0]);
    start.setAttribute("cy", shown[0][1]);
  }

  undo() {
    if (this.drawing) { this.points.pop(); return this.trace(); }
    this.revert(this.done, this.undone);
  }

  redo() { this.revert(this.undone, this.done); }

  revert(from, to) {
    const entry = from.pop();
    if (!entry) return;
    const now = this.mask.slice(entry.from, entry.from + entry.bytes.length);
    this.mask.set(entry.bytes, entry.from);
    to.push({ from: entry.from, bytes: now });
    this.changed();
    this.dirtied();
  }
}
