// Shortcuts of the page, which can be switched off.

import { byId, isDialogOpen, openDialog, openStore } from "./dom.js";

const KEY = "fastreid.keys";
const store = openStore(() => window.localStorage);

const isTyping = (element) => element.matches?.("textarea, select, input:not([type=checkbox]):not([type=file])");

// actions: key -> function
export function prepareKeys(actions) {
  const toggle = byId("use-keys");
  toggle.checked = store.read(KEY) !== "off";
  toggle.addEventListener("change", () => store.write(KEY, toggle.checked ? "on" : "off"));
  byId("open-help").addEventListener("click", () => openDialog(byId("help-dialog")));
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || !toggle.checked || event.defaultPrevented || isDialogOpen() || isTyping(event.target)) return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    action();
  });
}
