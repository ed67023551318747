// A report in one HTML file: pictures as data, the query, filter, model, version of the collection, and date.

import { getImage, readAsDataUrl } from "./api.js";
import { describeDrawing, describeProbability, make, makeLabel } from "./dom.js";
import { renderPart } from "./picture_data.js";
import { formatCrop } from "./query.js";

const PICTURE_PX = 640;
const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
dl { margin: .8rem 0 0; display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: #57606a; } dd { margin: 0; overflow-wrap: anywhere; }
.query { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 15rem; }
figcaption { overflow-wrap: anywhere; font-size: .9rem; }
img { max-width: 100%; max-height: 18rem; background: #fff; border: 1px solid #d0d7de; padding: .5rem; }
article { display: grid; grid-template-columns: 16rem 1fr; gap: 1.5rem; padding: 1rem 0; border-top: 1px solid #d0d7de; }
article h3 { margin: 0 0 .3rem; font-size: 1rem; } .note { white-space: pre-wrap; border-left: 3px solid #d0d7de; padding-left: .7rem; }
@media (max-width: 40rem) { article { grid-template-columns: 1fr; } }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } article, figure { break-inside: avoid; }
  img { max-height: 5.5cm; } h2 { break-after: avoid; } @page { margin: 1.5cm; } }
`;
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

// Return the text of the report.
export async function makeReport({ kind, rows, record, showProgress }) {
  const title = kind === "kept" ? "Kept drawings" : "Search results";
  const body = make("body", {}, make("h1", { text: `${title}: ${record.collection.name}` }), describeCollection(record.collection));
  if (kind !== "kept") body.append(...(await describeQuery(record)));
  body.append(make("h2", { text: `${title} (${rows.length})` }));
  for (const [position, row] of rows.entries()) {
    showProgress(position);
    body.append(await makeRow(row));
  }
  const head = make("head", {}, make("title", { text: `${title}: ${record.collection.name}` }));
  return `<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
${head.innerHTML}\n<style>${STYLE}</style>\n</head>\n${body.outerHTML}\n</html>\n`;
}

function makeList(rows) {
  const list = make("dl");
  for (const [label, value] of rows) list.append(make("dt", { text: label }), make("dd", { text: String(value) }));
  return list;
}

const describeCollection = (collection) =>
  makeList([
    ["Date of the report", `${new Date().toISOString().slice(0, 19)}Z`],
    ["Collection", `${collection.name}, ${collection.drawings} drawings, ${collection.patents} patents`],
    ["Version of the collection", collection.version],
    ["Model", collection.model],
    ["SHA-256 of the weights", collection.weights_sha256],
  ]);

async function describeQuery({ answer, parts }) {
  const { query } = answer;
  const rows = [
    ["Date of the search", query.time],
    ["Filter", query.filter || "none"],
    ["Grouping", query.group ? `best drawing of each ${query.group}` : "none"],
    ["Excluded patents", query.exclude_patents.join(", ") || "none"],
    ["Patents and families of the query", query.exclude_own ? "left out" : "included"],
    ["Smallest score", query.min_score > -1 ? query.min_score : "none"],
    ["Order of the best results", query.expand ? "by the expanded query" : "by score"],
  ];
  if (parts.length > 1) rows.push(["Several pictures", query.combine === "best" ? "best rank" : "mean of the features"]);
  const figures = make("div", { className: "query" });
  for (const part of parts) figures.append(await makeFigure(part));
  return [make("h2", { text: "Query" }), figures, makeList(rows)];
}

async function makeFigure(part) {
  const name = part.id ? `${describeDrawing(part)} (${part.id})` : part.name;
  const page = !part.id && part.hasPages ? `, page ${part.page}` : "";
  const crop = part.crop ? `, crop ${formatCrop(part.crop)} (left, top, width, height)` : "";
  const caption = make("figcaption", { text: name + page + crop });
  try {
    return make("figure", {}, make("img", { alt: name, src: await renderPart(part, PICTURE_PX) }), caption);
  } catch {
    return make("figure", {}, make("p", { text: "no preview" }), caption);
  }
}

async function makeRow(row) {
  const name = describeDrawing(row);
  const rank = row.note === undefined ? `${row.rank}. ` : "";
  const rows = [["Score", row.score.toFixed(4)]];
  if (describeProbability(row)) rows.unshift(["Probability", describeProbability(row)]);
  for (const [column, value] of Object.entries(row.metadata)) rows.push([makeLabel(column), value]);
  rows.push(["File", row.path], ["Page", row.page], ["Id", row.id]);
  if (row.kept_at) rows.push(["Kept", row.kept_at], ["Query", row.query ?? ""]);
  const text = make("div", {}, make("h3", { text: rank + name }));
  if (row.note) text.append(make("p", { className: "note", text: row.note }));
  text.append(makeList(rows));
  const address = await loadPicture(row);
  const picture = address ? make("img", { alt: name, src: address }) : make("p", { text: "no picture" });
  return make("article", {}, make("div", {}, picture), text);
}

// Return the page of a drawing as data, or its thumbnail if the file cannot be read.
async function loadPicture(row) {
  for (const address of [`${row.image}?longest_px=${PICTURE_PX}`, row.thumbnail]) {
    try {
      return await readAsDataUrl(await getImage(address));
    } catch (error) {
      if (error.status !== 404) throw error;
    }
  }
  return "";
}
