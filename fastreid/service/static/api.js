// Requests to the REST API, errors in words, and images that may need the token.

import { openStore } from "./dom.js";

const TOKEN_KEY = "fastreid.token";
const MAX_IMAGES = 500;
const session = openStore(() => window.sessionStorage);
const images = new Map(); // address -> promise of a blob
const addresses = new WeakMap(); // blob -> address of an object
const observer = new IntersectionObserver(loadVisible, { rootMargin: "300px" });

export class ServiceError extends Error {
  constructor(status, code, message, retryAfterS) {
    super(message);
    Object.assign(this, { status, code, retryAfterS });
  }
}

export const setToken = (token) => (token ? session.write(TOKEN_KEY, token) : session.remove(TOKEN_KEY));

async function send(path, options) {
  const token = session.read(TOKEN_KEY);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    error = {}; // not from the service, such as the page of a proxy
  }
  const message = error.message ?? `the server answered with the status ${response.status}`;
  throw new ServiceError(response.status, error.code ?? "", message, Number(response.headers.get("Retry-After")) || 0);
}

export const getJson = async (path, options = {}) => (await send(path, options)).json();

export const postForm = (path, body, signal) => getJson(path, { method: "POST", body, signal });

export const isCanceled = (error) => error.name === "AbortError";

// Return an error as a sentence with what to do.
export function explain(error) {
  if (isCanceled(error)) return "Canceled.";
  if (!(error instanceof ServiceError)) {
    if (error instanceof TypeError && /fetch|network|load failed/i.test(error.message)) {
      return "The server does not answer. Check that it is running and that you are connected, then try again.";
    }
    return `The page failed: ${error.message}. Reload it.`;
  }
  if (error.status === 401) return "The token is missing or wrong. Enter the token of this collection.";
  const text = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  const sentence = /[.!?]$/.test(text) ? text : `${text}.`;
  const saysWhen = /\b(wait|try again)\b/i.test(sentence);
  return error.retryAfterS && !saysWhen ? `${sentence} Try again in ${error.retryAfterS} s.` : sentence;
}

export function getImage(address) {
  if (!images.has(address)) {
    if (images.size >= MAX_IMAGES) removeOldest();
    const loading = send(address, {}).then((response) => response.blob());
    loading.catch(() => images.delete(address));
    images.set(address, loading);
  }
  return images.get(address);
}

// An address keeps its blob in memory until it is revoked; images that show it remain.
function removeOldest() {
  const [address, loading] = images.entries().next().value;
  images.delete(address);
  loading.then((blob) => addresses.has(blob) && URL.revokeObjectURL(addresses.get(blob)), () => {});
}

export function makeAddress(blob) {
  if (!addresses.has(blob)) addresses.set(blob, URL.createObjectURL(blob));
  return addresses.get(blob);
}

// Show an image of the server as soon as it is near the visible part of the page.
export function showImage(image, address) {
  image.dataset.address = address;
  observer.observe(image);
}

function loadVisible(entries) {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    loadImage(target, target.dataset.address);
  }
}

export async function loadImage(image, address) {
  image.dataset.address = address;
  image.classList.remove("missing");
  try {
    const blob = await getImage(address);
    if (image.dataset.address === address) image.src = makeAddress(blob);
  } catch (error) {
    if (image.dataset.address !== address) return;
    image.classList.add("missing");
    image.title = explain(error);
  }
}

export function readAsDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
