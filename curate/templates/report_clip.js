"use strict";
// Pictures of a clip, and what its panel shows beside the ledger row.

// One row of a strip, seen through a square frame; it turns while it is looked at.
function frame(source, key, sequence, alt = "") {
  const box = make("div", "frame"), image = make("img", "thumb");
  const rows = data.looks[key]?.rows ?? ["orbit"];
  const place = Math.max(rows.indexOf(sequence), 0);
  image.src = source;
  image.alt = alt;
  image.loading = "lazy";
  image.decoding = "async";
  image.style.setProperty("--row", place / rows.length);
  image.style.height = `${100 * rows.length}%`;
  box.append(image);
  return box;
}

function pictures(row) {
  const key = at(row, "sample_key"), source = data.previews[key], list = make("div", "films");
  for (const sequence of data.looks[key].rows) {
    const figure = make("figure");
    figure.append(frame(source, key, sequence, `Moving preview of ${sequence}`), make("figcaption", "", sequence));
    list.append(figure);
  }
  return list;
}

// Measured on vertices; of ledgers of before, what their pictures tell.
function activityOf(row) {
  const curve = at(row, "activity_curve"), start = at(row, "window_start_s"), stop = at(row, "window_stop_s");
  if (curve?.length > 1 && stop > start) {
    const step_s = (stop - start) / (curve.length + 1); // the last image is one step before the end
    const times = curve.map((_, i) => start + (i + 0.5) * step_s);
    return curveOf(times, curve, "mean speed of the vertices, asset sizes per second");
  }
  const seen = data.looks[at(row, "sample_key")]?.activity;
  return seen ? curveOf(...seen, "change of the front view from image to image, 0 to 1; speeds were not stored") : null;
}

function curveOf(times, values, what) {
  const host = make("div"), holder = make("div");
  const peak = values.indexOf(Math.max(...values)), mean = values.reduce((a, b) => a + b, 0) / values.length;
  const said = `${what}: mean ${show(mean)}, most ${show(values[peak])} at ${show(times[peak])} s of the clip`;
  const label = `Activity over time, ${said}`;
  const options = (width) => ({
    width, height: 130, legend: { show: false }, cursor: { show: false }, padding: [8, 12, 0, 0],
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [
      axis({ values: (_, ticks) => ticks.map((tick) => `${show(tick)} s`) }),
      axis({ size: 50, space: 24, values: (_, ticks) => ticks.map(show) }),
    ],
    series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false } }],
  });
  plot(host, label, options, () => [times, values]);
  holder.append(host, make("p", "muted", said));
  return holder;
}

// The cameras seen from above: the front is below, azimuth grows counter-clockwise.
function ring(row) {
  const cameras = data.looks[at(row, "sample_key")]?.cameras;
  if (!cameras) return null;
  const holder = make("div", "rings"), space = "http://www.w3.org/2000/svg";
  for (const [sequence, list] of Object.entries(cameras)) {
    const figure = make("figure"), drawing = document.createElementNS(space, "svg");
    const put = (tag, attributes) => {
      const node = document.createElementNS(space, tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      drawing.append(node);
    };
    drawing.setAttribute("viewBox", "-60 -60 120 120");
    drawing.setAttribute("role", "img");
    const places = new Set(list.map((camera) => camera.join()));
    const heights = list.map((camera) => camera[1]), low = Math.min(...heights), high = Math.max(...heights);
    const tilt = low === high ? `elevation ${show(low)}°` : `elevation ${show(low)}° to ${show(high)}°`;
    drawing.setAttribute("aria-label", `Cameras of ${sequence} from above: ${places.size} places, ${tilt}`);
    put("circle", { r: 46, class: "track" });
    put("rect", { x: -5, y: -5, width: 10, height: 10, class: "thing" });
    list.forEach(([azimuth, elevation], i) => {
      const turn = (azimuth * Math.PI) / 180, reach = 46 * Math.cos((elevation * Math.PI) / 180);
      put("circle", { cx: reach * Math.sin(turn), cy: reach * Math.cos(turn), r: i ? 2.5 : 5, class: i ? "camera" : "camera first" });
    });
    figure.append(drawing, make("figcaption", "", `${sequence}: ${places.size} place${places.size === 1 ? "" : "s"}, ${tilt}`));
    holder.append(figure);
  }
  return holder;
}

function scoresOf(row) {
  const table = make("table", "tally"), head = make("tr"), body = make("tbody");
  for (const [text, side] of [["score", ""], ["value", "num"], ["limit", "num"]]) {
    const cell = make("th", side, text);
    cell.scope = "col";
    head.append(cell);
  }
  const limits = new Map(data.histograms.map((entry) => [entry.score, entry.limits]));
  for (const column of data.columns) {
    const known = column.kind === "score" || limits.has(column.name);
    const value = at(row, column.name);
    if (!known || value === null) continue;
    const line = make("tr"), name = make("th", "", column.name);
    name.scope = "row";
    if (column.meaning) name.title = column.meaning;
    const bounds = (limits.get(column.name) ?? []).map((limit) => `${limit.passes} ${grouped(short(limit.value))} (${limit.rule})`);
    line.append(name, make("td", "num", `${whole(number(value))} ${column.unit}`), make("td", "num", bounds.join(", ") || "–"));
    body.append(line);
  }
  const top = make("thead");
  top.append(head);
  table.append(top, body);
  return table;
}

// Text in single quotes for a shell; what it cannot hold is not made up.
const quoted = (text) => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// Ledgers of before have the command of failures alone: what is in capitals there is for the reader to fill in.
function reproduce(row) {
  const source = at(row, "source") ?? "", clip = Math.max(at(row, "clip_index"), 0);
  const asset = source.startsWith("objaverse") ? `${source}:` : `INPUT/${quoted(at(row, "path"))} --root INPUT`;
  const words = `orbit4d render one ${asset} --clip ${clip} --run RUN --uid ${quoted(at(row, "uid"))}`;
  const holder = make("div"), text = at(row, "reproduce") || words, said = make("pre", "command", visible(text));
  const button = make("button", "", "Copy the command"), done = make("span", "muted");
  said.tabIndex = 0;
  said.setAttribute("role", "region");
  said.setAttribute("aria-label", "Command");
  button.type = "button";
  done.setAttribute("role", "status");
  button.addEventListener("click", () => copy(text, said, done));
  holder.append(said, button, " ", done);
  return holder;
}

// What is shown may write out characters that the text itself has: the text is copied.
async function copy(text, shown, said) {
  let done = "copied";
  try { await navigator.clipboard.writeText(text); } catch {
    getSelection().selectAllChildren(shown);
    done = "selected: copy it with Ctrl+C";
  }
  said.textContent = done;
}

function provenance(row) {
  const list = make("dl", "facts");
  const versions = data.looks[at(row, "sample_key")]?.versions ?? {};
  const entries = ["source", "licence", "attribution", "sha256", "fingerprint"].map((name) => [name, at(row, name)]);
  for (const [name, version] of Object.entries(versions)) entries.push([`version of ${name}`, version]);
  for (const [name, value] of entries) {
    const pair = make("div"), said = make("dd");
    said.append(isolated(String(value || "unknown")));
    pair.append(make("dt", "", name), said);
    list.append(pair);
  }
  return list;
}
