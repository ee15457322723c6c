// The search page: what is asked stands in the address, and all else follows from that.

import { Refused, ask, id, show } from "./api.js";
import { at, make, number, score } from "./dom.js";
import * as filters from "./filters.js";
import * as grid from "./grid.js";
import * as viewer from "./viewer.js";

const ASKED = ["text", "like", "where", "top_k", "min_score"]; // of the search; `show` is the image that is open
const USUAL = "20"; // images
const photos = new Map(); // the photos that were searched by, as long as this page lives
const title = document.title;

let overview = null;
let state = {};
let entries = []; // on the page
let answered = null; // the search that they answer
let running = null;

// --- the address ------------------------------------------------------------------------------------------

function fromAddress() {
  const given = new URLSearchParams(location.search);
  return Object.fromEntries([...ASKED, "show"].filter((key) => given.get(key)).map((key) => [key, given.get(key)]));
}

function address(of) {
  const given = new URLSearchParams();
  for (const key of [...ASKED, "show"]) {
    if (of[key] && !(key === "top_k" && of[key] === USUAL)) given.set(key, of[key]);
  }
  const text = given.toString();
  return text ? `?${text}` : location.pathname;
}

// Goes to another state of the page, which the back button undoes.
function go(change, { instead = false } = {}) {
  const next = Object.fromEntries(Object.entries({ ...state, ...change }).filter(([, value]) => value));
  history[instead ? "replaceState" : "pushState"](next, "", address(next));
  arrive(next);
}

// Asks something else: what was open or was seen all the same is over.
const search = (change) => go({ min_score: "", show: "", opened: "", ...change });

function arrive(next) {
  state = next;
  fillIn();
  const wanted = JSON.stringify([...ASKED, "photo"].map((key) => state[key] ?? ""));
  if (wanted !== answered) look(wanted);
  else open();
}

function fillIn() {
  at("text").value = state.text ?? "";
  const amount = at("top_k");
  amount.value = state.top_k ?? USUAL;
  if (amount.selectedIndex < 0) amount.value = USUAL;
  filters.put(state.where ?? "");
  const photo = photos.get(state.photo);
  at("chip").hidden = !(state.like || state.photo);
  at("chip-name").textContent = state.like ? "like this" : photo?.name ?? "a photo";
  const image = at("chip-image");
  if (state.like) show(image, `images/${encodeURIComponent(state.like)}?size=200`);
  else if (photo) image.src = photo.address;
  else image.removeAttribute("src");
  const what = state.text || (state.like || state.photo ? "similar images" : "");
  document.title = what ? `${what} · ${title}` : title;
}

// --- searching --------------------------------------------------------------------------------------------

async function look(wanted) {
  running?.abort();
  const mine = (running = new AbortController());
  answered = null;
  notice();
  busy(true);
  const asks = state.text || state.like || state.photo;
  const way = asks ? searched : state.where ? meeting : started;
  try {
    const [found, best, told] = await way(mine.signal);
    if (mine !== running) return;
    entries = found;
    answered = wanted;
    grid.fill(entries, best, { open: (entry) => go({ show: id(entry), opened: "here" }), similar, address: (entry) => address({ ...state, show: id(entry) }) });
    at("status").textContent = told;
    busy(false);
    open();
  } catch (error) {
    if (mine !== running) return;
    busy(false);
    entries = [];
    grid.fill([], null, {});
    at("status").textContent = "";
    if (!(error instanceof Refused)) throw error;
    const passing = error.status === 0 || error.status >= 500;
    notice(sentence(error.message), passing ? ["Try again", () => look(wanted)] : null);
  }
}

async function searched(signal) {
  const answer = await ask(...request(), { signal });
  const { hits, best_score: best, cutoff, matching } = answer;
  if (!answer.fits) return [hits, best, nothing(best, cutoff, matching)];
  const among = matching === null ? "" : `, of ${grid.counted(matching)} that meet the condition`;
  return [hits, best, `${grid.counted(hits.length)}, nearest first${among}`];
}

function request() {
  const given = new URLSearchParams();
  for (const key of ASKED) if (state[key]) given.set(key, state[key]);
  given.set("top_k", at("top_k").value);
  if (!state.photo) return [`api/search?${given}`];
  const photo = photos.get(state.photo);
  if (!photo) throw new Refused(0, "The photo of this search is no longer here. Choose it once more.");
  const form = new FormData();
  form.set("file", photo.file, photo.name);
  return [`api/search/image?${given}`, { method: "POST", body: form }];
}

// A condition alone: images in no order that says anything.
async function meeting(signal) {
  const { images, matching } = await ask(`api/images?${new URLSearchParams({ where: state.where, top_k: at("top_k").value })}`, { signal });
  if (!images.length) return [images, null, nothing(null, 0, 0)];
  return [images, null, `${grid.counted(matching)} that meet the condition${images.length < matching ? `. ${number(images.length)} of them:` : ""}`];
}

async function started() {
  const { images, examples } = overview;
  return [examples, null, images ? `${grid.counted(images)}. Some of them:` : "The index is empty."];
}

// Says why there is nothing.
function nothing(best, cutoff, matching) {
  if (matching === 0) notice("No image meets the condition.");
  else if (best === null) notice("There are no other images in the index.");
  else notice(
    `Nothing fits. The nearest image scores ${score(best)}; from ${score(cutoff)} on one would.`,
    ["Show the nearest all the same", () => go({ min_score: "-1", show: "", opened: "" })],
  );
  return ""; // the notice says it
}

function similar(entry) {
  search({ like: id(entry), text: "", photo: "" });
  scrollTo({ top: 0 });
}

function byPhoto(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) return notice(`${file.name} is not an image.`);
  const key = crypto.randomUUID?.() ?? String(Math.random());
  photos.set(key, { file, name: file.name || "pasted photo", address: URL.createObjectURL(file) });
  search({ photo: key, like: "", text: at("text").value.trim() });
}

// --- what is told -----------------------------------------------------------------------------------------

function busy(now) {
  at("busy").hidden = !now;
  at("hits").setAttribute("aria-busy", now);
  if (!now) return;
  at("status").textContent = "Looking…";
  if (!entries.length) grid.await_(Number(at("top_k").value));
}

function notice(text = "", action = null) {
  at("notice").hidden = !text;
  const parts = text ? [make("p", { role: "alert" }, text)] : [];
  if (action) {
    const button = make("button", { type: "button" }, action[0]);
    button.addEventListener("click", action[1]);
    parts.push(button);
  }
  at("notice").replaceChildren(...parts);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!…]$/.test(text) ? "" : ".");

// --- one image --------------------------------------------------------------------------------------------

async function open() {
  if (!state.show) return viewer.close();
  const place = entries.findIndex((entry) => id(entry) === state.show);
  try {
    const entry = place < 0 ? await ask(`api/images/${encodeURIComponent(state.show)}`) : entries[place];
    if (state.show !== id(entry)) return;
    viewer.open(entry, { before: place > 0, after: place >= 0 && place < entries.length - 1, writable: overview.writable });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    viewer.close();
    notice(sentence(error.message));
  }
}

function turn(step) {
  const place = entries.findIndex((entry) => id(entry) === state.show);
  const next = place < 0 ? null : entries[place + step];
  if (next) go({ show: id(next) }, { instead: true });
}

function closed() {
  const link = grid.links()[entries.findIndex((entry) => id(entry) === state.show)];
  if (state.opened) history.back(); // to the images that it was opened from
  else go({ show: "" }, { instead: true });
  link?.focus();
}

function forgotten(entry) {
  overview.examples = overview.examples.filter((one) => one !== entry);
  answered = null;
  viewer.close();
  go({ show: "", opened: "" }, { instead: true });
}

// --- keys, drops, pastes ----------------------------------------------------------------------------------

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input:not([type=file]), select, textarea");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    at("text").select();
  } else if (event.key === "Escape" && typing) {
    event.target.blur();
  } else if (event.key.startsWith("Arrow") && (!typing || (event.key === "ArrowDown" && event.target === at("text")))) {
    if (grid.move(event.key)) event.preventDefault();
  }
}

function dropping() {
  const veil = at("drop");
  const holds = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => holds(event) && (veil.hidden = false));
  addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  addEventListener("dragleave", (event) => event.relatedTarget || (veil.hidden = true));
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!holds(event)) return;
    event.preventDefault();
    byPhoto(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (file) byPhoto(file);
  });
}

function listen() {
  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("text").value.trim();
    search({ text, like: text ? "" : state.like });
    at("text").blur();
  });
  at("top_k").addEventListener("change", () => go({ top_k: at("top_k").value, show: "", opened: "" }));
  at("file").addEventListener("change", () => {
    byPhoto(at("file").files[0]);
    at("file").value = "";
  });
  at("chip-off").addEventListener("click", () => {
    search({ like: "", photo: "" });
    at("text").focus();
  });
  document.querySelector(".mark").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    search(Object.fromEntries([...ASKED, "photo"].map((key) => [key, ""])));
  });
  addEventListener("keydown", keys);
  addEventListener("popstate", (event) => arrive(event.state ?? fromAddress()));
  dropping();
  viewer.prepare({ similar, turn, closed, forgotten });
}

async function begin() {
  try {
    overview = await ask("api/overview");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return notice(sentence(error.message), ["Try again", begin]);
  }
  notice();
  const { embedder, images } = overview;
  at("about").textContent = `${number(images)} images, by ${embedder.service} (${embedder.name})`;
  if (!overview.reads_words) {
    at("text").disabled = true;
    at("text").placeholder = "Drop a photo: this index reads no words";
  }
  filters.prepare(overview, (where) => search({ where }));
  arrive(history.state ?? fromAddress());
}

listen();
begin();
