// The link to a query.

import { byId, openDialog } from "./dom.js";
import { makeFragment } from "./query.js";

let getSource = () => null;

function openLink() {
  const source = getSource();
  const fragment = makeFragment(source);
  const address = window.location.origin + window.location.pathname + (fragment && `#${fragment}`);
  const numPictures = source.parts.filter((part) => !part.id).length;
  byId("link").value = address;
  byId("link-status").textContent = "";
  byId("link-hint").textContent = numPictures
    ? "Uploaded pictures are not part of the link: whoever opens it must add them. Filter and options are part of it."
    : "The link has the drawings of the query, the filter and the options.";
  openDialog(byId("link-dialog"));
  byId("link").select();
}

async function copyLink() {
  const field = byId("link");
  field.select();
  let isCopied = false;
  try {
    await navigator.clipboard.writeText(field.value);
    isCopied = true;
  } catch {
    isCopied = document.execCommand("copy"); // without HTTPS there is no navigator.clipboard
  }
  byId("link-status").textContent = isCopied ? "Copied." : "Copy the address with Ctrl-C.";
}

export function prepareLink(given) {
  getSource = given;
  byId("open-link").addEventListener("click", openLink);
  byId("copy-link").addEventListener("click", copyLink);
}
