// From planes to pixels: colours of classes, masks of thresholds, heat.
import { MASK_PLANE } from "./api.js";

export const IGNORE = 255;

let colours = []; // RGB of each class: those of all pictures, from the server. Mask files keep the VOC palette
export const setColours = (those) => { colours = those; };
export const classColour = (index) => colours[index];
export const cssColour = (index) => `rgb(${classColour(index).join(" ")})`;

const pixel = (r, g, b, a) => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
const CREAM = pixel(240, 232, 200, 190);

// Colour by class index as 32-bit RGBA; where a class is highlighted the others turn faint.
export function colourTable(classes, highlight) {
  const table = new Uint32Array(256);
  for (let index = 0; index < classes; index++) {
    const [r, g, b] = classColour(index);
    table[index] = highlight === null || highlight === index ? pixel(r, g, b, 255) : pixel(150, 150, 150, 70);
  }
  return table;
}

// Where every pixel belongs to a class, one without any evidence is of the first class.
function fillIn(item, labels, best, winner) {
  const first = item.classes.find((index) => index !== MASK_PLANE && (!labels || labels.includes(index)));
  if (first === undefined) return;
  for (let at = 0; at < best.length; at++) if (best[at] === 0) { best[at] = 1; winner[at] = first; }
}

// Largest map at each pixel, so that a new threshold costs one comparison a pixel. Only maps of `labels` take part.
export function winners(item, labels, background = true) {
  const size = item.h * item.w, best = new Uint8Array(size), winner = new Uint8Array(size);
  let ignore = null;
  item.classes.forEach((index, plane) => {
    const map = item.planes[plane];
    if (index === MASK_PLANE) ignore = map;
    else if (!labels || labels.includes(index))
      for (let at = 0; at < size; at++) if (map[at] > best[at]) { best[at] = map[at]; winner[at] = index; }
  });
  if (!background) fillIn(item, labels, best, winner);
  return { h: item.h, w: item.w, best, winner, ignore };
}

// Thresholds by class as 8-bit limits: a map must exceed them.
export const limits = (thresholds) => Uint8Array.from(thresholds, (value) => Math.min(255, Math.floor(value * 255 + 1e-6)));

export function paintWinners(found, limit, table, out) {
  const { best, winner, ignore } = found;
  for (let at = 0; at < best.length; at++) out[at] = best[at] > limit[winner[at]] ? table[winner[at]] : 0;
  if (ignore) for (let at = 0; at < ignore.length; at++) if (ignore[at]) out[at] = CREAM;
}

export function paintMask(mask, table, out) {
  for (let at = 0; at < mask.length; at++) {
    const value = mask[at];
    out[at] = value === 0 ? 0 : value === IGNORE ? CREAM : table[value - 1];
  }
}

// Bilinear from a quarter of the size to all of it, corners not aligned, as recam.methods.cam.read_full does; then as `winners`.
export function fullWinners(item, labels, background = true) {
  const { h, w, height, width } = item, strided = h !== height || w !== width;
  const best = new Float32Array(height * width), winner = new Uint8Array(height * width);
  const axis = (full, small) => Array.from({ length: full }, (_, at) => {
    const place = Math.min(Math.max((at + 0.5) / 4 - 0.5, 0), small - 1), low = Math.floor(place);
    return [low, Math.min(low + 1, small - 1), place - low];
  });
  const rows = axis(height, h), columns = axis(width, w);
  let ignore = null;
  item.classes.forEach((index, plane) => {
    const map = item.planes[plane];
    if (index === MASK_PLANE) ignore = map;
    else if (!labels || labels.includes(index))
      for (let y = 0, at = 0; y < height; y++) {
        const [top, bottom, dy] = rows[y];
        for (let x = 0; x < width; x++, at++) {
          let value;
          if (strided) {
            const [left, right, dx] = columns[x];
            const above = map[top * w + left] * (1 - dx) + map[top * w + right] * dx;
            value = above * (1 - dy) + (map[bottom * w + left] * (1 - dx) + map[bottom * w + right] * dx) * dy;
          } else value = map[at];
          if (value > best[at]) { best[at] = value; winner[at] = index; }
        }
      }
  });
  if (!background) fillIn(item, labels, best, winner);
  return { height, width, best, winner, ignore: ignore && ignore.length === height * width ? ignore : ignore && nearest(ignore, h, w, height, width) };
}

function nearest(plane, h, w, height, width) {
  const out = new Uint8Array(height * width);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) out[at] = plane[Math.floor((y * h) / height) * w + Math.floor((x * w) / width)];
  return out;
}

export function fullMask(found, thresholds) {
  const mask = new Uint8Array(found.best.length), limit = Float32Array.from(thresholds, (value) => value * 255);
  for (let at = 0; at < mask.length; at++) if (found.best[at] > limit[found.winner[at]]) mask[at] = found.winner[at] + 1;
  if (found.ignore) for (let at = 0; at < mask.length; at++) if (found.ignore[at]) mask[at] = IGNORE;
  return mask;
}

// A mask with a full-colour contour; `fill` (0…1) is the inside.
export function paintOutlined(mask, width, height, table, fill, out) {
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const value = mask[at];
      if (value === 0) { out[at] = 0; continue; }
      if (value === IGNORE) { out[at] = (x + y) % 10 < 4 ? CREAM : pixel(240, 232, 200, 90); continue; }
      const edge = (x && mask[at - 1] !== value) || (x < width - 1 && mask[at + 1] !== value) ||
        (y && mask[at - width] !== value) || (y < height - 1 && mask[at + width] !== value);
      const colour = table[value - 1], alpha = colour >>> 24;
      out[at] = edge ? colour : ((colour & 0xffffff) | (Math.round(alpha * fill) << 24)) >>> 0;
    }
}

const TURBO = [[48, 18, 59], [70, 98, 215], [54, 170, 249], [26, 228, 182], [114, 254, 94], [200, 239, 52], [250, 186, 57], [246, 107, 25], [203, 42, 4], [122, 4, 3]];

// Low values let the photo through.
const HEAT = Uint32Array.from({ length: 256 }, (_, value) => {
  const place = (value / 255) * 9, low = Math.min(8, Math.floor(place)), part = place - low;
  const [r, g, b] = TURBO[low].map((start, channel) => Math.round(start + (TURBO[low + 1][channel] - start) * part));
  return pixel(r, g, b, Math.round(Math.min(1, value / 102) * 190));
});

// The largest map as heat, or the highlighted class's where it is there.
export function paintHeat(item, highlight, out) {
  const most = new Uint8Array(item.h * item.w);
  const alone = highlight !== null && item.classes.includes(highlight);
  item.classes.forEach((index, plane) => {
    if (index === MASK_PLANE || (alone && highlight !== index)) return;
    const map = item.planes[plane];
    for (let at = 0; at < map.length; at++) if (map[at] > most[at]) most[at] = map[at];
  });
  for (let at = 0; at < most.length; at++) out[at] = HEAT[most[at]];
}
