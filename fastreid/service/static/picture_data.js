// The pictures of a query as they are searched for: cropped, and reduced.

import { getImage, makeAddress } from "./api.js";

export function loadPicture(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("this browser cannot show the picture"));
    image.src = address;
  });
}

// Return a part of a query as a data URL of a PNG, with white behind transparent pixels.
export async function renderPart(part, longestPx) {
  const address = part.id ? makeAddress(await getImage(`${part.image}?longest_px=${longestPx}`)) : part.address;
  const image = await loadPicture(address);
  const crop = part.crop ?? { left: 0, top: 0, width: 100, height: 100 };
  const left = (crop.left * image.naturalWidth) / 100;
  const top = (crop.top * image.naturalHeight) / 100;
  const width = Math.max(1, (crop.width * image.naturalWidth) / 100);
  const height = Math.max(1, (crop.height * image.naturalHeight) / 100);
  const scale = Math.min(1, longestPx / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}
