// Draw, change and clear the crop of a picture with mouse, touch, keyboard or numbers. All values are percent.

import { byId, openDialog } from "./dom.js";

const MIN_PERCENT = 2;
const MAX_HEIGHT = 0.55; // of the window
const CORNERS = { nw: [0, 0], ne: [1, 0], sw: [0, 1], se: [1, 1] };
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const fields = [...document.querySelectorAll("#crop-dialog input[data-side]")];
let part = null;
let drag = null; // {anchor: fixed corner} or {offset: of the pointer in the box}
let onChange = () => {};

export function openCrop(given) {
  part = given;
  const stage = byId("crop-stage");
  byId("crop-heading").textContent = `Crop of ${part.name}`;
  stage.hidden = !part.isViewable;
  byId("crop-hint").hidden = !part.isViewable;
  byId("crop-image").src = part.isViewable ? part.address : "";
  byId("crop-image").alt = part.name;
  show();
  openDialog(byId("crop-dialog"));
  (part.isViewable ? stage : fields[0]).focus();
}

// Show the picture as large as the window allows.
function resize() {
  const image = byId("crop-image");
  if (!image.naturalWidth) return;
  const width = (MAX_HEIGHT * window.innerHeight * image.naturalWidth) / image.naturalHeight;
  image.style.width = `${Math.round(width)}px`;
}

function show() {
  const box = byId("crop-box");
  box.hidden = !part.crop;
  const crop = part.crop ?? { left: 0, top: 0, width: 100, height: 100 };
  for (const side of ["left", "top", "width", "height"]) box.style[side] = `${crop[side]}%`;
  for (const field of fields) if (field !== document.activeElement) field.value = Number(crop[field.dataset.side].toFixed(1));
  const [left, top, width, height] = fields.map((field) => Math.round(crop[field.dataset.side]));
  byId("crop-text").textContent = part.crop
    ? `Crop: ${width} % of the width and ${height} % of the height, from ${left} % left and ${top} % top.`
    : "No crop: the whole picture is searched for.";
  byId("clear-crop").disabled = !part.crop;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function setCrop(left, top, width, height) {
  const wide = clamp(width, MIN_PERCENT, 100);
  const high = clamp(height, MIN_PERCENT, 100);
  part.crop = { left: clamp(left, 0, 100 - wide), top: clamp(top, 0, 100 - high), width: wide, height: high };
  show();
}

function clear() {
  part.crop = null;
  show();
}

function locate(event) {
  const box = byId("crop-image").getBoundingClientRect();
  return [
    clamp(((event.clientX - box.left) * 100) / box.width, 0, 100),
    clamp(((event.clientY - box.top) * 100) / box.height, 0, 100),
  ];
}

function startDrag(event) {
  if (event.button) return;
  event.preventDefault();
  const stage = byId("crop-stage");
  stage.focus();
  stage.setPointerCapture(event.pointerId);
  const [x, y] = locate(event);
  const corner = CORNERS[event.target.dataset?.corner];
  const { crop } = part;
  if (corner && crop) {
    drag = { anchor: [crop.left + (1 - corner[0]) * crop.width, crop.top + (1 - corner[1]) * crop.height] };
  } else if (crop && event.target === byId("crop-box")) {
    drag = { offset: [x - crop.left, y - crop.top] };
  } else {
    drag = { anchor: [x, y], isNew: true };
  }
}

function continueDrag(event) {
  if (!drag) return;
  const [x, y] = locate(event);
  if (drag.offset) {
    setCrop(x - drag.offset[0], y - drag.offset[1], part.crop.width, part.crop.height);
    return;
  }
  const [ax, ay] = drag.anchor;
  const isSmall = Math.abs(x - ax) < MIN_PERCENT || Math.abs(y - ay) < MIN_PERCENT;
  if (drag.isNew && isSmall) return; // a click
  drag.isNew = false;
  setCrop(Math.min(x, ax), Math.min(y, ay), Math.abs(x - ax), Math.abs(y - ay));
}

function pressKey(event) {
  const direction = DIRECTIONS[event.key];
  if (event.key === "Enter" || event.key === " ") {
    if (!part.crop) setCrop(25, 25, 50, 50);
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
  } else if (direction && part.crop) {
    const { left, top, width, height } = part.crop;
    const step = event.altKey ? 0.5 : 2;
    const [dx, dy] = direction.map((value) => value * step);
    if (event.shiftKey) setCrop(left, top, Math.min(width + dx, 100 - left), Math.min(height + dy, 100 - top));
    else setCrop(left + dx, top + dy, width, height);
  } else {
    return;
  }
  event.preventDefault();
}

function readFields() {
  const values = Object.fromEntries(fields.map((field) => [field.dataset.side, clamp(Number(field.value) || 0, 0, 100)]));
  setCrop(values.left, values.top, values.width, values.height);
}

export function prepareCrop(given) {
  onChange = given;
  const stage = byId("crop-stage");
  byId("crop-image").addEventListener("load", resize);
  window.addEventListener("resize", resize);
  stage.addEventListener("pointerdown", startDrag);
  stage.addEventListener("pointermove", continueDrag);
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => (drag = null));
  stage.addEventListener("keydown", pressKey);
  for (const field of fields) {
    field.addEventListener("change", readFields);
    field.addEventListener("blur", show);
  }
  byId("clear-crop").addEventListener("click", () => {
    clear();
    (part.isViewable ? byId("crop-stage") : fields[0]).focus();
  });
  byId("crop-dialog").addEventListener("close", () => onChange(part));
}
