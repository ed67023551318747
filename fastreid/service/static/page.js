// The search page: connects its parts. Without a build step and without files of other servers.

import { explain, getJson, setToken } from "./api.js";
import { openCompare, prepareCompare } from "./compare.js";
import { openCrop, prepareCrop } from "./crop.js";
import { byId, count, make, makeButton, openDialog, prepareDialogs } from "./dom.js";
import { prepareExport } from "./export.js";
import { buildFilter, clearFilters, prepareFilters, showColumns } from "./filters.js";
import { prepareKeys } from "./keys.js";
import { loadKept, openKept, prepareKept, toggleKept } from "./kept.js";
import { prepareLink } from "./link.js";
import { preparePictures, setLimits, showPictures } from "./pictures.js";
import { addPart, copyQuery, makeFragment, parseFragment, query, replaceQuery } from "./query.js";
import { focusResult, getFocusedIndex, getResults, prepareResults, updateKept } from "./results.js";
import { clearSearch, findViews, getSearch, isChanged, prepareSearch, search, setCollection, showMessage, showStatus } from "./search.js";
import { prepareViews } from "./views.js";

const loadedAt = Date.now();
const visited = new Map(); // number in the history -> query with its pictures
let isLoaded = false;

// Copy the fields of the form into the query.
function readFields() {
  query.filter = buildFilter();
  query.group = byId("group").checked;
  query.pageSize = Number(byId("page-size").value);
  query.minScore = byId("min-score").value;
  query.combine = byId("combine").checked ? "best" : "mean";
  query.expand = byId("expand").checked;
  query.excludeOwn = byId("exclude-own").checked;
}

// Show a query in the form.
function showFields() {
  clearFilters(query.filter);
  byId("group").checked = query.group;
  byId("page-size").value = String(query.pageSize);
  byId("min-score").value = query.minScore;
  byId("expand").checked = query.expand;
  showPictures();
  showExcluded();
}

function showExcluded() {
  const chips = query.exclude.map((patent) => {
    const remove = makeButton("×", () => includePatent(patent), { "aria-label": `Include patent ${patent} again` });
    return make("li", {}, make("span", { text: patent }), remove);
  });
  byId("excluded").replaceChildren(...chips);
  byId("excluded-line").hidden = !chips.length;
}

function showChange() {
  readFields();
  byId("changed").hidden = !isChanged(query);
}

function start(options = {}) {
  readFields();
  byId("changed").hidden = true;
  return search(copyQuery(), options);
}

function searchSimilar(result) {
  const { id, patent, page, thumbnail, image } = result;
  query.parts = [];
  addPart({ id, patent, page, thumbnail, image, crop: null });
  showPictures();
  start({ focusHeading: true });
}

function excludePatent(result) {
  if (!query.exclude.includes(result.patent)) query.exclude.push(result.patent);
  showExcluded();
  start({ keepFocus: Math.max(0, getFocusedIndex()) });
}

function includePatent(patent) {
  query.exclude = query.exclude.filter((other) => other !== patent);
  showExcluded();
  (byId("excluded").querySelector("button") ?? byId("start")).focus();
  if (getSearch().source) start({ keepScroll: true });
}

function keep(result) {
  const { source } = getSearch();
  const names = source ? source.parts.map((part) => part.name ?? `drawing ${part.id}`).join(", ") : "";
  const isAdded = toggleKept(result, names);
  byId("notice").textContent = isAdded ? "Added to the keep-list." : "Removed from the keep-list.";
}

function compare(result) {
  const results = getResults();
  openCompare(getSearch().source.parts, results, results.findIndex((other) => other.id === result.id), focusResult);
}

function clear() {
  replaceQuery({ ...query, parts: [], filter: "", exclude: [], minScore: "", combine: "mean", expand: false });
  showFields();
  clearSearch();
  byId("changed").hidden = true;
  window.history.pushState({ number: null }, "", window.location.pathname);
  byId("choose").focus();
}

// Add a search to the history of the browser, so that Back returns to the previous one.
function remember(source) {
  const shown = visited.get(window.history.state?.number);
  if (shown === source) return;
  const number = `${loadedAt}-${visited.size}`;
  visited.set(number, source);
  const fragment = makeFragment(source);
  const address = fragment ? `#${fragment}` : window.location.pathname;
  if (shown) window.history.pushState({ number }, "", address);
  else window.history.replaceState({ number }, "", address);
}

function restore(event) {
  const source = visited.get(event.state?.number);
  if (!source) {
    openFragment();
    return;
  }
  replaceQuery(source);
  showFields();
  search(source);
}

// Read the query of the address, and search if it has drawings.
async function openFragment() {
  const found = parseFragment(window.location.hash);
  if (!found) {
    if (getSearch().source) clear();
    return;
  }
  const { ids, ...options } = found;
  replaceQuery({ ...query, ...options, parts: [] });
  showFields();
  for (const id of ids) {
    try {
      const { patent, page, thumbnail, image } = await getJson(`api/v1/drawings/${encodeURIComponent(id)}`);
      addPart({ id, patent, page, thumbnail, image, crop: null });
    } catch (error) {
      showMessage(`The link has a drawing that cannot be used. ${explain(error)}`);
    }
  }
  Object.assign(query, { combine: options.combine, excludeOwn: options.excludeOwn }); // they need the drawings
  showPictures();
  if (query.parts.length) start();
  else if (!ids.length) showStatus("The link has no pictures. Add the pictures of the query, then search.");
}

function askForToken() {
  byId("token-section").hidden = false;
  byId("token").focus();
}

async function loadCollection() {
  try {
    const collection = await getJson("api/v1/collection");
    setCollection(collection);
    setLimits(collection.limits);
    showColumns(collection.columns);
    loadKept(collection.name);
    byId("collection").textContent =
      `${collection.name}: ${count(collection.drawings, "drawing")}, ${count(collection.patents, "patent")}`;
    byId("collection").title = `model ${collection.model}`;
    byId("token-section").hidden = true;
    document.title = `Search ${collection.name}`;
    isLoaded = true;
    await openFragment();
  } catch (error) {
    byId("collection").textContent = "The collection is not loaded.";
    if (error.status === 401) askForToken();
    else showMessage(explain(error));
  }
}

function useToken(event) {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  showMessage("");
  if (isLoaded) {
    byId("token-section").hidden = true;
    start();
  } else {
    loadCollection().then(() => !byId("token-section").hidden && showMessage("The token is wrong. Enter it again."));
  }
}

prepareDialogs();
preparePictures({ onChange: showChange, onCrop: openCrop, onFault: showMessage });
prepareCrop((part) => {
  showPictures();
  showChange();
  const position = query.parts.indexOf(part);
  byId("query-pictures").children[position]?.querySelector("button.crop")?.focus();
});
prepareFilters(showChange);
prepareSearch({ onToken: askForToken, onDone: remember });
prepareKept(updateKept);
prepareExport(() => {
  const { answer, source, collection } = getSearch();
  return { answer, collection, parts: source?.parts ?? [], results: getResults() };
});
prepareLink(() => getSearch().source);
const actions = { onSimilar: searchSimilar, onKeep: keep, onExclude: excludePatent };
prepareResults({ ...actions, onCompare: compare });
prepareCompare(actions);
prepareViews({
  findViews,
  onCompare: (drawings, position, whenClosed) => openCompare(getSearch().source.parts, drawings, position, whenClosed),
});

const applyOption = () => (getSearch().source ? start() : showChange());
byId("search").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
byId("search").addEventListener("change", showChange);
for (const name of ["group", "expand", "exclude-own"]) byId(name).addEventListener("change", applyOption);
byId("clear").addEventListener("click", clear);
byId("filter").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
});
byId("token-form").addEventListener("submit", useToken);
window.addEventListener("popstate", restore);
prepareKeys({
  u: () => byId("choose").click(),
  "/": () => byId("filter").focus(),
  g: () => byId("group").click(),
  e: () => byId("expand").click(),
  o: () => byId("exclude-own-line").hidden || byId("exclude-own").click(),
  l: openKept,
  "?": () => openDialog(byId("help-dialog")),
});
loadCollection();
