"use strict";
// Marks for a sample of kept and dropped clips, by keyboard; `orbit4d curate apply-review` reads the file.

const picks = data.picks.map((i) => data.rows[i]);
const marks = new Map(); // sample key or clip -> "keep" or "drop"
const memory = `orbit4d review ${data.run} ${data.picks.length ? clipId(picks[0]) : ""}`;
let looking = 0;

function clipId(row) {
  return `${at(row, "uid")}#${at(row, "clip_index")}`;
}

// What a browser does not keep is kept until the page is closed.
function remember() {
  try { localStorage.setItem(memory, JSON.stringify([...marks])); } catch { /* not allowed here */ }
}
function recall() {
  try {
    const known = new Set(picks.map(clipId));
    for (const [id, mark] of JSON.parse(localStorage.getItem(memory) ?? "[]"))
      if (known.has(id) && ["keep", "drop"].includes(mark)) marks.set(id, mark);
  } catch { marks.clear(); }
}

function drawReview() {
  const row = picks[looking], place = byId("review-place");
  byId("review-count").textContent =
    `Clip ${looking + 1} of ${picks.length}; ${marks.size} marked`;
  byId("review-save").disabled = marks.size === 0;
  const words = make("div", "words"), key = at(row, "sample_key"), source = data.previews[key];
  const path = make("div", "path");
  path.append(isolated(at(row, "path").slice(0, 300), "ltr"));
  const name = make("div");
  name.append(make("span", "muted", `${clipName(row)} `), isolated((at(row, "clip_name") ?? "").slice(0, 300)));
  const verdict = make("div");
  verdict.append(make("span", `verdict ${at(row, "verdict")}`, at(row, "verdict")));
  if (ruleOf(row)) verdict.append(make("span", "", ` by ${ruleOf(row)}: ${measured(row) || visible((at(row, "error") ?? "").slice(0, 300))}`));
  const mark = marks.get(clipId(row));
  words.append(path, name, verdict, make("div", "mark", mark ? `marked: ${mark}` : "not marked"));
  const shown = source ? (data.looks[key]?.rows ?? ["orbit"]).map((sequence) => frame(source, key, sequence, `Moving preview of ${sequence}`))
    : [make("div", "nothumb", "not rendered")];
  place.replaceChildren(...shown, words);
}

function step(by) {
  looking = Math.min(Math.max(looking + by, 0), picks.length - 1);
  drawReview();
}

function setMark(mark) {
  if (mark) marks.set(clipId(picks[looking]), mark);
  else marks.delete(clipId(picks[looking]));
  remember();
  if (mark && looking < picks.length - 1) looking += 1;
  drawReview();
}

const KEYS = {
  k: () => setMark("keep"), d: () => setMark("drop"), u: () => setMark(null),
  arrowright: () => step(1), arrowleft: () => step(-1), s: () => save(),
};

function save() {
  if (!marks.size) return;
  const lines = picks.filter((row) => marks.has(clipId(row))).map((row) => ({
    uid: at(row, "uid"), clip_index: at(row, "clip_index"), sample_key: at(row, "sample_key"),
    verdict: at(row, "verdict"), rule: at(row, "rule"), mark: marks.get(clipId(row)),
  }));
  const text = `${JSON.stringify({ orbit4d_review: 1, run: data.run, marks: lines }, null, 1)}\n`;
  const link = make("a");
  link.href = `data:application/json;charset=utf-8,${encodeURIComponent(text)}`;
  link.download = "review.json";
  link.click();
}

if (picks.length) {
  recall();
  byId("review").addEventListener("keydown", (event) => {
    const act = KEYS[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    act();
  });
  for (const button of document.querySelectorAll("[data-act]"))
    button.addEventListener("click", () => KEYS[button.dataset.act]());
  drawReview();
}
