// Zoom and pan of the opened image: wheel and pinch at the cursor, keys at the middle, drag with the middle button, with
// space held, or with any button while no tool is in use. Code of our own, as d3-zoom comes as five modules that would
// have to be kept in the package, and a tool that draws with the same pointer has to be told of pinches in any case.

const WHEEL = 0.002, PINCH = 0.01, LINE = 20, MOST = 8, PIXEL = 40; // octaves a pixel of the wheel; pixels of a line; at most

export class Zoom {
  // painting(): whether a tool uses the pointer; interrupted(): a second finger came; changed(): after every move.
  constructor(stage, sheet, { painting, interrupted, changed }) {
    Object.assign(this, { stage, sheet, painting, interrupted, changed });
    Object.assign(this, { width: 1, height: 1, most: MOST, k: 1, x: 0, y: 0, space: false, over: false });
    this.fingers = new Map();
    this.drag = null;
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event), { capture: true });
    stage.addEventListener("pointermove", (event) => this.move(event), { capture: true });
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.up(event), { capture: true });
    stage.addEventListener("pointerenter", () => { this.over = true; });
    stage.addEventListener("pointerleave", () => { this.over = false; this.hold(false); });
    stage.addEventListener("mousedown", (event) => { if (event.button === 1) event.preventDefault(); }); // else it scrolls by itself
  }

  // The sheet's size (pixels of the screen) at factor 1, and that of a pixel of the image.
  fit(width, height, pixel) {
    const fx = (this.stage.clientWidth / 2 - this.x) / (this.width * this.k), fy = (this.stage.clientHeight / 2 - this.y) / (this.height * this.k);
    Object.assign(this, { width, height, most: Math.max(MOST, PIXEL / pixel) });
    this.sheet.style.width = `${width}px`;
    this.sheet.style.height = `${height}px`;
    this.k = Math.min(this.k, this.most);
    this.x = this.stage.clientWidth / 2 - fx * width * this.k; // what was in the middle stays there
    this.y = this.stage.clientHeight / 2 - fy * height * this.k;
    this.lay();
  }

  reset() { this.k = 1; this.lay(); }

  // By a factor, about a point of the stage; without one about its middle.
  by(factor, [x, y] = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    const k = Math.min(this.most, Math.max(1, this.k * factor)), share = k / this.k;
    Object.assign(this, { k, x: x - (x - this.x) * share, y: y - (y - this.y) * share });
    this.lay();
  }

  lay() {
    const inside = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, at)));
    this.x = inside(this.x, this.width * this.k, this.stage.clientWidth);
    this.y = inside(this.y, this.height * this.k, this.stage.clientHeight);
    this.sheet.style.transform = `translate(${this.x}px,${this.y}px) scale(${this.k})`;
    this.stage.classList.toggle("zoomed", this.k > 1);
    this.changed();
  }

  // Space, while the pointer is over the stage.
  hold(space) {
    this.space = space;
    this.stage.classList.toggle("grab", space);
  }

  place(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  wheel(event) {
    event.preventDefault();
    const moved = event.deltaY * (event.deltaMode === 1 ? LINE : 1) * (event.ctrlKey ? PINCH : WHEEL);
    this.by(2 ** -moved, this.place(event));
  }

  down(event) {
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.place(event));
      if (this.fingers.size === 2) { this.interrupted(); this.drag = null; this.pinch = this.spread(); }
      if (this.fingers.size > 1) return event.stopPropagation();
    }
    if (event.button !== 1 && !this.space && (this.painting() || event.button)) return;
    event.stopPropagation();
    if (event.pointerType !== "touch") event.preventDefault();
    this.drag = this.place(event);
    this.stage.setPointerCapture(event.pointerId);
  }

  move(event) {
    const here = this.place(event);
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, here);
    if (this.fingers.size > 1) {
      event.stopPropagation();
      const [middle, width] = this.spread(), [before, narrow] = this.pinch;
      this.x += middle[0] - before[0];
      this.y += middle[1] - before[1];
      this.by(width / narrow, middle);
      this.pinch = [middle, width];
    } else if (this.drag) {
      event.stopPropagation();
      this.x += here[0] - this.drag[0];
      this.y += here[1] - this.drag[1];
      this.drag = here;
      this.lay();
    }
  }

  up(event) {
    if (this.drag || this.fingers.size > 1) event.stopPropagation();
    this.fingers.delete(event.pointerId);
    this.drag = null;
  }

  // Middle and distance of the first two fingers.
  spread() {
    const [[x0, y0], [x1, y1]] = [...this.fingers.values()];
    return [[(x0 + x1) / 2, (y0 + y1) / 2], Math.max(1, Math.hypot(x1 - x0, y1 - y0))];
  }
}
