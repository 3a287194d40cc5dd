// What opens over the page: trying a photo, exporting, and messages.
import { post, postBytes } from "./api.js";
import { cssColour } from "./paint.js";
import { classIndex, judgement, mapsLayer, state, emit } from "./state.js";

const $ = (id) => document.getElementById(id);
const make = (tag, text, name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
const MAX_PHOTO = 48 << 20;

function message(title, ...body) {
  $("message-title").textContent = title;
  $("message-body").replaceChildren(...body);
  $("message").showModal();
}

export async function intoRecipe() {
  const { layer, threshold, class_thresholds } = judgement(mapsLayer().name);
  const written = await post("recipe", { layer, threshold, class_thresholds });
  const settings = Object.entries(written.settings).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join("\n");
  message("The recipe is written", make("p", `${written.path} holds all settings of the run with these changed:`), make("pre", settings || "(no setting differs)"),
    make("p", "This makes the masks again by them, and what follows from the masks:"), ...commandBox(written.command));
}

const commandBox = (command) => {
  const copy = make("button", "Copy the command", "primary");
  copy.addEventListener("click", () => navigator.clipboard.writeText(command).then(() => emit("toast", "Copied")));
  return [make("pre", command), copy];
};

export async function intoModel() {
  const { masks, images, command } = await post("corrections", {});
  message("The corrections are ready to learn from", make("p", `The masks of ${masks} of ${images} training images were made or changed by people. ` +
    "The segmentation model learns from these, and from the pseudo masks of the others; nothing else is made again, and the results say “corrected masks”:"), ...commandBox(command));
}

async function exportNow() {
  const button = $("export-go");
  button.disabled = true;
  $("export-message").textContent = "Writing …";
  try {
    const report = await post("export", { name: $("export-name").value, photos: $("export-photos").value, everything: $("export-all").checked });
    const lines = [`${report.images} images and ${report.masks} masks in ${report.output}`, `${report.corrected_masks} masks and ${report.corrected_labels} labels corrected by hand`];
    if (report.left_out.length) lines.push(`classes without an image, left out: ${report.left_out.join(", ")}`);
    lines.push(...report.notes, ...report.problems.map((problem) => `${problem.where}: ${problem.message}`));
    $("export-message").textContent = lines.join("\n");
  } catch (error) {
    $("export-message").textContent = error.message;
  } finally { button.disabled = false; }
}

async function tryPhoto(file) {
  if (!file) return;
  $("try-pictures").replaceChildren();
  $("try-found").replaceChildren();
  $("try-notes").textContent = file.size > MAX_PHOTO ? "This file is too large: at most 48 MiB can be sent." : "Predicting … the first time, the models are loaded.";
  if (file.size > MAX_PHOTO) return;
  try {
    const tried = await postBytes("try", file);
    $("try-notes").textContent = tried.notes.join(" ");
    $("try-pictures").replaceChildren(...Object.entries(tried.pictures).map(([title, source]) => {
      const figure = document.createElement("figure"), image = new Image();
      image.src = source;
      image.alt = title;
      figure.append(image, make("figcaption", title));
      return figure;
    }));
    $("try-found").replaceChildren(...tried.found.slice(0, 8).map((found) => {
      const row = make("div", "", `score${found.present ? "" : " absent"}`), meter = make("div", "", "meter"), bar = document.createElement("i");
      bar.style.width = `${100 * found.classifier}%`;
      bar.style.setProperty("--colour", cssColour(classIndex(found.name)));
      meter.append(bar);
      const model = found.model === null ? "" : ` · model ${Math.round(100 * found.model)} %`;
      row.append(make("span", found.name), meter, make("span", `${Math.round(100 * found.classifier)} %${model}`));
      return row;
    }));
  } catch (error) {
    $("try-notes").textContent = error.message;
  }
}

export function openExport() {
  const accepted = [...state.states.values()].filter((each) => each.verdict === "accepted").length;
  $("export-message").textContent = accepted ? `${accepted} images are accepted.` : "Nothing is accepted yet.";
  $("export").showModal();
}

$("export-go").addEventListener("click", exportNow);
$("file").addEventListener("change", (event) => tryPhoto(event.target.files[0]));
const drop = $("drop");
for (const name of ["dragover", "dragleave", "drop"])
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name !== "drop") return;
    if (!$("try").open) $("try").showModal();
    tryPhoto(event.dataTransfer.files[0]);
  });
