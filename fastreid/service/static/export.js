// Results or the keep-list as CSV, JSON or a report in HTML.

import { explain } from "./api.js";
import { byId, count, download, openDialog } from "./dom.js";
import { getKept } from "./kept.js";
import { makeReport } from "./report.js";

const FIELDS = ["rank", "id", "patent", "score", "probability", "distance", "path", "page"];
let kind = "results";
let getRecord = () => ({}); // -> {answer, parts, results, collection}

// Return rows as RFC 4180, with a mark that lets spreadsheets read UTF-8.
export function makeCsv(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.metadata)))];
  const used = FIELDS.filter((name) => rows.some((row) => row[name] !== undefined));
  const own = ["note", "kept_at"].filter((name) => rows.some((row) => name in row));
  const lines = [
    [...used, ...names, ...own],
    ...rows.map((row) => [...used.map((name) => row[name]), ...names.map((name) => row.metadata[name]),
      ...own.map((name) => row[name])]),
  ];
  return `\ufeff${lines.map((line) => line.map(formatCell).join(",")).join("\r\n")}\r\n`;
}

function formatCell(value) {
  if (value === undefined || value === null) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value; // a spreadsheet would compute it
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function makeJson({ rows, record }) {
  const { collection, answer } = record;
  const state = { name: collection.name, version: collection.version, drawings: collection.drawings };
  const model = { name: collection.model, weights_sha256: collection.weights_sha256 };
  const about = { exported_at: new Date().toISOString(), collection: state, model };
  const content = kind === "kept" ? { ...about, kept: rows } : { ...about, query: answer.query, results: rows };
  return `${JSON.stringify(content, null, 2)}\n`;
}

async function save(format) {
  const record = getRecord();
  const rows = kind === "kept" ? getKept() : record.results;
  const status = byId("export-status");
  const name = `${kind === "kept" ? "keep-list" : "results"}-${makeTime()}.${format}`;
  try {
    if (format === "csv") {
      download(name, "text/csv;charset=utf-8", makeCsv(rows));
    } else if (format === "json") {
      download(name, "application/json", makeJson({ rows, record }));
    } else {
      const showProgress = (done) => (status.textContent = `${done} of ${count(rows.length, "picture")} …`);
      download(name, "text/html;charset=utf-8", await makeReport({ kind, rows, record, showProgress }));
    }
    status.textContent = `Saved ${count(rows.length, "drawing")} as ${name}.`;
  } catch (error) {
    status.textContent = explain(error);
  }
}

const makeTime = () => new Date().toISOString().slice(0, 19).replaceAll(":", "-");

export function prepareExport(given) {
  getRecord = given;
  for (const button of document.querySelectorAll("button.export")) {
    button.addEventListener("click", () => {
      kind = button.dataset.kind;
      byId("export-heading").textContent = kind === "kept" ? "Export the keep-list" : "Export the results";
      byId("export-status").textContent = "";
      openDialog(byId("export-dialog"));
    });
  }
  for (const button of document.querySelectorAll("button[data-format]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      await save(button.dataset.format);
      button.disabled = false;
      button.focus();
    });
  }
}
