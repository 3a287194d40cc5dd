// Which images the grid shows, and in which order.
import { decided, labelsOf, measures, on, state, emit } from "./state.js";

const $ = (id) => document.getElementById(id);
const sorts = () => [
  ["", "as in the data set"], ["agreement", "worst first, as the other masks tell"], ["confidence", "least confident first"], ["-confidence", "most confident first"],
  ...["maps_disagreement", "model_disagreement"].map((name) => [`-${name}`, `${measures()[name]} most`]), ["iou", "worst IoU first"], ["-iou", "best IoU first"], ["-agreement", "best first, as the other masks tell"], ["-area", "largest area first"], ["area", "smallest area first"], ["-count", "most labels first"],
  ["class", "by class"], ["verdict", "not reviewed first"], ["-verdict", "reviewed first"],
];
const VERDICTS = [["", "any"], ["open", "no"], ["accepted", "accepted"], ["rejected", "rejected"], ["edited", "corrected mask"], ["relabelled", "labels changed"], ["stale", "of an earlier run"]];

const has = (name) => state.images[name].some((value) => value !== null);

export function fillChoices() {
  const choose = (id, pairs) => { const before = $(id).value; $(id).replaceChildren(...pairs.map(([value, text]) => new Option(text, value))); $(id).value = before; if ($(id).selectedIndex < 0) $(id).selectedIndex = 0; };
  const known = Object.entries(measures()).filter(([name]) => has(name));
  choose("sort", sorts().filter(([value]) => !(value.replace("-", "") in measures()) || has(value.replace("-", ""))));
  choose("filter-class", [["", "any"], ...state.run.classes.map((name, index) => [index, name]), ["none", "no label"]]);
  choose("filter-verdict", VERDICTS);
  choose("measure", known);
  document.querySelector(".range").hidden = !known.length;
  $("split-label").hidden = new Set(state.images.split).size < 2;
}

const FITS = {
  open: (each) => each.verdict === "open", accepted: (each) => each.verdict === "accepted", rejected: (each) => each.verdict === "rejected",
  edited: (each) => each.mask !== null, relabelled: (each) => each.labels !== null, stale: (each) => each.stale,
};

export function apply(keep = false) {
  const before = keep ? state.order[state.place] : undefined;
  const wanted = $("filter-class").value, count = $("filter-count").value, verdict = $("filter-verdict").value, split = $("filter-split").value;
  const measure = $("measure").value, from = $("from").value === "" ? null : $("from").value / 100, to = $("to").value === "" ? null : $("to").value / 100;
  const name = $("search").value.trim().toLowerCase();
  const fits = (number) => {
    const labels = labelsOf(number), value = measure ? state.images[measure][number] : null;
    return (!wanted || (wanted === "none" ? !labels.length : labels.includes(+wanted))) &&
      (!count || (count === "3" ? labels.length >= 3 : labels.length === +count)) &&
      (!verdict || FITS[verdict](decided(number))) && (!split || state.images.split[number] === split) &&
      (from === null || (value !== null && value >= from)) && (to === null || (value !== null && value <= to)) &&
      (!name || state.images.id[number].toLowerCase().includes(name));
  };
  const order = [...state.images.id.keys()].filter(fits);
  const sort = $("sort").value, key = sort.replace("-", ""), sign = sort.startsWith("-") ? -1 : 1;
  const keyOf = {
    count: (number) => labelsOf(number).length, class: (number) => labelsOf(number)[0] ?? 999, verdict: (number) => (decided(number).verdict === "open" ? 0 : 1),
  }[key] ?? ((number) => state.images[key][number]);
  if (sort) {
    const keys = new Map(order.map((number) => [number, keyOf(number)]));
    // What has no value comes last, whichever way.
    order.sort((one, other) => {
      const [a, b] = [keys.get(one), keys.get(other)];
      return a === null || b === null ? (a === null) - (b === null) : sign * (a - b) || one - other;
    });
  }
  state.order = order;
  for (const number of state.selected) if (!fits(number)) state.selected.delete(number); // what is judged is in sight
  state.place = Math.max(0, before === undefined ? 0 : order.indexOf(before));
  $("shown").textContent = order.length === state.images.id.length ? "" : `${order.length} of ${state.images.id.length} shown`;
  $("accept-all").disabled = !order.length;
  emit("order");
}

for (const id of ["sort", "filter-class", "filter-count", "filter-verdict", "filter-split", "measure"])
  $(id).addEventListener("change", () => apply());
for (const id of ["from", "to", "search"]) $(id).addEventListener("input", () => apply());
// Filters and sort as they stand in the address, and back; empty ones are left out.
const FIELDS = { sort: "sort", labels: "filter-count", reviewed: "filter-verdict", images: "filter-split", measure: "measure", from: "from", to: "to", name: "search" };
export function filtersNow() {
  const wanted = $("filter-class").value, found = { class: wanted === "" || wanted === "none" ? wanted : `=${state.run.classes[wanted]}` };
  for (const [name, id] of Object.entries(FIELDS)) found[name] = $(id).value;
  if (found.from === "" && found.to === "") found.measure = ""; // it filters nothing
  return found;
}
export function setFilters(found) {
  for (const [name, id] of Object.entries(FIELDS)) {
    $(id).value = found[name] ?? "";
    if ($(id).selectedIndex < 0) $(id).selectedIndex = 0; // nothing that this run has
  }
  const wanted = found.class ?? "", index = state.run.classes.indexOf(wanted.slice(1));
  $("filter-class").value = wanted.startsWith("=") ? (index < 0 ? "" : index) : wanted === "none" ? "none" : "";
  apply();
}

on("images", () => { fillChoices(); apply(true); });
