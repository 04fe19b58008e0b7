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

function activityOf(row) {
  const activity = data.looks[at(row, "sample_key")]?.activity;
  if (!activity) return null;
  const host = make("div"), [times, change] = activity;
  const peak = change.indexOf(Math.max(...change));
  const label = `Activity over time: change of the front view from image to image, most at ${show(times[peak])} s`;
  const options = (width) => ({
    width, height: 130, legend: { show: false }, cursor: { show: false }, padding: [8, 12, 0, 0],
    scales: { x: { time: false }, y: { range: (_, low, high) => [0, high || 1] } },
    axes: [
      axis({ values: (_, ticks) => ticks.map((tick) => `${show(tick)} s`) }),
      axis({ size: 50, values: (_, ticks) => ticks.map(show) }),
    ],
    series: [{}, { stroke: colour("--accent"), width: 2, points: { show: false } }],
  });
  plot(host, label, options, () => [times, change]);
  return host;
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
    const bounds = (limits.get(column.name) ?? []).map((limit) => `${short(limit.value)} (${limit.rule})`);
    line.append(name, make("td", "num", `${show(value)} ${column.unit}`), make("td", "num", bounds.join(", ") || "–"));
    body.append(line);
  }
  const top = make("thead");
  top.append(head);
  table.append(top, body);
  return table;
}

// Text in single quotes for a shell; what it cannot hold is not made up.
const quoted = (text) => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// Of a clip that failed in Blender the ledger has the command; of others it is put together here.
function reproduce(row) {
  if (at(row, "clip_index") < 0) return null;
  const source = at(row, "source") ?? "";
  const asset = source.startsWith("objaverse") ? `${source}:` : quoted(at(row, "path"));
  const words = `orbit4d render one ${asset} --clip ${at(row, "clip_index")} --run RUN --uid ${quoted(at(row, "uid"))}`;
  return make("pre", "", visible(at(row, "reproduce") || words));
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
