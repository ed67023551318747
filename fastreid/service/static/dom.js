// Elements, texts and files. Text from the server or a file is inserted as text, never as HTML.

export const byId = (id) => document.getElementById(id);

// Return an element. Properties: `text`, `on` (event -> handler), properties of the element, or attributes.
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") element.textContent = value;
    else if (name === "on") Object.entries(value).forEach(([event, handler]) => element.addEventListener(event, handler));
    else if (name in element) element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const makeButton = (text, handler, properties = {}) =>
  make("button", { type: "button", text, on: { click: handler }, ...properties });

// "filing_date" -> "Filing date"
export function makeLabel(column) {
  const words = column.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

export const formatNumber = (number) => Number(number).toLocaleString("en-US");

export const count = (number, noun) => `${formatNumber(number)} ${noun}${number === 1 ? "" : "s"}`;

export function describeScore(result) {
  const score = `score ${result.score.toFixed(3)}`;
  const probability = describeProbability(result);
  return probability ? `${probability}, ${score}` : score;
}

// The calibrated probability of a result in words, or "" if the server sends none.
export function describeProbability(result) {
  if (typeof result.probability !== "number") return "";
  const percent = Math.round(100 * result.probability);
  if (result.probability < 1 && percent === 100) return "over 99 % same object";
  return `${percent} % same object`;
}

export const describeDrawing = (drawing) => {
  const page = drawing.page > 1 ? `, page ${drawing.page}` : "";
  return drawing.patent ? `Patent ${drawing.patent}${page}` : `Drawing ${drawing.id}${page}`;
};

export function openDialog(dialog) {
  if (!dialog.open) dialog.showModal();
}

// Close buttons, and clicks on the space around a dialog.
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("pointerdown", (event) => {
      if (event.target !== dialog) return;
      const box = dialog.getBoundingClientRect();
      const isInside = event.clientX >= box.left && event.clientX <= box.right
        && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!isInside) dialog.close();
    });
  }
}

export const isDialogOpen = () => document.querySelector("dialog[open]") !== null;

export function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// A store of the browser that also works where the browser forbids one: values then last as long as the page.
export function openStore(getStorage) {
  const memory = new Map();
  let storage = null;
  try {
    storage = getStorage();
  } catch {
    storage = null;
  }
  return {
    read: (key) => {
      try {
        return (storage && storage.getItem(key)) ?? memory.get(key) ?? null;
      } catch {
        return memory.get(key) ?? null;
      }
    },
    // Return whether the value outlives the page.
    write: (key, value) => {
      memory.set(key, value);
      try {
        storage.setItem(key, value);
        return true;
      } catch {
        return false;
      }
    },
    remove: (key) => {
      memory.delete(key);
      try {
        storage.removeItem(key);
      } catch {
        // nothing is stored
      }
    },
  };
}
