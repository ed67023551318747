// The other drawings of a patent, in a row of its card that can be opened.

import { explain, showImage } from "./api.js";
import { byId, count, describeDrawing, describeScore, make, makeButton } from "./dom.js";

let findViews = async () => []; // result -> other drawings of its patent, best first
let onCompare = () => {}; // called with the drawings of the patent, the index of one, and what to do afterwards
let lastNumber = 0;

export function prepareViews(given) {
  ({ findViews, onCompare } = given);
}

// Return a button with the number of other drawings and the row that it opens; nothing if there is no other drawing.
export function makeViews(result) {
  if (!result.other_views || !result.patent) return [];
  lastNumber += 1;
  const row = make("ul", { className: "views", id: `views-${lastNumber}`, hidden: true, "aria-label": `Other drawings of patent ${result.patent}` });
  const text = count(result.other_views, "more view");
  const button = makeButton(text, () => toggle(result, button, row), {
    className: "open-views",
    "aria-expanded": "false",
    "aria-controls": row.id,
    "aria-label": `${text} of patent ${result.patent}`,
  });
  return [button, row];
}

async function toggle(result, button, row) {
  const isOpen = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!isOpen));
  row.hidden = isOpen;
  if (isOpen || row.querySelector("button")) return;
  row.replaceChildren(make("li", { className: "hint", text: "Loading …" }));
  try {
    const views = await findViews(result);
    row.replaceChildren(...views.map((view, position) => make("li", {}, makeView([result, ...views], position + 1))));
    byId("notice").textContent = `${count(views.length, "drawing")} shown.`;
  } catch (error) {
    row.replaceChildren(make("li", { className: "hint", role: "alert", text: explain(error) }));
  }
}

function makeView(drawings, position) {
  const view = drawings[position];
  const image = make("img", { alt: "", draggable: false });
  showImage(image, view.thumbnail);
  const label = `Compare drawing ${position + 1} of ${describeDrawing(view)} with the query, ${describeScore(view)}`;
  const button = make("button", { type: "button", className: "sheet view", "aria-label": label }, image,
    make("span", { className: "hint", text: view.score.toFixed(3) }));
  button.addEventListener("click", () => onCompare(drawings, position, () => button.focus()));
  return button;
}
