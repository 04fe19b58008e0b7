"use strict";
// Which rows are listed, in which order: search, filters, sorting, pages.

const PAGE = 50;
const SEARCHED = ["path", "clip_name", "uid", "sample_key", "rule", "stage", "error", "licence",
  "attribution", "source", "format", "sha256", "fingerprint"];

const state = { page: 0, sort: "asset", descending: false, open: new Set() };
const haystacks = new Map();
let found = [];

// ---- which rows, in which order

function haystack(row) {
  let text = haystacks.get(row);
  if (text === undefined) {
    text = SEARCHED.map((name) => at(row, name) ?? "").concat(at(row, "warnings")).join("\n").toLowerCase();
    haystacks.set(row, text);
  }
  return text;
}

function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  return a - b;
}

function ordered(rows) {
  const names = FIELDS.find((field) => field.id === state.sort).sort;
  const value = (row, name) =>
    (about[name].kind === "text" ? at(row, name) : number(at(row, name)));
  const direction = state.descending ? -1 : 1;
  return rows.slice().sort((left, right) => {
    for (const name of names) {
      const a = value(left, name), b = value(right, name);
      const missing = isMissing(a) - isMissing(b);
      if (missing) return missing; // unmeasured rows come last in both directions
      if (isMissing(a)) continue;
      const result = compare(a, b);
      if (result) return result * direction;
    }
    return 0;
  });
}

function matches() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set(
    Array.from(document.querySelectorAll("[name=verdict]:checked"), (box) => box.value));
  const rule = byId("rule").value;
  return data.rows.filter((row) =>
    verdicts.has(at(row, "verdict")) &&
    (!rule || ruleOf(row) === rule) &&
    words.every((word) => haystack(row).includes(word)));
}

// ---- the page

function draw() {
  const start = state.page * PAGE, stop = Math.min(start + PAGE, found.length);
  const lines = [];
  for (const row of found.slice(start, stop)) {
    lines.push(build(row));
    if (state.open.has(row)) lines.push(detail(row));
  }
  if (!lines.length) {
    const line = make("tr"), cell = make("td", "empty");
    cell.colSpan = FIELDS.length;
    line.setAttribute("role", "row");
    cell.setAttribute("role", "cell");
    cell.textContent = data.rows.length ? "No clip matches these filters." : "The ledger has no rows.";
    line.append(cell);
    lines.push(line);
  }
  byId("body").replaceChildren(...lines);
  const all = data.rows.length.toLocaleString("en");
  const range = found.length ? `${(start + 1).toLocaleString("en")}–${stop.toLocaleString("en")} of ` : "";
  const filtered = found.length === data.rows.length ? "" : ` (of ${all} listed)`;
  byId("status").textContent =
    `${range}${found.length.toLocaleString("en")} clip${found.length === 1 ? "" : "s"}${filtered}`;
  for (const button of document.querySelectorAll("[data-page]")) {
    const target = state.page + Number(button.dataset.page);
    button.disabled = target < 0 || target * PAGE >= Math.max(found.length, 1);
  }
}

function refresh() {
  state.page = 0;
  found = ordered(matches());
  for (const cell of byId("head").children) {
    if (cell.dataset.field === state.sort)
      cell.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  byId("sort").value = `${state.sort} ${state.descending ? "down" : "up"}`;
  draw();
}

function sortBy(id) {
  state.descending = state.sort === id && !state.descending;
  state.sort = id;
  refresh();
}

function buildHead() {
  for (const field of FIELDS) {
    const cell = make("th", `at-${field.id}${field.kind === "figure" ? " num" : ""}`);
    cell.scope = "col";
    cell.setAttribute("role", "columnheader");
    cell.dataset.field = field.id;
    if (field.sort) {
      const button = make("button");
      button.type = "button";
      button.append(make("span", "name", field.title), make("small", "", field.unit ?? ""));
      if (field.hint) button.title = field.hint;
      button.addEventListener("click", () => sortBy(field.id));
      cell.append(button);
      for (const [way, word] of [["up", "lowest first"], ["down", "highest first"]]) {
        const choice = make("option", "", `${field.title}, ${word}`);
        choice.value = `${field.id} ${way}`;
        byId("sort").append(choice);
      }
    } else cell.append(make("span", "hidden", field.title));
    byId("head").append(cell);
  }
}

function buildRules() {
  const counts = new Map();
  for (const row of data.rows) {
    const rule = ruleOf(row);
    if (rule) counts.set(rule, (counts.get(rule) ?? 0) + 1);
  }
  for (const rule of [...counts.keys()].sort()) {
    const choice = make("option", "", `${rule.slice(0, 60)} (${counts.get(rule)})`);
    choice.value = rule;
    byId("rule").append(choice);
  }
}

function showOnly(rule) {
  byId("tools").reset();
  byId("rule").value = rule;
  refresh();
  byId("clips").focus({ preventScroll: true });
  byId("clips").scrollIntoView();
}

let waiting = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(refresh, 120);
});
byId("tools").addEventListener("change", (event) => {
  if (event.target.id === "sort") {
    const [id, way] = event.target.value.split(" ");
    Object.assign(state, { sort: id, descending: way === "down" });
  }
  if (event.target.id !== "search") refresh();
});
byId("tools").addEventListener("submit", (event) => event.preventDefault());
byId("tools").addEventListener("reset", () => {
  Object.assign(state, { sort: "asset", descending: false });
  setTimeout(refresh); // after the fields have their first values back
});
for (const button of document.querySelectorAll("[data-page]")) {
  button.addEventListener("click", () => {
    state.page += Number(button.dataset.page);
    draw();
    if (button.closest(".bottom")) byId("clips").scrollIntoView();
  });
}
for (const button of document.querySelectorAll("button[data-rule]"))
  button.addEventListener("click", () => showOnly(button.dataset.rule));

// A table that is wider than the window scrolls sideways; only otherwise can its head stay in view.
new ResizeObserver(() => {
  const frame = byId("table").parentElement;
  frame.classList.toggle("wide", byId("table").offsetWidth > frame.clientWidth);
}).observe(byId("table").parentElement);

buildHead();
buildRules();
refresh();
