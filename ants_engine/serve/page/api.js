"use strict";
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// a schema in a few words; what it refers to is written out two levels deep
function worded(schema, all, depth) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 0 ? worded(all[name], all, depth - 1) : name;
  }
  const choice = schema.anyOf || schema.oneOf;
  if (choice) return choice.map((one) => worded(one, all, depth)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return "[" + worded(schema.items, all, depth) + ", …]";
  if (schema.properties) {
    const needed = schema.required || [];
    const lines = Object.entries(schema.properties).map(([name, one]) => {
      const inner = worded(one, all, depth).replaceAll("\n", "\n  ");
      const said = one.description ? "  // " + one.description : "";
      return `  ${name}${needed.includes(name) ? "" : "?"}: ${inner}${said}`;
    });
    return "{\n" + lines.join("\n") + "\n}";
  }
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "anything";
}

function route(path, method, one, all) {
  const card = element("section", undefined, "card");
  card.append(element("h2", method.toUpperCase() + " " + path));
  for (const text of (one.description || "").split("\n\n")) card.append(element("p", text));
  for (const given of one.parameters || []) {
    const range = [given.schema.minimum, given.schema.maximum].filter((bound) => bound !== undefined).join(" to ");
    card.append(element("p", `${given.in} ${given.name}${range ? " (" + range + ")" : ""}: ${given.description || ""}`, "muted"));
  }
  for (const [kind, body] of Object.entries((one.requestBody || {}).content || {})) {
    card.append(element("h3", "Send " + kind), code(worded(body.schema, all, 3)));
  }
  const statuses = element("table"), rows = element("tbody");
  for (const [status, answer] of Object.entries(one.responses)) {
    const row = element("tr"), content = Object.entries(answer.content || {})[0];
    row.append(element("th", status), element("td", answer.description));
    rows.append(row);
    if (status.startsWith("2") && content) card.append(element("h3", `Get ${status} ${content[0]}`), code(worded(content[1].schema, all, 3)));
  }
  statuses.append(rows);
  const more = element("details");
  more.append(element("summary", "Statuses"), statuses);
  card.append(more);
  return card;
}

function code(text) {
  const made = element("pre");
  // a long line scrolls, by the keyboard too
  made.tabIndex = 0;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", "schema");
  made.append(element("code", text));
  return made;
}

fetch("/openapi.json").then((answer) => answer.json()).then((document_) => {
  document.getElementById("about").textContent = `${document_.info.title} ${document_.info.version}. ` + document_.info.description;
  const all = document_.components.schemas, routes = document.getElementById("routes");
  for (const [path, methods] of Object.entries(document_.paths))
    for (const [method, one] of Object.entries(methods)) routes.append(route(path, method, one, all));
});
