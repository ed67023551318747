// Which lines of the compared pictures match: colored pictures above them, a legend, and a description in words.

import { explain, isCanceled, postForm } from "./api.js";
import { byId, make } from "./dom.js";
import { appendPart } from "./query.js";

const ROWS = ["top", "middle", "bottom"];
const COLUMNS = ["left", "center", "right"];
const MIN_INK = 0.05; // of a region that the description names
const FULL_MATCH = 0.8; // a mean value that is described as 100 %
let controller = null;
let request = 0;

export const isShown = () => byId("show-matches").checked;

export function hideMatches() {
  request += 1;
  controller?.abort();
  for (const image of document.querySelectorAll(".pane img.matches")) image.remove();
  byId("matches").hidden = !isShown();
  byId("matches-text").textContent = "";
}

// Compare a part of the query with a result, and show the answer above both pictures; onShown is called then.
export async function showMatches(part, result, onShown) {
  hideMatches();
  if (!isShown()) return;
  const own = request;
  controller = new AbortController();
  byId("matches-text").textContent = "Comparing …";
  const form = new FormData();
  appendPart(form, part);
  form.append("ids", result.id);
  try {
    const { drawings } = await postForm("api/v1/compare", form, controller.signal);
    if (own !== request) return;
    for (const [name, drawing] of [["query", drawings[0]], ["result", drawings[1]]]) {
      const pane = byId(`${name}-pane`);
      pane.append(make("img", { alt: "", className: "matches", draggable: false, src: drawing.image }));
    }
    byId("matches-text").textContent = `${describe("Query", drawings[0])} ${describe("Result", drawings[1])}`;
    onShown();
  } catch (error) {
    if (own === request && !isCanceled(error)) byId("matches-text").textContent = explain(error);
  }
}

const toPercent = (value) => Math.round(Math.min(value / FULL_MATCH, 1) * 100);

// "Query: 61 % of the lines match, most at the top left (90 %), least at the bottom right (20 %)."
function describe(name, drawing) {
  const places = drawing.regions.flatMap((row, rowIndex) =>
    row.map((region, column) => ({ ...region, name: namePlace(rowIndex, column) })));
  const shown = places.filter((place) => place.ink >= MIN_INK).sort((one, other) => other.matched - one.matched);
  const whole = `${name}: ${toPercent(drawing.matched)} % of the lines match`;
  const [best, worst] = [shown[0], shown.at(-1)];
  if (!best || toPercent(best.matched) - toPercent(worst.matched) < 10) return `${whole}.`;
  const describePlace = (place) => `${place.name} (${toPercent(place.matched)} %)`;
  return `${whole}, most ${describePlace(best)}, least ${describePlace(worst)}.`;
}

const namePlace = (row, column) =>
  row === 1 && column === 1 ? "in the center" : `at the ${[ROWS[row], COLUMNS[column]].filter((word) => word !== "center").join(" ")}`;
