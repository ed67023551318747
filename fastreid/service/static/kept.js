// The keep-list: results with notes, stored in this browser for each collection.

import { showImage } from "./api.js";
import { byId, count, describeDrawing, describeScore, make, makeButton, openDialog, openStore } from "./dom.js";

const store = openStore(() => window.localStorage);
let key = "fastreid.kept";
let kept = []; // results with {note, kept_at, query}
let isStored = true;
let onChange = () => {};

export const getKept = () => kept;

export const isKept = (id) => kept.some((entry) => entry.id === id);

// Read the list of a collection.
export function loadKept(collection) {
  key = `fastreid.kept.${collection}`;
  try {
    const found = JSON.parse(store.read(key) ?? "[]");
    kept = Array.isArray(found) ? found.filter(isEntry) : [];
  } catch {
    kept = [];
  }
  show();
}

const isEntry = (entry) =>
  typeof entry?.id === "string" && typeof entry.score === "number" && entry.metadata instanceof Object;

// Add a result, or remove it; return whether it is kept now.
export function toggleKept(result, query) {
  if (isKept(result.id)) kept = kept.filter((entry) => entry.id !== result.id);
  else kept = [...kept, { ...result, note: "", kept_at: new Date().toISOString(), query }];
  save();
  show();
  return isKept(result.id);
}

function save() {
  isStored = store.write(key, JSON.stringify(kept));
  byId("kept-hint").textContent = isStored
    ? "Stored in this browser, for this collection. Export the list to keep it elsewhere."
    : "This browser does not store the list; it is lost when you close the page. Export it.";
}

function show() {
  byId("num-kept").textContent = String(kept.length);
  byId("num-kept").setAttribute("aria-label", count(kept.length, "drawing"));
  byId("clear-kept").disabled = !kept.length;
  document.querySelector('.export[data-kind="kept"]').disabled = !kept.length;
  const list = byId("kept");
  list.replaceChildren(...kept.map(makeEntry));
  if (!kept.length) list.append(make("li", { className: "hint", text: "Nothing is kept yet. Press Keep at a result." }));
  onChange();
}

function makeEntry(entry) {
  const name = describeDrawing(entry);
  const image = make("img", { alt: name });
  showImage(image, entry.thumbnail);
  const note = make("textarea", { rows: 2, value: entry.note, placeholder: "Note", "aria-label": `Note on ${name}` });
  note.addEventListener("input", () => {
    entry.note = note.value;
    save();
  });
  const title = entry.metadata.title ? `, ${entry.metadata.title}` : "";
  return make("li", {},
    make("div", { className: "sheet small" }, image),
    make("div", { className: "details" },
      make("p", {}, make("strong", { text: name }), `${title}, ${describeScore(entry)}`), note,
      makeButton("Remove", () => remove(entry), { "aria-label": `Remove ${name} from the keep-list` })));
}

function remove(entry) {
  const position = kept.indexOf(entry);
  toggleKept(entry);
  const buttons = byId("kept").querySelectorAll("button");
  (buttons[Math.min(position, buttons.length - 1)] ?? byId("kept-dialog").querySelector(".close")).focus();
}

export function openKept() {
  openDialog(byId("kept-dialog"));
}

export function prepareKept(given) {
  onChange = given;
  byId("open-kept").addEventListener("click", openKept);
  byId("clear-kept").addEventListener("click", () => {
    if (!window.confirm(`Remove ${count(kept.length, "drawing")} and their notes from the keep-list?`)) return;
    kept = [];
    save();
    show();
  });
  // Another tab has changed the list.
  window.addEventListener("storage", (event) => event.key === key && loadKept(key.replace("fastreid.kept.", "")));
}
