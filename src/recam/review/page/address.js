// What is shown stands in the address after the #, so that a reload or a shared address shows the same.
import { close, isOpen, open } from "./detail.js";
import { filtersNow, setFilters } from "./filters.js";
import { focus } from "./grid.js";
import { emit, layerOf, on, show, state } from "./state.js";

let written = null;

function write() {
  const found = { ...filtersNow(), layer: state.layer === state.run.shown ? "" : state.layer || "image", image: isOpen() ? state.images.id[state.order[state.place]] : "" };
  const text = new URLSearchParams(Object.entries(found).filter(([, value]) => value)).toString();
  if (text === written) return;
  written = text;
  history.replaceState(null, "", text ? `#${text}` : location.pathname);
}

// Names that this run does not have count for nothing.
export function read() {
  const found = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  setFilters(found);
  show(found.layer === "image" && state.run.photos ? "" : layerOf(found.layer) ? found.layer : state.run.shown);
  const place = found.image === undefined ? -1 : state.order.indexOf(state.images.id.indexOf(found.image));
  if (place >= 0) { focus(place); open(); } else if (isOpen()) close();
  for (const name of ["order", "layer", "focus", "opened"]) if (written === null) on(name, soon);
  write();
}

let due = 0;
function soon() { clearTimeout(due); due = setTimeout(write, 100); }
addEventListener("hashchange", () => { if (location.hash.slice(1) !== written) read(); });
