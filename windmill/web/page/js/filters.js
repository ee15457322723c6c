// The condition that images are to meet, with examples of what there is.

import { at, make } from "./dom.js";

const panel = at("filters"), where = at("where"), toggle = at("filter");
let examples = [];

// `apply(text)` searches anew.
export function prepare(overview, apply) {
  toggle.hidden = !overview.conditions;
  if (!overview.conditions) return;
  examples = [
    ...overview.votes.map(({ emoji, label }) => ({ text: `votes ? ${quoted(emoji)}`, says: `${emoji} ${label}`.trim() })),
    ...overview.groups.map(({ group }) => ({ text: `group = ${quoted(group)}`, says: group })),
  ];
  at("fields").append(...overview.fields.flatMap((field) => [
    make("dt", {}, field.name),
    make("dd", {}, `${field.about}. `, ...field.examples.map((text) => chip({ text, says: text }, apply, "code"))),
  ]));
  at("examples").append(...examples.map((one) => chip(one, apply)));
  toggle.addEventListener("click", () => open(panel.hidden));
  at("narrow").addEventListener("submit", (event) => {
    event.preventDefault();
    apply(where.value.trim());
  });
  at("where-off").addEventListener("click", () => apply(""));
}

// Shows a condition as the one that holds.
export function put(text) {
  where.value = text;
  at("where-off").hidden = at("filter-on").hidden = !text;
  if (text) open(true);
  for (const button of panel.querySelectorAll("button[data-text]")) {
    button.setAttribute("aria-pressed", parts(text).includes(button.dataset.text));
  }
}

function open(now) {
  panel.hidden = !now;
  toggle.setAttribute("aria-expanded", now);
}

function chip({ text, says }, apply, kind = "") {
  const button = make("button", { type: "button", className: `chip ${kind}`, title: text, ariaPressed: "false" }, says);
  button.dataset.text = text;
  button.addEventListener("click", () => {
    const now = parts(where.value);
    apply((now.includes(text) ? now.filter((one) => one !== text) : [...now, text]).join(" and "));
  });
  return button;
}

// What is joined by `and`, as long as nothing else is: else the whole is one part.
function parts(text) {
  if (!text.trim()) return [];
  return /\b(or|not)\b|[()]/i.test(text.replace(/'[^']*'/g, "")) ? [`(${text.trim()})`.replace(/^\(\((.*)\)\)$/, "($1)")] : text.split(/\s+and\s+/i).map((one) => one.trim());
}

const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
