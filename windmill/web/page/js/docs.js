// The API's documentation, from openapi.json alone: nothing comes from anywhere else.

import { at, make } from "./dom.js";

const api = await (await fetch("openapi.json")).json();
const resolved = (schema) => (schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema);

function type(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return make("a", { href: `#${name}` }, name);
  }
  if (schema.anyOf) return joined(schema.anyOf.map(type), " or ");
  if (schema.type === "array") return make("span", {}, "list", ...(schema.items ? [" of ", type(schema.items)] : []));
  const span = [schema.minimum, schema.maximum];
  const told = span.some((one) => one !== undefined) && !(schema.maximum > Number.MAX_SAFE_INTEGER);
  const limits = told ? `, ${span[0] ?? "…"} to ${span[1] ?? "…"}`.replaceAll("-", "−") : "";
  return make("span", {}, `${schema.format === "binary" ? "file" : schema.type ?? "anything"}${limits}`);
}

const plain = (text) => (text ?? "").replaceAll("`", "");

const joined = (parts, by) => make("span", {}, ...parts.flatMap((part, place) => (place ? [by, part] : [part])));

function table(rows) {
  const body = rows.map(([name, schema, about, needed]) => make("tr", {},
    make("td", {}, make("code", {}, name), needed ? " (needed)" : ""),
    make("td", {}, type(schema)),
    make("td", {}, about || "", ...(schema.default === undefined || schema.default === "" || schema.default === null ? [] : [` Otherwise ${JSON.stringify(schema.default)}.`]))));
  const head = make("tr", {}, ...["name", "type", "meaning"].map((text) => make("th", { scope: "col" }, text)));
  return make("div", { className: "wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

const properties = (schema) => Object.entries(schema.properties ?? {}).map(([name, one]) => [name, one, one.description, schema.required?.includes(name) && !one.readOnly]);

function curl(verb, path, deed) {
  const address = new URL(path.slice(1).replace("{image_id}", "12"), document.baseURI).href;
  if (deed.requestBody) return `curl -F file=@photo.jpg -F top_k=5 ${address}`;
  if (verb === "delete") return `curl -X DELETE -H "Authorization: Bearer $TOKEN" ${address}`;
  return path === "/api/search" ? `curl -G --data-urlencode "text=a yellow car" ${address}` : `curl ${address}`;
}

function chapter(path, verb, deed) {
  const parts = [
    make("h3", {}, make("code", {}, make("span", { className: "verb" }, verb.toUpperCase()), path)),
    make("p", {}, plain(deed.description)),
    make("pre", { tabIndex: 0 }, curl(verb, path, deed)),
  ];
  if (deed.parameters?.length) parts.push(table(deed.parameters.map((one) => [one.name, one.schema, one.description ?? one.schema.description, one.required])));
  for (const { schema } of Object.values(deed.requestBody?.content ?? {})) parts.push(table(properties(resolved(schema))));
  parts.push(make("p", {}, joined(Object.entries(deed.responses).map(([status, reply]) => {
    const schema = reply.content?.["application/json"]?.schema;
    return make("span", {}, `${status} `, schema?.$ref ? type(schema) : reply.description);
  }), ", ")));
  return parts;
}

at("about").append(...api.info.description.trim().split("\n\n").map((text) => make("p", {}, plain(text))));
for (const [path, deeds] of Object.entries(api.paths)) {
  for (const [verb, deed] of Object.entries(deeds)) at("paths").append(...chapter(path, verb, deed));
}
for (const [name, schema] of Object.entries(api.components.schemas)) {
  at("shapes").append(make("h3", { id: name }, name), make("p", {}, plain(schema.description)), table(properties(schema)));
}
