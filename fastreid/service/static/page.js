"use strict";

const form = document.getElementById("search");
const status = document.getElementById("status");
const results = document.getElementById("results");

function headers() {
  const token = document.getElementById("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function showThumbnail(image, address) {
  const response = await fetch(address, { headers: headers() });
  if (response.ok) image.src = URL.createObjectURL(await response.blob());
}

function showResult(result) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  image.alt = `drawing ${result.id}`;
  showThumbnail(image, result.thumbnail);
  const text = document.createElement("p");
  text.textContent = `${result.rank}. ${result.patent ?? result.id}, score ${result.score.toFixed(4)}`;
  item.append(image, text);
  results.append(item);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  results.replaceChildren();
  status.textContent = "Searching ...";
  try {
    const options = { method: "POST", body: new FormData(form), headers: headers() };
    const response = await fetch("api/v1/search", options);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    answer.results.forEach(showResult);
    status.textContent = `${answer.total} results`;
  } catch (error) {
    status.textContent = error.message;
  }
});
