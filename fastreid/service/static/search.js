// Run the query, load more, and tell the user what happens.

import { ServiceError, explain, getJson, isCanceled, postForm } from "./api.js";
import { byId, count, formatNumber } from "./dom.js";
import { describePictures } from "./pictures.js";
import { MAX_RESULTS, makeForm } from "./query.js";
import { focusResult, getResults, showResults } from "./results.js";

const READY_TRIES = 30;
const MAX_LIMIT = 200;
const state = { answer: null, source: null, collection: null, controller: null };
let handlers = {}; // onToken, onDone(source)

export const getSearch = () => state;

// Set the collection that reports name; a search replaces it by the state of that moment.
export const setCollection = (collection) => (state.collection = collection);

// Show an error in words, where the user sees it.
export function showMessage(text) {
  const message = byId("message");
  message.textContent = text;
  if (text) message.scrollIntoView({ block: "nearest" });
}

export function showStatus(text) {
  byId("status").textContent = text;
}

function showProgress(isRunning) {
  byId("progress").hidden = !isRunning;
  byId("results").setAttribute("aria-busy", String(isRunning));
  byId("more").disabled = isRunning;
}

const wait = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

// Send the query; wait while the model is loading.
async function send(source, range, signal) {
  for (let number = 1; ; number += 1) {
    try {
      return await postForm("api/v1/search", makeForm(source, range), signal);
    } catch (error) {
      if (!(error instanceof ServiceError) || error.code !== "not_ready" || number === READY_TRIES) throw error;
      showStatus("The server is loading the model. The search starts when it is ready.");
      await wait(error.retryAfterS || 2, signal);
    }
  }
}

export async function search(source, { keepFocus = -1, focusHeading = false, keepScroll = false } = {}) {
  state.controller?.abort();
  if (!source.parts.length) {
    showMessage("Add a picture first: drop, paste or choose one.");
    byId("choose").focus();
    return;
  }
  const controller = (state.controller = new AbortController());
  showMessage("");
  showStatus(`Searching with ${describePictures(source.parts)} …`);
  showProgress(true);
  try {
    const range = { k: source.pageSize, offset: 0, limit: source.pageSize };
    const [answer, collection] = await Promise.all([
      send(source, range, controller.signal),
      getJson("api/v1/collection", { signal: controller.signal }),
    ]);
    Object.assign(state, { answer, source, collection });
    showResults(answer.results);
    finish(answer, range);
    if (keepFocus >= 0) focusResult(keepFocus);
    else if (focusHeading) byId("results-heading").focus();
    if (keepFocus < 0 && !keepScroll && !isVisible(byId("results-heading"))) byId("answers").scrollIntoView({ block: "start" });
    handlers.onDone(source);
  } catch (error) {
    fail(error, controller);
  } finally {
    if (controller === state.controller) showProgress(false);
  }
}

function isVisible(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return top >= 0 && bottom <= window.innerHeight;
}

// Return the drawings of the patent of a result, best first.
export async function findViews(result) {
  const range = { k: MAX_LIMIT, offset: 0, limit: MAX_LIMIT, within: result.patent };
  const answer = await postForm("api/v1/search", makeForm(state.source, range));
  return answer.results.filter((other) => other.id !== result.id).map((other) => ({ ...other, rank: result.rank }));
}

export async function loadMore() {
  if (!state.source) return;
  const hadFocus = document.activeElement === byId("more");
  const controller = (state.controller = new AbortController());
  const offset = getResults().length;
  const k = Math.min(offset + state.source.pageSize, MAX_RESULTS);
  const range = { k, offset, limit: Math.min(k - offset, MAX_LIMIT) };
  showStatus("Loading more results …");
  showProgress(true);
  try {
    const answer = await send(state.source, range, controller.signal);
    const cards = showResults(answer.results, { append: true });
    finish(answer, range);
    if (hadFocus && cards.length) cards[0].focus();
  } catch (error) {
    fail(error, controller);
  } finally {
    if (controller === state.controller) showProgress(false);
  }
}

function finish(answer, range) {
  const number = getResults().length;
  byId("more").hidden = answer.total < range.k || range.k >= MAX_RESULTS;
  document.querySelector('.export[data-kind="results"]').disabled = !number;
  byId("open-link").disabled = false;
  const kind = answer.query.group ? "patent" : "drawing";
  const among = answer.query.filter ? " with this filter" : "";
  const size = state.collection ? ` among ${formatNumber(state.collection.drawings)} drawings` : "";
  showStatus(number ? `${count(number, kind)}${among}${size}, best first.` : noResults(answer.query));
}

function noResults(query) {
  const hints = [];
  if (query.filter) hints.push("the filter");
  if (query.min_score > -1) hints.push("the smallest score");
  if (query.exclude_patents.length) hints.push("the excluded patents");
  if (query.exclude_own) hints.push("the option that leaves out the patents of the query");
  return hints.length ? `No drawing found. Change ${hints.join(" or ")}.` : "No drawing found. The collection is empty.";
}

function fail(error, controller) {
  if (controller !== state.controller) return; // another search has started
  showStatus(isCanceled(error) ? "Canceled." : getResults().length ? "The results are those of the previous search." : "");
  if (!isCanceled(error)) showMessage(explain(error));
  if (error.status === 401) handlers.onToken();
}

export function prepareSearch(given) {
  handlers = given;
  byId("cancel").addEventListener("click", () => state.controller?.abort());
  byId("more").addEventListener("click", loadMore);
}

// Whether a query differs from the last search.
export function isChanged(current) {
  if (!state.source) return false;
  const describe = (source) =>
    JSON.stringify({ ...source, parts: source.parts.map((part) => [part.key, part.crop, part.page]) });
  return describe(current) !== describe(state.source);
}

export const clearSearch = () => {
  state.controller?.abort();
  Object.assign(state, { answer: null, source: null });
  showResults([]);
  showMessage("");
  showStatus("");
  byId("more").hidden = true;
  byId("open-link").disabled = true;
  document.querySelector('.export[data-kind="results"]').disabled = true;
};

