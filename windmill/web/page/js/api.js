// The server, and the token that it may want. Ids come from the end of `file`, as text: they can need 63 bits.

import { at } from "./dom.js";

const KEPT = "windmill-token"; // until this tab is closed

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let mayRead = true; // without a token

export const id = (entry) => entry.file.split("/").pop();

export async function ask(path, options = {}) {
  const response = await sent(path, options);
  if (response.status === 204) return null;
  const body = await response.json();
  return body;
}

async function sent(path, options) {
  for (;;) {
    const token = sessionStorage.getItem(KEPT);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await reached(path, { ...options, headers });
    if (response.ok) return response;
    const message = await told(response);
    const wrong = response.status === 403 && token && message.includes("token");
    if (response.status !== 401 && !wrong) throw new Refused(response.status, message);
    if ((options.method ?? "GET") === "GET") mayRead = false;
    sessionStorage.removeItem(KEPT);
    if (!(await prompted(wrong ? "That one is not known here." : "This server wants to know who asks."))) {
      throw new Refused(response.status, message);
    }
  }
}

async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is “windmill web” still running?");
  }
}

async function told(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answers ${response.status} ${response.statusText}.`;
  }
}

let asking = null; // one dialog, however many requests want a token

function prompted(why) {
  asking ??= new Promise((resolve) => {
    const dialog = at("asking");
    at("asking-why").textContent = why;
    at("token").value = "";
    const done = () => {
      asking = null;
      if (dialog.returnValue) sessionStorage.setItem(KEPT, dialog.returnValue);
      resolve(Boolean(dialog.returnValue));
    };
    dialog.returnValue = "";
    dialog.addEventListener("close", done, { once: true });
    dialog.showModal();
  });
  return asking;
}

at("asking-form").addEventListener("submit", (event) => {
  event.preventDefault();
  at("asking").close(at("token").value.trim());
});
at("asking-off").addEventListener("click", () => at("asking").close(""));

// --- pictures ---------------------------------------------------------------------------------------------

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      fetched(target, target.dataset.from);
    }
  },
  { rootMargin: "400px" },
);

// Shows a picture of this server: by its address, or, where that needs a token, which no <img> can send, by
// its bytes.
export function show(image, address, lazily = false) {
  if (mayRead) {
    image.src = address;
    return;
  }
  image.dataset.from = address;
  if (lazily) near.observe(image);
  else fetched(image, address);
}

async function fetched(image, address) {
  try {
    const blob = await (await sent(address, {})).blob();
    if (image.dataset.from !== address) return; // it shows another by now
    const own = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(own), { once: true });
    image.src = own;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}
