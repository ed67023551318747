// Filters built from the columns of the collection, with the number of drawings for each value.

import { explain, getJson } from "./api.js";
import { byId, formatNumber, make, makeLabel } from "./dom.js";

const NUM_VALUES = 30;
const WAIT_MS = 300;
const HIDDEN = new Set(["id", "path", "page", "source", "added", "size_bytes", "mtime_ns", "sha256", "digest"]);
const INPUT_TYPES = { date: "date", integer: "number", number: "number" };
const columns = new Map(); // name -> {name, type, values, missing, start, from, to, details, body, list}
let onChange = () => {};
let timer = 0;

const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;

const makeEmpty = () => ({ values: new Set(), missing: false, start: "", from: "", to: "" });

function makeCondition(column) {
  const { name, type } = column;
  const values = [...column.values].map((value) => (type === "text" ? quote(value) : String(value)));
  const parts = [];
  if (values.length === 1) parts.push(`${name} = ${values[0]}`);
  else if (values.length) parts.push(`${name} IN (${values.join(", ")})`);
  else if (column.start && type === "text") parts.push(`${name} STARTSWITH ${quote(column.start)}`);
  const range = [];
  if (column.from !== "") range.push(`${name} >= ${column.from}`);
  if (column.to !== "") range.push(`${name} <= ${column.to}`);
  if (range.length) parts.push(range.join(" AND "));
  if (column.missing) parts.push(`${name} IS NULL`);
  return parts.length > 1 ? `(${parts.join(" OR ")})` : parts.join("");
}

// Return the filter of all columns and of the text field.
export function buildFilter(except = null) {
  const conditions = [...columns.values()].filter((column) => column !== except).map(makeCondition).filter(Boolean);
  const text = byId("filter").value.trim();
  if (!text) return conditions.join(" AND ");
  return conditions.length ? [`(${text})`, ...conditions].join(" AND ") : text;
}

export function clearFilters(text = "") {
  byId("filter").value = text;
  for (const column of columns.values()) {
    Object.assign(column, makeEmpty());
    column.details.open = false;
    column.body.replaceChildren();
    column.list = null;
    describe(column);
  }
}

export function showColumns(types) {
  columns.clear();
  for (const [name, type] of Object.entries(types)) {
    if (HIDDEN.has(name)) continue;
    const body = make("div", { className: "column" });
    const summary = make("summary", { text: makeLabel(name) });
    const details = make("details", {}, summary, body);
    const column = { name, type, details, summary, body, list: null, ...makeEmpty() };
    details.addEventListener("toggle", () => details.open && showColumn(column));
    columns.set(name, column);
  }
  byId("columns").replaceChildren(...[...columns.values()].map((column) => column.details));
}

export function prepareFilters(given) {
  onChange = given;
  byId("filter").addEventListener("input", () => changed(null));
}

function changed(column) {
  if (column) describe(column);
  onChange();
  clearTimeout(timer);
  timer = setTimeout(() => {
    for (const other of columns.values()) if (other.details.open && other.list) countValues(other);
  }, WAIT_MS);
}

// Say in the heading of a column what is selected.
function describe(column) {
  const words = [];
  if (column.values.size) words.push([...column.values].slice(0, 2).join(", ") + (column.values.size > 2 ? ", …" : ""));
  else if (column.start) words.push(`${column.start}…`);
  if (column.from !== "" || column.to !== "") words.push(`${column.from || "…"} to ${column.to || "…"}`);
  if (column.missing) words.push("no value");
  column.summary.replaceChildren(makeLabel(column.name));
  if (words.length) column.summary.append(make("span", { className: "selected", text: ` ${words.join(", ")}` }));
}

function showColumn(column) {
  if (column.list) return;
  const label = makeLabel(column.name);
  column.list = make("div", { className: "values", role: "group", "aria-label": `Values of ${label}` });
  column.note = make("p", { className: "hint" });
  const type = INPUT_TYPES[column.type];
  if (type) {
    column.ends = ["from", "to"].map((end) => {
      const field = make("input", { type, step: "any", value: column[end], "aria-label": `${label} ${end}` });
      field.addEventListener("change", () => {
        column[end] = field.value;
        changed(column);
      });
      return field;
    });
    column.body.replaceChildren(make("div", { className: "pair" }, ...column.ends), column.list, column.note);
  } else if (column.type === "text") {
    const field = make("input", { type: "text", value: column.start, placeholder: "starts with", spellcheck: false });
    field.setAttribute("aria-label", `${label} starts with`);
    field.addEventListener("input", () => {
      column.start = field.value.trim();
      changed(column);
    });
    column.body.replaceChildren(field, column.list, column.note);
  } else {
    column.body.replaceChildren(column.list, column.note);
  }
  countValues(column);
}

async function countValues(column) {
  const request = (column.request = (column.request ?? 0) + 1);
  const start = column.type === "text" && column.start ? `${column.name} STARTSWITH ${quote(column.start)}` : "";
  const others = buildFilter(column);
  const filter = [others && start ? `(${others})` : others, start].filter(Boolean).join(" AND ");
  const values = new URLSearchParams({ column: column.name, filter, limit: NUM_VALUES });
  column.note.textContent = "Counting …";
  try {
    const facets = await getJson(`api/v1/facets?${values}`);
    if (request === column.request) showValues(column, facets);
  } catch (error) {
    if (request === column.request) column.note.textContent = explain(error);
  }
}

function showValues(column, facets) {
  const hasRange = column.type in INPUT_TYPES;
  const found = hasRange ? [] : facets.values;
  const known = new Set(found.map((item) => String(item.value)));
  const chosen = [...column.values].filter((value) => !known.has(value)).map((value) => ({ value, count: 0 }));
  const focused = document.activeElement?.closest?.(".values") === column.list ? document.activeElement.value : null;
  const lines = [...chosen, ...found].map((item) => makeValue(column, String(item.value), item.count));
  if (facets.missing || column.missing) lines.push(makeMissing(column, facets.missing));
  column.list.replaceChildren(...lines);
  if (focused !== null) [...column.list.querySelectorAll("input")].find((field) => field.value === focused)?.focus();
  if (hasRange) showEnds(column, facets);
  const rest = facets.distinct - found.length;
  if (!facets.distinct && !facets.missing) column.note.textContent = "No drawing fulfills the other filters.";
  else if (!facets.distinct) column.note.textContent = "No drawing has a value.";
  else if (hasRange) column.note.textContent = `${facets.minimum} to ${facets.maximum}`;
  else column.note.textContent = rest > 0 ? `${formatNumber(rest)} more values; type how the value starts.` : "";
}

function showEnds(column, facets) {
  for (const [index, value] of [facets.minimum, facets.maximum].entries()) {
    if (column.type !== "date") column.ends[index].placeholder = value ?? "";
  }
}

function makeValue(column, value, number) {
  const field = make("input", { type: "checkbox", value, checked: column.values.has(value) });
  field.addEventListener("change", () => {
    if (field.checked) column.values.add(value);
    else column.values.delete(value);
    changed(column);
  });
  return makeLine(field, value, number);
}

function makeMissing(column, number) {
  const field = make("input", { type: "checkbox", value: "\0", checked: column.missing });
  field.addEventListener("change", () => {
    column.missing = field.checked;
    changed(column);
  });
  return makeLine(field, "no value", number);
}

const makeLine = (field, text, number) =>
  make("label", { className: "check" }, field, make("span", { className: "value", text }),
    make("span", { className: "count", text: formatNumber(number) }));
