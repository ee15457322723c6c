// Merged boxes and faces over a picture, in pixels of the upright image.

import { draw, score } from "./dom.js";

// Strong enough to be seen on photos, each told apart from those next to it; as in windmill/scenes.py.
const COLOURS = [
  "#ffa51e", "#46beff", "#3cd773", "#ff5f4b", "#be82ff", "#ffe13c",
  "#00cdc8", "#ff7dc8", "#a0dc32", "#7896ff", "#e18c5a", "#ff4682",
];
const FACE = "#ffd60a";
const MOST = 12; // labels in a small picture

export function colour(label) {
  let sum = 7;
  for (const letter of label) sum = (31 * sum + letter.codePointAt(0)) >>> 0;
  return COLOURS[sum % COLOURS.length];
}

// Draws into `svg`, which lies over a picture of `found.width` × `found.height` pixels. `only`: the place of
// one box in the list; `small`: fewer and shorter labels.
export function outline(svg, found, { only = null, small = false } = {}) {
  svg.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  const { width, height } = svg.getBoundingClientRect();
  const cut = getComputedStyle(svg.previousElementSibling).objectFit === "cover"; // as the picture lies
  svg.setAttribute("preserveAspectRatio", `xMidYMid ${cut ? "slice" : "meet"}`);
  const units = [found.width / (width || 1), found.height / (height || 1)];
  const unit = cut ? Math.min(...units) : Math.max(...units); // image pixels in one of CSS
  const shapes = [];
  const labels = [];
  found.boxes.forEach((one, place) => {
    if (only !== null && only !== place) return;
    shapes.unshift(...framed("rect", one.box, colour(one.label)));
    if (only !== null || !small || place < MOST) labels.unshift([one, place]);
  });
  if (only === null) for (const face of found.faces) shapes.push(...framed("ellipse", face, FACE));
  svg.replaceChildren(...shapes);
  const taken = [];
  for (const [one] of labels.reverse()) label(svg, one, found, unit, small, taken);
}

export const clear = (svg) => svg.replaceChildren();

function framed(tag, { x, y, width, height }, stroke) {
  const place = tag === "rect"
    ? { x, y, width, height, rx: 0 }
    : { cx: x + width / 2, cy: y + height / 2, rx: width / 2, ry: height / 2 };
  return [draw(tag, { ...place, class: "halo" }), draw(tag, { ...place, stroke })];
}

function label(svg, one, found, unit, small, taken) {
  const size = (small ? 11 : 13) * unit;
  const agree = one.detection_count === 1 ? "1 alone" : `${one.detection_count} agree`;
  const group = draw("g");
  const text = draw("text", { "font-size": size }, `${one.label} ${score(one.score)} · ${agree}`);
  const ground = draw("rect", { fill: colour(one.label), rx: 3 * unit });
  group.append(ground, text);
  svg.append(group);
  const pad = 0.35 * size;
  const wide = text.getComputedTextLength() + 2 * pad;
  const high = 1.5 * size;
  const left = Math.max(0, Math.min(one.box.x, found.width - wide));
  const tops = [one.box.y - high, one.box.y, one.box.y + one.box.height - high, one.box.y + one.box.height];
  const free = (top) => top >= 0 && top + high <= found.height
    && !taken.some((o) => left < o.left + o.wide && o.left < left + wide && top < o.top + high && o.top < top + high);
  const top = tops.find(free);
  if (top === undefined) return group.remove();
  taken.push({ left, top, wide });
  for (const [name, value] of Object.entries({ x: left, y: top, width: wide, height: high })) ground.setAttribute(name, value);
  text.setAttribute("x", left + pad);
  text.setAttribute("y", top + 1.08 * size);
}
