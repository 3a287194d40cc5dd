// The server's endpoints. All paths are relative: the address of the page holds the token.

export const MASK_PLANE = 0xffff;
export const tab = (sessionStorage.tab ??= `t${crypto.getRandomValues(new Uint32Array(2)).join("-")}`);

async function checked(response) {
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try {
    const found = (await response.json()).detail;
    detail = typeof found === "string" ? found : found.map((problem) => problem.msg).join("; ");
  } catch { /* not JSON: the status has to do */ }
  throw new Error(detail);
}

export const fetchJson = async (path) => (await checked(await fetch(`api/${path}`))).json();
export const fetchResponse = async (path, options) => checked(await fetch(`api/${path}`, options));
export const fetchBytes = async (path, signal) => (await checked(await fetch(`api/${path}`, { signal }))).arrayBuffer();
export const post = async (path, body) =>
  (await checked(await fetch(`api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }))).json();
export const postBytes = async (path, body) =>
  (await checked(await fetch(`api/${path}`, { method: "POST", headers: { "content-type": "application/octet-stream" }, body }))).json();

// The format is described in recam/review/packing.py.
export function unpack(buffer) {
  const view = new DataView(buffer), items = [];
  let at = 4;
  for (let left = view.getUint32(0, true); left > 0; left--) {
    const number = view.getUint32(at, true);
    const [n, h, w, height, width, kind] = [4, 6, 8, 10, 12, 14].map((offset) => view.getUint16(at + offset, true));
    at += 16;
    const classes = Array.from({ length: n }, (_, plane) => view.getUint16(at + 2 * plane, true));
    at += 2 * n;
    const planes = classes.map((_, plane) => new Uint8Array(buffer, at + plane * h * w, h * w));
    at += n * h * w;
    items.push({ number, h, w, height, width, isMask: kind === 1, classes, planes });
  }
  return items;
}

export function unpackThumbnails(buffer) {
  const view = new DataView(buffer), items = [];
  for (let at = 0; at < buffer.byteLength; ) {
    const number = view.getUint32(at, true), length = view.getUint32(at + 4, true);
    items.push({ number, jpeg: new Uint8Array(buffer, at + 8, length) });
    at += 8 + length;
  }
  return items;
}
