// Query and result side by side.

import { explain, loadImage } from "./api.js";
import { byId, describeDrawing, describeScore, make, makeButton, makeLabel, openDialog } from "./dom.js";
import { isKept } from "./kept.js";
import { hideMatches, showMatches } from "./matches.js";
import { renderPart } from "./picture_data.js";
import { LinkedPanes } from "./zoom.js";

const LONGEST_PX = 2048;
const dialog = byId("compare-dialog");
let parts = [];
let results = [];
let index = 0;
let handlers = {}; // onSimilar, onKeep, onExclude
let onClose = () => {}; // called with the index of the result that was shown last

const panes = new LinkedPanes([byId("query-pane"), byId("result-pane")], {
  isLinked: () => byId("sync").checked,
  onChange: (scale) => (byId("zoom-text").textContent = `${Math.round(scale * 100)} %`),
});

// Compare the query with the result at a position of a list.
export function openCompare(givenParts, givenResults, position, whenClosed) {
  parts = givenParts;
  results = givenResults;
  onClose = whenClosed;
  const choice = byId("query-choice");
  choice.replaceChildren(...parts.map((part, position) => make("option", { value: position, text: nameOf(part) })));
  byId("query-choice-line").hidden = parts.length < 2;
  openDialog(dialog);
  index = -1;
  showQuery(0);
  showResult(position);
  byId("result-pane").focus({ preventScroll: true });
}

const nameOf = (part) => (part.id ? describeDrawing(part) : part.name) + (part.crop ? " (crop)" : "");

async function showQuery(position) {
  const part = parts[position];
  const pane = byId("query-pane");
  const name = nameOf(part);
  pane.setAttribute("aria-label", `Query: ${name}`);
  pane.replaceChildren(make("p", { className: "hint", text: "Loading …" }));
  try {
    const address = await renderPart(part, LONGEST_PX);
    if (part === getPart()) showBelow(pane, make("img", { alt: name, draggable: false, src: address }));
  } catch (error) {
    if (part !== getPart()) return;
    const text = part.id ? explain(error) : "This browser cannot show the picture, but the server has read it.";
    showBelow(pane, make("p", { className: "hint", text }));
  }
  panes.update();
}

const getPart = () => parts[Number(byId("query-choice").value)];

// Replace the picture of a pane, below the colored one.
function showBelow(pane, element) {
  pane.replaceChildren(element, ...pane.querySelectorAll("img.matches"));
}

const updateMatches = () => showMatches(getPart(), results[index], () => panes.update());

function showResult(position) {
  index = Math.min(Math.max(position, 0), results.length - 1);
  const result = results[index];
  const name = describeDrawing(result);
  byId("compare-heading").textContent = `${result.rank}. ${name}, ${describeScore(result)}`;
  byId("previous-result").disabled = index === 0;
  byId("next-result").disabled = index === results.length - 1;
  const pane = byId("result-pane");
  const image = make("img", { alt: name, draggable: false });
  pane.setAttribute("aria-label", `Result: ${name}`);
  pane.replaceChildren(image);
  showPage(image, result);
  showActions(result);
  const rows = [["Id", result.id], ["Patent", result.patent ?? "unknown"], ...Object.entries(result.metadata),
    ["File", result.path], ["Page", result.page]];
  byId("compare-metadata").replaceChildren(...rows.map(([label, value]) =>
    make("div", {}, make("dt", { text: makeLabel(label) }), make("dd", { text: String(value) }))));
  panes.reset();
  updateMatches();
}

// Show the thumbnail until the page is loaded; it remains if the page cannot be read.
async function showPage(image, result) {
  await loadImage(image, result.thumbnail);
  const large = make("img", { alt: image.alt, draggable: false });
  await loadImage(large, `${result.image}?longest_px=${LONGEST_PX}`);
  if (!large.classList.contains("missing") && image.isConnected) {
    image.replaceWith(large);
    panes.update();
  }
}

function showActions(result) {
  const keep = isKept(result.id) ? "Remove from the keep-list" : "Keep";
  const actions = [
    makeButton(keep, () => toggleKept(result), { id: "compare-keep" }),
    makeButton("More like this", () => leave(() => handlers.onSimilar(result))),
  ];
  if (result.patent) actions.push(makeButton("Exclude patent", () => leave(() => handlers.onExclude(result))));
  byId("compare-actions").replaceChildren(...actions);
}

function toggleKept(result) {
  handlers.onKeep(result);
  showActions(result);
  byId("compare-keep").focus();
}

function leave(action) {
  dialog.close();
  action();
}

export function prepareCompare(given) {
  handlers = given;
  byId("zoom-in").addEventListener("click", () => panes.zoom(1.25));
  byId("zoom-out").addEventListener("click", () => panes.zoom(0.8));
  byId("zoom-reset").addEventListener("click", () => panes.reset());
  byId("previous-result").addEventListener("click", () => showResult(index - 1));
  byId("next-result").addEventListener("click", () => showResult(index + 1));
  byId("query-choice").addEventListener("change", (event) => {
    showQuery(Number(event.target.value));
    updateMatches();
  });
  byId("show-matches").addEventListener("change", updateMatches);
  dialog.addEventListener("close", () => {
    hideMatches();
    onClose(index);
  });
  window.addEventListener("resize", () => dialog.open && panes.update());
  dialog.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("select, input[type=text]")) return;
    if (event.key === "n") showResult(index + 1);
    else if (event.key === "p") showResult(index - 1);
    else if (event.key === "k") toggleKept(results[index]);
    else if (event.key === "s") byId("show-matches").click();
    else if (!panes.pressKey(event.key, document.activeElement)) return;
    event.preventDefault();
  });
}
