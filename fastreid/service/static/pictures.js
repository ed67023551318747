// Pictures of the query: drop, paste, choose, cards with crop and page.

import { showImage } from "./api.js";
import { byId, count, formatNumber, make, makeButton } from "./dom.js";
import { addPart, query, removePart } from "./query.js";

const HAS_PAGES = /\.(pdf|tiff?)$/i;
const IS_PICTURE = /\.(png|jpe?g|gif|bmp|webp|tiff?|pdf|jp2|heic|heif|avif|pbm|pgm|ppm)$/i;
const handlers = { onChange: () => {}, onCrop: () => {}, onFault: () => {} };
let limits = { pictures: 7, picture_bytes: Infinity, request_bytes: Infinity };

export function setLimits(found) {
  limits = found;
  const size = formatNumber(Math.round(limits.picture_bytes / 100_000) / 10);
  byId("picture-limits").textContent = `Up to ${limits.pictures} pictures of the same object, ${size} MB each`;
}

// Add files to the query; those that cannot be used are named in one message.
export function addFiles(files) {
  const faults = [];
  let bytes = query.parts.reduce((sum, part) => sum + (part.file?.size ?? 0), 0);
  for (const file of files) {
    const name = file.name || "pasted picture";
    if (query.parts.length >= limits.pictures) {
      faults.push(`${name} was not added: a query has at most ${limits.pictures} pictures. Remove one first.`);
    } else if (!file.type.startsWith("image/") && !IS_PICTURE.test(name)) {
      faults.push(`${name} was not added: it is not a picture. Use PNG, JPEG, TIFF, GIF, BMP, WEBP, JPEG 2000 or PDF.`);
    } else if (!file.size) {
      faults.push(`${name} was not added: the file is empty.`);
    } else if (file.size > limits.picture_bytes || bytes + file.size > limits.request_bytes) {
      const allowed = Math.min(limits.picture_bytes, limits.request_bytes - bytes);
      faults.push(`${name} was not added: it has ${formatMegabytes(file.size)}, and ${formatMegabytes(allowed)} are allowed.`);
    } else {
      bytes += file.size;
      const hasPages = HAS_PAGES.test(name) || /pdf|tiff/.test(file.type);
      const address = URL.createObjectURL(file);
      addPart({ file, name, address, crop: null, page: 1, hasPages, isViewable: true });
    }
  }
  handlers.onFault(faults.join(" "));
  showPictures();
  handlers.onChange();
}

const formatMegabytes = (bytes) => `${formatNumber(Math.max(0, Math.round(bytes / 100_000) / 10))} MB`;

// Draw the cards of the query.
export function showPictures() {
  byId("query-pictures").replaceChildren(...query.parts.map(makeCard));
  const isSeveral = query.parts.length > 1;
  byId("start-hint").hidden = query.parts.length > 0;
  byId("combine-line").hidden = !isSeveral;
  if (!isSeveral) query.combine = "mean";
  byId("combine").checked = query.combine === "best";
  const hasDrawing = query.parts.some((part) => part.id);
  byId("exclude-own-line").hidden = !hasDrawing;
  query.excludeOwn &&= hasDrawing;
  byId("exclude-own").checked = query.excludeOwn;
}

function makeCard(part) {
  const name = part.id ? `Drawing of ${part.patent ? `patent ${part.patent}` : "the collection"}` : part.name;
  const image = make("img", { alt: name, draggable: false });
  const sheet = make("div", { className: "sheet small" }, image);
  if (part.id) {
    showImage(image, part.thumbnail);
  } else {
    image.onload = () => showCrop(sheet, part);
    image.onerror = () => {
      part.isViewable = false;
      sheet.replaceChildren(make("p", { className: "hint", text: "No preview; the server can read it." }));
    };
    image.src = part.address;
  }
  const buttons = make("div", { className: "line" });
  if (!part.id) {
    const text = part.crop ? "Change crop" : "Crop";
    buttons.append(makeButton(text, () => handlers.onCrop(part), { "aria-label": `${text} of ${name}`, className: "crop" }));
  }
  buttons.append(makeButton("Remove", () => remove(part), { "aria-label": `Remove ${name}` }));
  const label = make("p", { className: "name", text: name, title: name });
  const card = make("li", {}, sheet, make("div", { className: "details" }, label, buttons));
  if (part.hasPages) card.lastChild.insertBefore(makePageField(part, name), buttons);
  return card;
}

function makePageField(part, name) {
  const field = make("input", { type: "number", min: 1, max: 1_000_000, value: part.page, "aria-label": `Page of ${name}` });
  field.addEventListener("change", () => {
    part.page = Math.max(1, Math.round(Number(field.value)) || 1);
    field.value = part.page;
    handlers.onChange();
  });
  return make("label", { className: "page", text: "Page " }, field);
}

// Show the crop of a picture on its card.
function showCrop(sheet, part) {
  sheet.querySelector(".crop-mark")?.remove();
  const image = sheet.querySelector("img");
  if (!part.crop || !image) return;
  const mark = make("span", { className: "crop-mark" });
  const outer = sheet.getBoundingClientRect();
  const inner = image.getBoundingClientRect();
  mark.style.left = `${inner.left - outer.left - 1 + (part.crop.left * inner.width) / 100}px`;
  mark.style.top = `${inner.top - outer.top - 1 + (part.crop.top * inner.height) / 100}px`;
  mark.style.width = `${(part.crop.width * inner.width) / 100}px`;
  mark.style.height = `${(part.crop.height * inner.height) / 100}px`;
  sheet.append(mark);
}

function remove(part) {
  const position = query.parts.findIndex((other) => other.key === part.key);
  removePart(part.key);
  showPictures();
  const cards = byId("query-pictures").children;
  const next = cards[Math.min(position, cards.length - 1)];
  (next ? next.querySelector(".line button:last-child") : byId("choose")).focus();
  handlers.onChange();
}

// Listen to the drop zone, the clipboard and the file field.
export function preparePictures(given) {
  Object.assign(handlers, given);
  const field = byId("files");
  const overlay = byId("drop-overlay");
  byId("choose").addEventListener("click", () => field.click());
  field.addEventListener("change", () => {
    addFiles([...field.files]);
    field.value = "";
  });
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) overlay.hidden = true;
  });
  window.addEventListener("pointerdown", () => (overlay.hidden = true));
  window.addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    addFiles([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    addFiles(files);
  });
}

export const describePictures = (parts) => {
  const pictures = parts.filter((part) => !part.id).length;
  const drawings = parts.length - pictures;
  const words = [];
  if (pictures) words.push(count(pictures, "picture"));
  if (drawings) words.push(`${count(drawings, "drawing")} of the collection`);
  return words.join(" and ");
};
