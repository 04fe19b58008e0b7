"use strict";
// What other limits would decide, over the whole ledger. Each row is a few bytes: of a score only its
// place among the values that its limit is offered at. `judge` is curate.whatif_judge.evaluate, line by line.

const KEPT = 0, REJECTED = 1, JUDGED = 4, UNMEASURED = 8, FIRST = 16, NONE = 255, CLIP = 254;
const COPY = { [BYTES]: 253, [CLIPS]: 252, [GEOMETRY]: 251 }; // instead of a rule's number
const OTHER_RULES = {
  [CLIP]: "clip_limit", [COPY[BYTES]]: "duplicate_bytes", [COPY[CLIPS]]: "duplicate_geometry_and_clip",
  [COPY[GEOMETRY]]: "duplicate_geometry",
};
const what = data.whatif;
const ready = unpack();
const chosen = what.offers.map((offer) => offer.place); // null: no limit
let planes = null, atRest = null;

async function unpack() {
  const text = atob(byId("bytes").textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const plane = (i) => bytes.subarray(i * what.count, (i + 1) * what.count);
  const rest = bytes.slice((2 + what.offers.length) * what.count); // a copy begins where numbers may
  planes = {
    states: plane(0), fixed: plane(1), offers: what.offers.map((_, i) => plane(2 + i)),
    copies: unpackCopies(what.copies, new Int32Array(rest.buffer)),
  };
  atRest = judge(what.offers.map((offer) => offer.place));
  const kept = tally(atRest).kept;
  if (kept !== data.kept)
    byId("if-note").textContent = `The ledger keeps ${count(data.kept)}. Its scores, judged by the settings of run.json ` +
      `alone, give ${count(kept)}: what moves below starts from there.`;
  move();
}

// The first rule of a range that rejects each row, with the offers at `places`.
function firstFiring(places, start, stop) {
  const count = what.count, fires = new Uint8Array(count).fill(NONE);
  for (let rule = stop - 1; rule >= start; rule -= 1) {
    const numbers = what.rules[rule].offers;
    if (!numbers.length) {
      for (let row = 0; row < count; row += 1) if (planes.fixed[row] === rule) fires[row] = rule;
      continue;
    }
    if (numbers.some((number) => places[number] === null)) continue;
    for (let row = 0; row < count; row += 1) {
      let broken = true;
      for (const number of numbers) {
        const score = planes.offers[number][row];
        if (score === NONE || (places[number] >= score) !== (what.offers[number].breaks === "lt")) {
          broken = false;
          break;
        }
      }
      if (broken) fires[row] = rule;
    }
  }
  return fires;
}

// Verdict and rule of every row with the offers at `places`.
function judge(places) {
  const count = what.count, all = what.rules.length, verdicts = new Uint8Array(count);
  const fires = firstFiring(places, 0, all - what.images);
  for (let row = 0; row < count; row += 1) {
    const state = planes.states[row];
    verdicts[row] = state & 3;
    if (state & JUDGED) verdicts[row] = fires[row] === NONE ? KEPT : REJECTED;
    else if (state & UNMEASURED) { if (fires[row] !== NONE) verdicts[row] = REJECTED; }
    else fires[row] = NONE;
  }
  const found = { verdicts, rules: fires };
  inOrder(found, firstFiring(places, all - what.images, all));
  return found;
}

// Asset by asset: its clips beyond the number, copies within it, what images reject; then copies of others.
function inOrder({ verdicts, rules }, late) {
  const copies = planes.copies, every = new Kept(copies), most = what.clips_max ?? Infinity;
  const reject = (row, rule) => { verdicts[row] = REJECTED; rules[row] = rule; };
  let own = null, kept = 0, place = 0, lined = []; // places of rows that may repeat others
  const gather = () => {
    every.enter();
    for (const i of lined) {
      const row = copies.rows[i], copied = every.judge(i);
      if (copied) reject(row, COPY[copied]);
      else if (verdicts[row] === KEPT) every.keep(i);
    }
    lined = [];
    own = null;
    kept = 0;
  };
  for (let row = 0; row < what.count; row += 1) {
    if (planes.states[row] & FIRST) gather();
    const shares = copies.rows[place] === row, i = place;
    if (shares) place += 1;
    if (kept >= most && planes.states[row] & (JUDGED | UNMEASURED)) reject(row, CLIP);
    if (verdicts[row] !== KEPT) continue;
    if (shares) own ??= new Kept(copies);
    const copied = shares ? own.judge(i) : 0;
    if (copied) {
      reject(row, COPY[copied]);
      lined.push(i);
    } else if (late[row] !== NONE) reject(row, late[row]);
    else {
      kept += 1;
      if (!shares) continue;
      own.keep(i);
      lined.push(i);
    }
  }
  gather();
}

function tally(found) {
  const rules = new Map();
  let kept = 0;
  for (let row = 0; row < what.count; row += 1) {
    if (found.verdicts[row] === KEPT) kept += 1;
    else if (found.rules[row] !== NONE) rules.set(found.rules[row], (rules.get(found.rules[row]) ?? 0) + 1);
  }
  return { kept, rules };
}

const ruleName = (rule) => OTHER_RULES[rule] ?? what.rules[rule].name;
const count = (value) => value.toLocaleString("en");

// ---- what the page shows of it

let asked = 0;
function soon() {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(move);
}

function move() {
  if (!planes) return;
  const found = judge(chosen), now = tally(found), was = tally(atRest);
  let gained = 0, lost = 0;
  for (let row = 0; row < what.count; row += 1) {
    const before = atRest.verdicts[row] === KEPT, after = found.verdicts[row] === KEPT;
    if (after && !before) gained += 1;
    if (before && !after) lost += 1;
  }
  byId("if-kept").textContent = count(now.kept);
  byId("if-was").textContent = count(was.kept);
  byId("if-gained").textContent = `+${count(gained)}`;
  byId("if-lost").textContent = `−${count(lost)}`;
  const changed = [...new Set([...was.rules.keys(), ...now.rules.keys()])].sort((a, b) => a - b);
  byId("if-rules").replaceChildren(...changed.map((rule) => {
    const line = make("tr"), name = make("th", "", ruleName(rule));
    const before = was.rules.get(rule) ?? 0, after = now.rules.get(rule) ?? 0;
    name.scope = "row";
    line.dataset.rule = ruleName(rule);
    line.append(name, make("td", "num", count(before)), make("td", "num after", count(after)),
      make("td", "num", after === before ? "" : `${after > before ? "+" : "−"}${count(Math.abs(after - before))}`));
    return line;
  }));
  flips(found, gained + lost);
  commands();
}

const FLIPS_SHOWN = 60;
function flips(found, all) {
  const lines = [];
  let listed = 0;
  data.rows.forEach((row, i) => {
    const before = atRest.verdicts[data.places[i]] === KEPT, after = found.verdicts[data.places[i]] === KEPT;
    if (before === after) return;
    listed += 1;
    if (listed > FLIPS_SHOWN) return;
    const line = make("li", after ? "in" : "out"), words = make("div");
    const source = data.previews[at(row, "sample_key")];
    line.append(source ? frame(source, at(row, "sample_key"), "orbit") : make("div", "nothumb", "not rendered"));
    const verdict = make("span", `verdict ${after ? "kept" : "rejected"}`, after ? "kept" : "rejected");
    const name = make("div", "path");
    name.append(isolated(at(row, "path").slice(0, 200), "ltr"));
    const rule = after ? ruleOf(row) : ruleName(found.rules[data.places[i]]);
    words.append(name, make("div", "muted", clipName(row)), verdict,
      make("span", "muted", after ? ` no longer by ${rule}` : ` by ${rule}`));
    line.append(words);
    lines.push(line);
  });
  byId("if-flips").replaceChildren(...lines);
  byId("if-listed").textContent = !all ? "No clip changes its verdict."
    : `${count(all)} clip${all === 1 ? "" : "s"} change${all === 1 ? "s" : ""}; ` +
      (listed === all && listed <= FLIPS_SHOWN ? "all are shown."
        : `${count(Math.min(listed, FLIPS_SHOWN))} are shown, \`curate replay --out\` writes all.`);
}

function settings(prefix) {
  const named = (setting) => (setting.startsWith("render.") ? setting : prefix + setting);
  return what.offers.flatMap((offer, i) =>
    (chosen[i] === offer.place ? [] : [`--set ${named(offer.setting)}=${chosen[i] === null ? "null" : offer.texts[chosen[i]]}`]));
}

function commands() {
  const any = settings("").length > 0;
  byId("if-command").textContent = any
    ? `orbit4d curate replay RUN ${settings("").join(" ")}\norbit4d build INPUT... --out RUN --update ${settings("curate.").join(" ")}`
    : "Move a limit: the settings appear here.";
  byId("if-copy").disabled = !any;
  byId("if-reset").disabled = !any;
}

const UNITS = { least_similar: "SSIM", visible_triangles: "triangles" };
const grouped = (text) => (/^\d{5,}$/.test(text) ? Number(text).toLocaleString("en") : text);

function slider(offer, i) {
  const label = make("label", "slider"), head = make("span"), out = make("output");
  const input = make("input"), off = offer.values.length, breaks = offer.breaks === "lt" ? "at least" : offer.breaks === "gt" ? "at most" : "below";
  input.type = "range";
  input.min = 0;
  input.max = offer.optional ? off : off - 1;
  input.dataset.setting = offer.setting;
  const say = () => {
    input.value = chosen[i] ?? off;
    const unit = about[offer.score]?.unit ?? UNITS[offer.score] ?? "", value = chosen[i] === null ? null : offer.texts[chosen[i]];
    out.textContent = value === null ? "no limit" : `${breaks} ${grouped(value)} ${unit}`.trimEnd();
    input.dataset.value = value ?? "";
    input.setAttribute("aria-valuetext", out.textContent);
    label.classList.toggle("moved", chosen[i] !== offer.place);
  };
  input.addEventListener("input", () => {
    chosen[i] = Number(input.value) === off ? null : Number(input.value);
    say();
    offer.plot?.redraw();
    soon();
  });
  offer.say = say;
  head.append(make("code", "", offer.setting), " ", out);
  label.append(head, input);
  say();
  return label;
}

function buildCards() {
  const shownAs = { least_similar: "ssim_quarter", visible_triangles: "triangles" };
  const cards = new Map();
  const cardOf = (score) => {
    if (!cards.has(score)) {
      const card = make("section", "card");
      const unit = about[score]?.unit, title = make("h3", "", score);
      if (unit) title.append(make("small", "muted", ` ${unit}`));
      card.append(title);
      if (about[score]?.meaning) card.append(make("p", "muted", about[score].meaning));
      cards.set(score, card);
      byId("cards").append(card);
    }
    return cards.get(score);
  };
  const offersOf = (score) => what.offers.filter((offer) => (shownAs[offer.score] ?? offer.score) === score);
  const entries = new Map(data.histograms.map((entry) => [entry.score, entry]));
  const scores = [...new Set([...what.offers.map((offer) => shownAs[offer.score] ?? offer.score), ...entries.keys()])];
  for (const score of scores) {
    const card = cardOf(score), entry = entries.get(score), offers = offersOf(score);
    if (entry) {
      const host = make("div");
      card.append(host);
      const moved = () => offers.flatMap((offer) => {
        const place = chosen[what.offers.indexOf(offer)];
        return place === null ? [] : [[offer.values[place], true]];
      });
      const fixed = () => (offers.length ? moved() : entry.limits.map((limit) => [limit.value, false]));
      const made = histogram(host, entry, fixed);
      for (const offer of offers) offer.plot = made;
      const outside = entry.limits.filter((limit) => limit.value > entry.edges.at(-1) || limit.value < entry.edges[0]);
      card.append(make("p", "muted", `${count(entry.measured)} measured${entry.logarithmic ? ", logarithmic steps" : ""}` +
        outside.map((limit) => `; limit ${grouped(short(limit.value))} lies beyond`).join("")));
    }
    for (const offer of offers) card.append(slider(offer, what.offers.indexOf(offer)));
  }
  if (!scores.length) byId("cards").append(make("p", "muted", "No score was measured."));
}

byId("if-reset").addEventListener("click", () => {
  what.offers.forEach((offer, i) => {
    chosen[i] = offer.place;
    offer.say();
    offer.plot?.redraw();
  });
  move();
});
byId("if-copy").addEventListener("click", () =>
  copy(byId("if-command").textContent, byId("if-command"), byId("if-said")));
buildCards();
commands();
ready.catch((error) => { byId("if-listed").textContent = `What-if is not available here: ${error}`; });
