// One image, enlarged, with all that is known of it.

import { ask, id, show } from "./api.js";
import { clear, colour, outline } from "./boxes.js";
import { at, make, plural, score } from "./dom.js";
import { name, swatches, words } from "./grid.js";

const dialog = at("viewer");
let shown = null; // the entry
let actions = {};

// `actions`: `similar(entry)`, `turn(step)`, `closed()`, `forgotten(entry)`.
export function prepare(given) {
  actions = given;
  at("close").addEventListener("click", () => dialog.close());
  at("previous").addEventListener("click", () => actions.turn(-1));
  at("next").addEventListener("click", () => actions.turn(1));
  at("viewer-more").addEventListener("click", () => actions.similar(shown));
  at("viewer-forget").addEventListener("click", forget);
  at("draw").addEventListener("change", redraw);
  dialog.addEventListener("close", () => shown && actions.closed());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", keys);
  at("viewer-image").addEventListener("load", redraw);
  new ResizeObserver(redraw).observe(at("viewer-image"));
}

export const isOpen = () => dialog.open;

// Shows an entry; those `before` and `after` it say whether there is somewhere to turn to.
export function open(entry, { before, after, writable }) {
  shown = entry;
  at("previous").hidden = !before;
  at("next").hidden = !after;
  at("viewer-forget").hidden = !writable;
  at("viewer-name").textContent = name(entry);
  at("viewer-path").textContent = entry.path;
  at("viewer-original").href = entry.file.slice(1);
  const image = at("viewer-image");
  image.alt = words(entry);
  clear(at("viewer-boxes"));
  image.removeAttribute("src");
  show(image, `${entry.file.slice(1)}?size=1600`);
  at("viewer-draw").hidden = !(entry.found?.boxes.length || entry.found?.faces.length);
  at("viewer-facts").replaceChildren(...facts(entry));
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".known").scrollTop = 0;
}

export function close() {
  shown = null;
  if (dialog.open) dialog.close();
}

function redraw() {
  const svg = at("viewer-boxes");
  if (shown?.found && at("draw").checked && at("viewer-image").naturalWidth) outline(svg, shown.found);
  else clear(svg);
}

function facts(entry) {
  const { found } = entry;
  const rows = [["Similarity", entry.score === undefined ? null : make("span", {}, score(entry.score))]];
  if (found) {
    rows.push(["Size", `${found.width} × ${found.height} pixels`]);
    rows.push(["Group", found.group || null]);
    rows.push(["Votes", votes(found.votes)]);
    rows.push(["Boxes", boxes(found.boxes)]);
    rows.push(["Faces", found.faces.length ? plural(found.faces.length, "face") : null]);
    rows.push(["Colours", colours(found.colours)]);
    rows.push(["Text", found.text ? make("q", {}, found.text) : null]);
    rows.push(["Captions", listed(found.captions ?? [], ([service, text]) => make("li", { title: service }, text))]);
    rows.push(["Failed", listed(found.errors, (error) => make("li", {}, error))]);
  } else {
    rows.push(["Found", "Nothing is known of what is in it: no database, or none that has this image."]);
  }
  const told = rows.filter(([, value]) => value !== null);
  return [make("dl", { className: "told" }, ...told.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]))];
}

const listed = (values, one) => (values.length ? make("ul", {}, ...values.map(one)) : null);

const votes = (all) => listed(all, ([emoji, label, count]) =>
  make("li", {}, make("span", { className: "emoji" }, emoji), ` ${label} `, make("small", {}, plural(count, "vote"))));

function boxes(all) {
  return listed(all, (box) => {
    const agree = box.detection_count === 1 ? "1 alone" : `${box.detection_count} agree`;
    const mark = make("span", { className: "swatch" });
    mark.style.setProperty("--colour", colour(box.label));
    const row = make("button", { type: "button", className: "row" }, mark, ` ${box.label} `, make("small", {}, `${score(box.score)} · ${agree}`));
    const place = all.indexOf(box);
    for (const event of ["pointerenter", "focus"]) row.addEventListener(event, () => outline(at("viewer-boxes"), shown.found, { only: place }));
    for (const event of ["pointerleave", "blur"]) row.addEventListener(event, redraw);
    return make("li", {}, row);
  });
}

const colours = (all) => listed(all, (one) => make("li", {}, swatches([one]), ` ${one[1] || one[0]} `, make("small", {}, one[1] ? one[0] : "")));

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox])")) return;
  const deed = {
    ArrowLeft: () => actions.turn(-1),
    ArrowRight: () => actions.turn(1),
    m: () => actions.similar(shown),
    b: () => at("draw").click(),
  }[event.key];
  if (!deed) return;
  event.preventDefault();
  event.stopPropagation();
  deed();
}

async function forget() {
  const entry = shown;
  if (!confirm(`Remove ${name(entry)} from the index? It will be found no more; the file stays.`)) return;
  try {
    await ask(`api/images/${id(entry)}`, { method: "DELETE" });
  } catch (error) {
    alert(error.message);
    return;
  }
  actions.forgotten(entry);
}
