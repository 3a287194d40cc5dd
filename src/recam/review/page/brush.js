// The brush: paints class values into a mask of the image's size; strokes can be undone one by one.

const KEPT_BYTES = 64 << 20;

export class Brush {
  constructor(sheet, canvas, ring, changed, dirtied) {
    Object.assign(this, { sheet, canvas, ring, changed, dirtied });
    this.mask = null;
    this._dirty = false;
    this.tool = "brush";
    this.value = 1;
    this.nothing = 0; // what the eraser leaves: background, or 255 where there is none
    this.radius = 9; // pixels of the image
    this.before = [];
    sheet.addEventListener("pointerdown", (event) => this.down(event));
    sheet.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) sheet.addEventListener(end, () => { this.last = null; });
    sheet.addEventListener("pointerleave", () => { ring.hidden = true; });
  }

  get dirty() { return this._dirty; }
  set dirty(value) { this._dirty = value; this.dirtied(); }

  begin(mask, [height, width]) {
    Object.assign(this, { mask, height, width, before: [] });
    this.sheet.classList.add("painting");
    this.dirty = false;
  }

  choose(tool) {
    this.tool = tool;
    for (const name of ["brush", "eraser"]) document.getElementById(name).setAttribute("aria-pressed", Boolean(this.mask) && name === tool);
    this.changed();
  }

  stop() {
    this.mask = null;
    this.before = [];
    this.last = null;
    this.ring.hidden = true;
    this.sheet.classList.remove("painting");
    this.dirty = false;
    this.choose(this.tool);
  }

  place(event) {
    const box = this.sheet.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height, box.width / this.width];
  }

  down(event) {
    if (!this.mask || event.button) return;
    event.preventDefault();
    this.sheet.setPointerCapture(event.pointerId);
    this.before.push(Uint8Array.from(this.mask));
    while (this.before.length > 1 && this.before.length * this.mask.length > KEPT_BYTES) this.before.shift();
    this.last = this.place(event);
    this.line(this.last, this.last);
    this.dirty = true;
  }

  move(event) {
    if (!this.mask) return;
    const here = this.place(event), [x, y, scale] = here;
    Object.assign(this.ring.style, { left: `${x * scale}px`, top: `${y * scale}px`, width: `${2 * this.radius * scale}px`, height: `${2 * this.radius * scale}px` });
    this.ring.hidden = false;
    if (!this.last) return;
    this.line(this.last, here);
    this.last = here;
  }

  line([x0, y0], [x1, y1]) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(1, this.radius / 2)));
    for (let step = 0; step <= steps; step++) this.dot(x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps);
    this.changed();
  }

  dot(x, y) {
    const { mask, width, height, radius } = this, value = this.tool === "eraser" ? this.nothing : this.value;
    for (let row = Math.max(0, Math.ceil(y - radius - 0.5)); row <= Math.min(height - 1, Math.floor(y + radius)); row++) {
      const half = Math.sqrt(Math.max(0, radius * radius - (row + 0.5 - y) ** 2));
      const from = Math.max(0, Math.ceil(x - half - 0.5)), to = Math.min(width - 1, Math.floor(x + half - 0.5));
      if (to >= from) mask.fill(value, row * width + from, row * width + to + 1);
    }
  }

  undo() {
    const before = this.before.pop();
    if (!before) return;
    this.mask = before;
    if (!this.before.length) this.dirty = false;
    this.changed();
  }
}
