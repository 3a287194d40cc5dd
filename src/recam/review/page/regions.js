// What the tools do to a mask: pure functions on the bytes of its rows.

// A disc about (x, y), where pixel (0, 0) reaches from 0 to 1; at least the pixel under its centre.
export function fillDisc(mask, [height, width], [x, y], radius, value) {
  const column = Math.floor(x), line = Math.floor(y);
  if (column >= 0 && column < width && line >= 0 && line < height) mask[line * width + column] = value;
  for (let row = Math.max(0, Math.ceil(y - radius - 0.5)); row <= Math.min(height - 1, Math.floor(y + radius)); row++) {
    const half = Math.sqrt(Math.max(0, radius * radius - (row + 0.5 - y) ** 2));
    const from = Math.max(0, Math.ceil(x - half - 0.5)), to = Math.min(width - 1, Math.floor(x + half - 0.5));
    if (to >= from) mask.fill(value, row * width + from, row * width + to + 1);
  }
}

export function fillLine(mask, size, [x0, y0], [x1, y1], radius, value) {
  const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(1, radius / 2)));
  for (let step = 0; step <= steps; step++) fillDisc(mask, size, [x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps], radius, value);
}

// The pixels that hang together with the one at (x, y), by their sides, and hold what it holds.
export function fillConnected(mask, [height, width], [x, y], value) {
  const start = Math.floor(y) * width + Math.floor(x), before = mask[start];
  if (x < 0 || y < 0 || x >= width || y >= height || before === value) return;
  const stack = [start];
  while (stack.length) {
    const at = stack.pop(), row = at - (at % width);
    if (mask[at] !== before) continue;
    let from = at, to = at;
    while (from > row && mask[from - 1] === before) from--;
    while (to < row + width - 1 && mask[to + 1] === before) to++;
    mask.fill(value, from, to + 1);
    for (const beside of [-width, width]) {
      for (let each = from + beside; each <= to + beside; each++) {
        if (each >= 0 && each < mask.length && mask[each] === before && (each === from + beside || mask[each - 1] !== before)) stack.push(each);
      }
    }
  }
}

// The pixels whose centres lie in a polygon, by the even-odd rule.
export function fillPolygon(mask, [height, width], points, value) {
  for (let row = 0; row < height; row++) {
    const y = row + 0.5, crossings = [];
    points.forEach(([x1, y1], at) => {
      const [x0, y0] = points[(at || points.length) - 1];
      if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
    });
    crossings.sort((one, other) => one - other);
    for (let at = 0; at + 1 < crossings.length; at += 2) {
      const from = Math.max(0, Math.ceil(crossings[at] - 0.5)), to = Math.min(width, Math.ceil(crossings[at + 1] - 0.5));
      if (to > from) mask.fill(value, row * width + from, row * width + to);
    }
  }
}

// The region that the pixel at (x, y) lies in: {height, width, numbers} of a smaller picture of the same image.
export function regionAt(regions, [height, width], [x, y]) {
  const row = Math.floor((y * regions.height) / height), column = Math.floor((x * regions.width) / width);
  const inside = row >= 0 && column >= 0 && row < regions.height && column < regions.width;
  return inside ? regions.numbers[row * regions.width + column] : -1;
}

export function fillRegion(mask, [height, width], regions, number, value) {
  const columns = Int32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * regions.width) / width));
  for (let y = 0, at = 0; y < height; y++) {
    const start = Math.floor(((y + 0.5) * regions.height) / height) * regions.width;
    for (let x = 0; x < width; x++, at++) if (regions.numbers[start + columns[x]] === number) mask[at] = value;
  }
}

// Bytes of `before` from the first to the last that differs in `now`; null where none does.
export function difference(before, now) {
  let from = 0, to = now.length;
  while (from < to && before[from] === now[from]) from++;
  while (to > from && before[to - 1] === now[to - 1]) to--;
  return to > from ? { from, bytes: before.slice(from, to) } : null;
}
