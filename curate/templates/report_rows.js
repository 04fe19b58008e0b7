"use strict";
// What the page holds, and how one row and its details look.
// Everything that comes from an asset goes in through textContent, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const place = Object.fromEntries(data.columns.map((column, i) => [column.name, i]));
const about = Object.fromEntries(data.columns.map((column) => [column.name, column]));
const at = (row, name) => row[place[name]];
const byId = (id) => document.getElementById(id);

const FIELDS = [
  { id: "preview", title: "Preview", kind: "preview" },
  { id: "asset", title: "Asset and clip", sort: ["path", "clip_index"], kind: "asset", row: true },
  { id: "verdict", title: "Verdict", sort: ["verdict", "rule"], kind: "state" },
  { id: "why", title: "Why", sort: ["rule", "value"], kind: "why" },
  ...data.scores.map((name) => ({
    id: name, title: about[name].title, unit: about[name].unit, hint: about[name].meaning,
    sort: [name], kind: "figure",
  })),
  { id: "window", title: "window", unit: "of length, s", sort: ["duration_s", "window_start_s"], kind: "figure",
    hint: "The stretch of the clip that was sampled, and below it the clip's whole duration, in seconds. Sorts by duration." },
  { id: "licence", title: "Licence", sort: ["licence"], kind: "licence" },
  { id: "more", title: "Details", kind: "more" },
];
const rulesOf = new Map(data.histograms.map((entry) => [entry.score, new Set(entry.limits.map((limit) => limit.rule))]));

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Characters that would hide or reorder others are written out: "\u202e" turns text around.
function visible(text) {
  const escape = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g, escape);
}

// A name keeps its direction to itself: right-to-left text must not reorder its neighbours.
function isolated(text, direction = "auto") {
  const node = make("bdi", "", visible(text));
  node.dir = direction;
  return node;
}

function number(value) {
  if (value === null || value === undefined) return null;
  return typeof value === "number" ? value : Number(value); // "NaN" and "Infinity" come as text
}

function isMissing(value) {
  return value === null || value === "" || Number.isNaN(value);
}

function show(value) {
  const x = number(value);
  if (x === null) return "–";
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  if (size === 0) return "0";
  const far = size < 1e-4 || size >= 1e6;
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 4;
  return (far ? x.toExponential(1) : x.toFixed(digits)).replaceAll("-", "−");
}

// A limit is a setting, shown as it was set.
const short = (value) => (Number.isFinite(number(value)) ? String(value).replaceAll("-", "−") : show(value));

const seconds = (value) => (number(value) === null ? "–" : number(value).toFixed(2).replace("-", "−"));

function clipName(row) {
  const index = at(row, "clip_index");
  return index === -1 ? "whole asset" : `#${index}`;
}

// ---- one row

const CELLS = {
  preview(cell, row) {
    const source = data.previews[at(row, "sample_key")];
    if (!source) {
      const kept = at(row, "verdict") === "kept";
      cell.append(make("div", kept ? "frame lost" : "hidden", "no image"));
      if (!kept) cell.classList.add("absent");
      return;
    }
    const alt = `Preview of ${at(row, "path").slice(0, 120)}, ${clipName(row)}`;
    cell.append(frame(source, at(row, "sample_key"), "orbit", alt));
  },
  asset(cell, row) {
    const path = make("div", "path");
    path.append(isolated(at(row, "path"), "ltr"));
    path.title = visible(at(row, "path"));
    const clip = make("div");
    clip.append(make("span", "muted", clipName(row) + " "), isolated(at(row, "clip_name") ?? ""));
    clip.title = visible(at(row, "clip_name") ?? "");
    const key = make("div", "key");
    key.append(make("code", "", at(row, "sample_key") || at(row, "uid")));
    cell.append(path, clip, key);
  },
  state(cell, row) {
    const verdict = at(row, "verdict");
    cell.append(make("span", `verdict ${verdict}`, verdict));
  },
  why(cell, row) {
    if (at(row, "verdict") !== "kept") {
      const line = make("div");
      line.append(make("code", "", ruleOf(row)));
      if (at(row, "stage")) line.append(make("span", "muted", ` in ${at(row, "stage")}`));
      cell.append(line);
      const measure = measured(row);
      if (measure) cell.append(make("div", "measure", measure));
      cell.title = visible(at(row, "error") ?? "");
    }
    // Beside a measured value the sentence says it again; the details have it.
    if (at(row, "error") && measured(row) === "") cell.append(make("div", "error", visible(at(row, "error"))));
    const warnings = at(row, "warnings");
    if (warnings.length) {
      const text = `⚠ ${warnings.length} warning${warnings.length === 1 ? "" : "s"}`;
      cell.append(make("div", "warned", text));
    }
    if (!cell.childNodes.length) {
      cell.classList.add("absent");
      cell.textContent = "–";
    }
  },
  figure(cell, row, field) {
    cell.classList.add("num");
    const unit = field.unit && field.unit.length < 3 ? ` (${field.unit})` : ""; // room for four
    cell.dataset.label = field.title + unit;
    if (field.id === "window") {
      const start = at(row, "window_start_s"), whole = at(row, "duration_s");
      if (start !== null) cell.append(`${seconds(start)}–${seconds(at(row, "window_stop_s"))}`);
      if (whole !== null) cell.append(make("div", "muted", `of ${seconds(whole)}`));
      if (cell.childNodes.length) return;
    }
    const value = field.id === "window" ? null : at(row, field.id);
    cell.textContent = show(value);
    if (isMissing(value)) cell.classList.add("absent");
    else cell.title = `${field.id} = ${value}`;
    // The scores that the rule looks at stand out.
    if (value !== null && rulesOf.get(field.id)?.has(ruleOf(row))) cell.classList.add("breach");
  },
  licence(cell, row) {
    cell.classList.add("figure");
    cell.dataset.label = "licence";
    cell.append(isolated(at(row, "licence") || "–"));
    cell.title = [at(row, "licence"), at(row, "attribution")].filter(Boolean).join(" – ");
  },
  more(cell, row) {
    const button = make("button");
    button.type = "button";
    button.append(make("span", "word", "Details"));
    button.setAttribute("aria-label", `Details of ${at(row, "path").slice(0, 120)}, ${clipName(row)}`);
    button.setAttribute("aria-expanded", String(state.open.has(row)));
    button.addEventListener("click", () => toggle(row, button));
    cell.append(button);
  },
};

function ruleOf(row) {
  return at(row, "verdict") === "kept" ? "" : at(row, "rule") || "(no rule)";
}

// A count is no 2.00.
const whole = (x) => (Number.isInteger(x) && Math.abs(x) < 1e9 ? x.toLocaleString("en").replace("-", "−") : show(x));

// What was measured beside its limit; "" where the comparison says less than the sentence does, as
// of a yes or no (0 clips, in 1 list) or of a count that is used up.
function measured(row) {
  const value = number(at(row, "value")), limit = number(at(row, "limit"));
  const unit = at(row, "unit") ? ` ${at(row, "unit")}` : "";
  if (value === null) return "";
  if (value === limit || (Number.isInteger(value) && (limit === 0 || limit === 1))) return "";
  if (limit === null) return `${whole(value)}${unit}`;
  const sign = value < limit ? "<" : value > limit ? ">" : "against";
  return `${whole(value)} ${sign} limit ${short(limit)}${unit}`;
}

function build(row) {
  const line = make("tr", `row${at(row, "verdict") === "kept" ? "" : " bare"}`);
  line.setAttribute("role", "row");
  for (const field of FIELDS) {
    const cell = make(field.row ? "th" : "td", field.kind);
    if (field.row) cell.scope = "row";
    cell.setAttribute("role", field.row ? "rowheader" : "cell");
    CELLS[field.kind](cell, row, field);
    line.append(cell);
  }
  return line;
}

// ---- details under a row

function section(parent, title, node) {
  parent.append(make("h3", "", title), node);
}

function detail(row) {
  const line = make("tr", "detail");
  line.setAttribute("role", "row");
  const cell = make("td");
  cell.colSpan = FIELDS.length;
  cell.setAttribute("role", "cell");
  if (data.previews[at(row, "sample_key")]) {
    cell.append(pictures(row));
    const cameras = ring(row);
    if (cameras) section(cell, "Cameras, from above", cameras);
  }
  const activity = activityOf(row);
  if (activity) section(cell, "Activity over time", activity);
  if (at(row, "error")) section(cell, "Error", make("p", "said", visible(at(row, "error"))));
  if (at(row, "log_tail")) {
    const log = make("details");
    log.open = true;
    const lines = at(row, "log_tail").split("\n").length;
    const text = make("pre", "", visible(at(row, "log_tail")));
    text.tabIndex = 0;
    log.append(make("summary", "", `Log tail (${lines} line${lines === 1 ? "" : "s"})`), text);
    cell.append(log);
  }
  if (at(row, "warnings").length) {
    const list = make("ul");
    for (const warning of at(row, "warnings")) list.append(make("li", "", visible(warning)));
    section(cell, "Warnings", list);
  }
  section(cell, "Scores and limits", scoresOf(row));
  section(cell, "Provenance", provenance(row));
  const command = reproduce(row);
  section(cell, "Do it again, alone", command);
  const all = make("details");
  all.append(make("summary", "", "Ledger row"), fields(row));
  cell.append(all);
  line.append(cell);
  return line;
}

function fields(row) {
  const list = make("dl", "facts");
  for (const column of data.columns) {
    if (["error", "log_tail", "warnings", "reproduce", "activity_curve"].includes(column.name)) continue;
    const value = at(row, column.name);
    if (value === null || value === "") continue;
    const pair = make("div");
    const term = make("dt", "", column.name);
    if (column.meaning) term.title = column.meaning;
    const said = make("dd");
    const unit = column.unit ? ` ${column.unit}` : "";
    said.append(column.kind === "text" ? isolated(value, column.name === "path" ? "ltr" : "auto") : make("span", "", `${value}${unit}`));
    pair.append(term, said);
    list.append(pair);
  }
  return list;
}

function toggle(row, button) {
  const line = button.closest("tr");
  if (state.open.delete(row)) line.nextElementSibling.remove();
  else {
    state.open.add(row);
    line.after(detail(row));
  }
  button.setAttribute("aria-expanded", String(state.open.has(row)));
}
