// Hits as tiles: the picture, how near it is, and what was found in it.

import { id, show } from "./api.js";
import { clear, outline } from "./boxes.js";
import { at, draw, icon, make, plural, score } from "./dom.js";

const NARROW = 0.6, WIDE = 2.1; // what is taller or wider than that has bars beside it
const hits = at("hits");

// The words for a picture: what it shows, or what it is called.
export function words(entry) {
  const labels = named(entry.found).slice(0, 5);
  return labels.length ? labels.join(", ") : name(entry);
}

export const name = (entry) => entry.found?.filename || entry.path.split(/[\\/]/).pop() || `image ${id(entry)}`;

// Labels, those of votes before those of boxes, each once.
export function named(found) {
  if (!found) return [];
  const votes = found.votes.map(([, label]) => label);
  return [...new Set([...votes, ...found.boxes.map((box) => box.label)])].filter(Boolean);
}

// Shows entries; `best` is the score that fills the bar, or null where there are no scores. `actions` are
// `open(entry)` and `similar(entry)`, and `address(entry)`, which leads to it.
export function fill(entries, best, actions) {
  hits.replaceChildren(...entries.map((entry) => tile(entry, best, actions)));
  hits.querySelector(".picture")?.setAttribute("tabindex", "0");
  hits.querySelector(".more")?.setAttribute("tabindex", "0");
}

// As many grey tiles as there may be pictures.
export function await_(count) {
  const shapes = [1.5, 1.33, 0.75, 1.5, 1, 1.33, 1.78, 0.67];
  hits.replaceChildren(...Array.from({ length: Math.min(count, 24) }, (_, place) => {
    const item = make("li", { className: "hit awaited", ariaHidden: "true" }, make("div", { className: "picture" }));
    item.style.setProperty("--a", shapes[place % shapes.length]);
    return item;
  }));
}

export const links = () => [...hits.querySelectorAll("a.picture")];

function tile(entry, best, actions) {
  const { found } = entry;
  const image = make("img", { alt: words(entry), loading: "lazy", decoding: "async", draggable: false });
  const svg = draw("svg", { class: "boxes", "aria-hidden": "true" });
  const link = make("a", { className: "picture", href: actions.address(entry), tabIndex: -1 }, image, svg);
  const more = make("button", { className: "more", type: "button", title: "More like this (m)", tabIndex: -1 },
    make("span", {}, icon("M4 9.5c4-4.5 8 4.5 16-.5", "M4 15.500c4-4.5 8 4.5 16-.5"), make("span", { className: "words" }, "More like this")));
  more.setAttribute("aria-label", `More like this: ${words(entry)}`);
  const item = make("li", { className: "hit" }, link, more, facts(entry, best));
  shaped(item, image, found);
  seen(link, svg, found);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in a tab of its own
    event.preventDefault();
    actions.open(entry);
  });
  more.addEventListener("click", () => actions.similar(entry));
  link.addEventListener("keydown", (event) => {
    if (event.key === "m" && !event.ctrlKey && !event.metaKey && !event.altKey) actions.similar(entry);
  });
  item.addEventListener("focusin", () => roam(item));
  show(image, `${entry.file.slice(1)}?size=${devicePixelRatio > 1.3 ? 800 : 400}`, true);
  return item;
}

// One tile at a time is in the order of tabs; arrows lead to the others.
function roam(item) {
  for (const other of hits.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  for (const part of item.querySelectorAll(".picture, .more")) part.tabIndex = 0;
}

function shaped(item, image, found) {
  const set = (width, height) => {
    item.style.setProperty("--a", Math.max(NARROW, Math.min(WIDE, width / height)).toFixed(4));
  };
  if (found?.width) set(found.width, found.height);
  else image.addEventListener("load", () => set(image.naturalWidth, image.naturalHeight), { once: true });
  image.addEventListener("load", () => item.classList.add("loaded"), { once: true });
  image.addEventListener("error", () => item.classList.add("lost"), { once: true });
}

function seen(link, svg, found) {
  if (!found || !(found.boxes.length || found.faces.length)) return;
  for (const event of ["pointerenter", "focus"]) link.addEventListener(event, () => outline(svg, found, { small: true }));
  for (const event of ["pointerleave", "blur"]) link.addEventListener(event, () => clear(svg));
}

function facts(entry, best) {
  const rows = [];
  if (best !== null) rows.push(rated(entry, best));
  const { found } = entry;
  const labels = named(found);
  const emoji = [...new Set(found?.votes.map(([one]) => one) ?? [])].slice(0, 4);
  rows.push(make("span", { className: "line" },
    make("span", { className: "emoji", ariaHidden: "true" }, emoji.join(" ")),
    make("span", { className: "labels", title: labels.join(", ") }, labels.join(", ") || (found ? "" : name(entry))),
    swatches(found?.colours ?? [])));
  if (found?.text) rows.push(make("span", { className: "line read", title: found.text }, `“${found.text}”`));
  return make("div", { className: "facts" }, ...rows);
}

function rated(entry, best) {
  const bar = make("span", { className: "bar", ariaHidden: "true" }, make("i"));
  bar.firstChild.style.setProperty("--part", best > 0 ? Math.max(0, Math.min(1, entry.score / best)) : 0);
  return make("span", { className: "line" },
    make("span", { className: "rank" }, `${entry.rank}`),
    bar,
    make("span", { className: "score", title: `cosine ${entry.score}` }, score(entry.score)));
}

export function swatches(colours) {
  const row = make("span", { className: "swatches" });
  for (const [hex, name] of colours) {
    const one = make("span", { className: "swatch", title: name ? `${name} ${hex}` : hex });
    if (CSS.supports("color", hex)) one.style.setProperty("--colour", hex);
    row.append(one);
  }
  if (colours.length) row.append(make("span", { className: "unseen" }, `colours: ${colours.map(([, name]) => name).join(", ")}`));
  return row;
}

// --- keys -------------------------------------------------------------------------------------------------

// Focuses the hit that lies in the arrow's direction of the one that has the focus; the first, if none has.
export function move(key) {
  const all = links();
  const now = all.indexOf(document.activeElement);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const next = now < 0 ? all[0] : step ? all[now + step] : beside(all, all[now], key === "ArrowDown");
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return Boolean(next);
}

function beside(all, link, down) {
  const box = link.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  let best = null;
  for (const other of all) {
    const place = other.getBoundingClientRect();
    const apart = down ? place.top - box.top : box.top - place.top;
    if (apart < 4) continue;
    const far = apart * 4 + Math.abs(place.left + place.width / 2 - middle);
    if (!best || far < best.far) best = { far, other };
  }
  return best?.other;
}

export const counted = (count) => plural(count, "image");
