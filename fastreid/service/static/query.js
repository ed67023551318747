// The query: its parts (pictures and drawings of the collection) and options, as a form and as a link.

export const MAX_RESULTS = 1000;

export const query = {
  parts: [], // {key, file, name, address, crop, page, hasPages, isViewable} or {key, id, patent, thumbnail, image}
  filter: "",
  group: true,
  exclude: [],
  minScore: "",
  combine: "mean",
  expand: false,
  excludeOwn: false, // only with a drawing of the collection
  pageSize: 20,
};

let lastKey = 0;

export function addPart(part) {
  lastKey += 1;
  query.parts.push({ key: lastKey, ...part });
}

export function removePart(key) {
  query.parts = query.parts.filter((part) => part.key !== key);
}

export const copyQuery = () => ({
  ...query,
  parts: query.parts.map((part) => ({ ...part })),
  exclude: [...query.exclude],
});

export function replaceQuery(other) {
  Object.assign(query, other, { parts: other.parts.map((part) => ({ ...part })), exclude: [...other.exclude] });
}

const round = (value) => Number(value.toFixed(2));

// {left, top, width, height} in percent -> "10%,5%,30%,40%", inside of the picture
export function formatCrop(crop) {
  if (!crop) return "";
  const left = round(crop.left);
  const top = round(crop.top);
  const width = round(Math.min(crop.width, 100 - left));
  const height = round(Math.min(crop.height, 100 - top));
  return [left, top, width, height].map((value) => `${value}%`).join(",");
}

// Add a picture or a drawing to a form.
export function appendPart(form, part) {
  if (part.id) {
    form.append("ids", part.id);
    return;
  }
  form.append("pictures", part.file, part.name);
  form.append("crop", formatCrop(part.crop));
  form.append("page", String(part.page));
}

// within: a patent, of which all drawings are wanted; null: the best one of each patent, or all drawings
export function makeForm(source, { k, offset, limit, within = null }) {
  const form = new FormData();
  for (const part of source.parts) appendPart(form, part);
  if (source.filter) form.append("filter", source.filter);
  if (source.group) form.append("group", "patent");
  if (within !== null) form.append("within", within);
  for (const patent of source.exclude) form.append("exclude_patents", patent);
  if (source.minScore !== "") form.append("min_score", source.minScore);
  form.append("combine", source.combine);
  if (source.expand) form.append("expand", "true");
  if (source.excludeOwn) form.append("exclude_own", "true");
  form.append("k", String(k));
  form.append("offset", String(offset));
  form.append("limit", String(limit));
  return form;
}

// The part of an address after "#"; uploaded pictures cannot be in it.
export function makeFragment(source) {
  const values = new URLSearchParams();
  for (const part of source.parts) if (part.id) values.append("id", part.id);
  if (source.filter) values.set("filter", source.filter);
  if (!source.group) values.set("group", "");
  for (const patent of source.exclude) values.append("exclude", patent);
  if (source.minScore !== "") values.set("min_score", source.minScore);
  if (source.combine !== "mean") values.set("combine", source.combine);
  if (source.expand) values.set("expand", "true");
  if (source.excludeOwn) values.set("exclude_own", "true");
  if (source.pageSize !== 20) values.set("results", String(source.pageSize));
  return values.toString();
}

// Return the query of a fragment, with the ids of its drawings instead of parts, or null if it has none.
export function parseFragment(fragment) {
  const values = new URLSearchParams(fragment.replace(/^#/, ""));
  if (![...values.keys()].length) return null;
  const size = Number(values.get("results"));
  const minScore = values.get("min_score") ?? "";
  return {
    ids: values.getAll("id").slice(0, 7),
    filter: values.get("filter") ?? "",
    group: values.get("group") !== "",
    exclude: values.getAll("exclude").slice(0, 100),
    minScore: minScore !== "" && Number.isFinite(Number(minScore)) ? minScore : "",
    combine: values.get("combine") === "best" ? "best" : "mean",
    expand: values.get("expand") === "true",
    excludeOwn: values.get("exclude_own") === "true",
    pageSize: [10, 20, 50, 100].includes(size) ? size : 20,
  };
}
