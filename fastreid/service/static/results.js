// Cards of the results, and moving through them with the keyboard.

import { showImage } from "./api.js";
import { byId, describeDrawing, describeProbability, describeScore, make, makeButton, makeLabel } from "./dom.js";
import { isKept } from "./kept.js";
import { makeViews } from "./views.js";

const SHOWN_COLUMNS = ["title", "applicant", "locarno", "jurisdiction", "filing_date", "publication_date", "figure"];
const MAX_LINES = 4;
const list = byId("results");
let results = [];
let handlers = {}; // onCompare, onSimilar, onKeep, onExclude: called with a result

export const getResults = () => results;

export function prepareResults(given) {
  handlers = given;
  list.addEventListener("keydown", pressKey);
  list.addEventListener("focusin", (event) => {
    const card = event.target.closest("article");
    if (card) select(card);
  });
}

export function showResults(found, { append = false } = {}) {
  const known = new Set(append ? results.map((result) => result.id) : []);
  const added = found.filter((result) => !known.has(result.id));
  results = append ? [...results, ...added] : added;
  const items = added.map((result) => make("li", {}, makeCard(result)));
  if (append) list.append(...items);
  else list.replaceChildren(...items);
  if (!append && items.length) select(items[0].firstChild);
  return items.map((item) => item.firstChild);
}

export function focusResult(index) {
  const cards = getCards();
  cards[Math.min(Math.max(index, 0), cards.length - 1)]?.focus();
}

export const getFocusedIndex = () => getCards().indexOf(document.activeElement?.closest?.("#results article") ?? null);

const getCards = () => [...list.querySelectorAll("article")];

export function updateKept() {
  for (const card of getCards()) {
    const button = card.querySelector("button.keep");
    const isPressed = isKept(card.dataset.id);
    button.setAttribute("aria-pressed", String(isPressed));
    button.textContent = isPressed ? "Kept" : "Keep";
  }
}

function makeCard(result) {
  const name = describeDrawing(result);
  const image = make("img", { alt: name, draggable: false });
  showImage(image, result.thumbnail);
  const sheet = make("button", { type: "button", className: "sheet", "aria-label": `Compare ${name} with the query` }, image);
  sheet.addEventListener("click", () => handlers.onCompare(result));
  const isPressed = isKept(result.id);
  const buttons = make("div", { className: "line" },
    makeButton("More like this", () => handlers.onSimilar(result), { className: "similar" }),
    makeButton(isPressed ? "Kept" : "Keep", () => handlers.onKeep(result), { className: "keep", "aria-pressed": String(isPressed) }));
  if (result.patent) {
    const label = `Exclude patent ${result.patent}`;
    buttons.append(makeButton("Exclude", () => handlers.onExclude(result), { className: "exclude", title: label, "aria-label": label }));
  }
  const probability = describeProbability(result);
  const score = make("p", { className: "score" }, make("strong", { text: probability || `score ${result.score.toFixed(3)}` }));
  if (probability) score.append(" ", make("span", { text: `score ${result.score.toFixed(3)}` }));
  const title = result.metadata.title ? `, ${result.metadata.title}` : "";
  const card = make("article", {
    tabIndex: -1,
    "data-id": result.id,
    "aria-label": `${result.rank}. ${name}, ${describeScore(result)}${title}`,
  });
  card.append(sheet, make("h3", {}, make("span", { className: "rank", text: `${result.rank} ` }), name), score,
    makeMetadata(result), ...makeViews(result), buttons);
  card.querySelectorAll("button").forEach((button) => (button.tabIndex = -1));
  return card;
}

function makeMetadata(result) {
  const names = SHOWN_COLUMNS.filter((name) => name in result.metadata);
  const others = Object.keys(result.metadata).filter((name) => !names.includes(name));
  const box = make("dl", { className: "metadata" });
  for (const name of [...names, ...others].slice(0, MAX_LINES)) {
    box.append(make("div", {}, make("dt", { text: makeLabel(name) }), make("dd", { text: String(result.metadata[name]) })));
  }
  return box;
}

// Let Tab reach one card and its buttons only; arrow keys move to the others.
function select(card) {
  for (const other of getCards()) {
    const tabIndex = other === card ? 0 : -1;
    other.tabIndex = tabIndex;
    other.querySelectorAll("button").forEach((button) => (button.tabIndex = tabIndex));
  }
}

function pressKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const cards = getCards();
  const index = cards.indexOf(event.target.closest("article"));
  if (index < 0) return;
  const result = results[index];
  const target = findTarget(event.key, index, cards);
  if (target !== null) {
    cards[target].focus();
  } else if (event.key === "Enter" && event.target === cards[index]) {
    handlers.onCompare(result);
  } else if (event.key === "m") {
    handlers.onSimilar(result);
  } else if (event.key === "k") {
    handlers.onKeep(result);
  } else if (event.key === "v" && cards[index].querySelector(".open-views")) {
    cards[index].querySelector(".open-views").click();
  } else if (event.key === "x" && result.patent) {
    handlers.onExclude(result);
  } else {
    return;
  }
  event.preventDefault();
}

function findTarget(key, index, cards) {
  const first = cards[0].getBoundingClientRect().top;
  const numColumns = Math.max(1, cards.filter((card) => Math.abs(card.getBoundingClientRect().top - first) < 2).length);
  const targets = {
    ArrowLeft: index - 1,
    ArrowRight: index + 1,
    ArrowUp: index - numColumns,
    ArrowDown: index + numColumns,
    Home: 0,
    End: cards.length - 1,
  };
  if (!(key in targets)) return null;
  const target = targets[key];
  if (key === "ArrowDown" && target >= cards.length) return cards.length - 1;
  return target < 0 || target >= cards.length ? index : target;
}
