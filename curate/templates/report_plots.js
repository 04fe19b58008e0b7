"use strict";
// Charts, drawn by uPlot; each also says in words what it shows.

const plots = new Set();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A chart is made when it comes near the window, and anew when its place gets another width.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    entry.target.plot.draw();
  }
}, { rootMargin: "300px" });
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.plot.chart && target.plot.width !== target.clientWidth) target.plot.draw();
});

// `options(width)` and `values()` are asked for whenever the chart is drawn.
function plot(host, label, options, values) {
  const made = {
    chart: null, width: 0,
    draw() {
      made.chart?.destroy();
      made.width = host.clientWidth;
      if (!made.width) return near.observe(host); // folded away
      made.chart = new uPlot(options(made.width), values(), host);
    },
    redraw() { made.chart?.redraw(false, false); },
    refill() { made.chart?.setData(values()); },
  };
  host.plot = made;
  host.classList.add("plot");
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", label);
  plots.add(made);
  near.observe(host);
  resized.observe(host);
  return made;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const made of plots) if (made.chart) made.draw();
});

function axis(more) {
  return {
    stroke: colour("--muted"), font: "11px system-ui, sans-serif", size: 24, gap: 3,
    grid: { stroke: colour("--faint"), width: 1 }, ticks: { show: false }, ...more,
  };
}

// Where a value lies along the bins of a histogram, in bins.
function binOf(edges, value) {
  const last = edges.length - 1;
  if (value <= edges[0]) return 0;
  if (value >= edges[last]) return last;
  const at = edges.findIndex((edge) => edge > value) - 1;
  return at + (value - edges[at]) / (edges[at + 1] - edges[at]);
}

function vertical(chart, x, dash) {
  const { ctx, bbox } = chart, left = Math.round(chart.valToPos(x, "x", true));
  ctx.save();
  ctx.strokeStyle = colour("--text");
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.setLineDash(dash);
  ctx.beginPath();
  ctx.moveTo(left, bbox.top);
  ctx.lineTo(left, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

// Kept and dropped on top of each other; `lines` gives the limits as [value, is moved].
function histogram(host, entry, lines) {
  const { edges, kept, dropped } = entry, bins = kept.length;
  const said = entry.limits.map((limit) => `, limit ${short(limit.value)}`).join("");
  const sum = (list) => list.reduce((a, b) => a + b, 0).toLocaleString("en");
  const label = `Histogram of ${entry.score} from ${show(edges[0])} to ${show(edges[bins])}: ` +
    `${sum(kept)} kept, ${sum(dropped)} dropped${said}`;
  const bars = uPlot.paths.bars({ size: [1, Infinity], gap: 1, align: 1 });
  const filled = (name) => ({ paths: bars, fill: colour(name), width: 0, points: { show: false } });
  const options = (width) => ({
    width, height: 110, legend: { show: false }, cursor: { show: false }, padding: [6, 20, 0, 0],
    scales: { x: { time: false, range: [0, bins] }, y: { range: (_, low, high) => [0, Math.max(high * 1.08, 1)] } },
    axes: [
      axis({
        splits: [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * bins)),
        values: (_, splits) => apart(splits.map((split) => edges[split])),
        grid: { show: false },
      }),
      axis({ size: 44, values: (_, ticks) => ticks.map(shortCount) }),
    ],
    series: [{}, filled("--dropped-bar"), filled("--kept-bar")],
    hooks: {
      draw: [(chart) => {
        for (const [value, moved] of lines()) // a limit beyond what was measured has no place here
          if (value >= edges[0] && value <= edges[bins]) vertical(chart, binOf(edges, value), moved ? [] : [4, 3]);
      }],
    },
  });
  const xs = Array.from(kept, (_, bin) => bin);
  return plot(host, label, options, () => [xs, kept.map((count, bin) => count + dropped[bin]), kept]);
}

// Labels with as many digits as it takes to tell them apart.
function apart(values) {
  const step = Math.min(...values.slice(1).map((value, i) => value - values[i]));
  const texts = values.map(whole);
  if (new Set(texts).size === values.length || !(step > 0)) return texts;
  return values.map((value) => value.toFixed(Math.min(Math.max(Math.ceil(-Math.log10(step)) + 1, 0), 8)).replace("-", "−"));
}

function shortCount(count) {
  if (!Number.isInteger(count)) return "";
  return count >= 1e6 ? `${count / 1e6} M` : count >= 1e4 ? `${count / 1e3} k` : count.toLocaleString("en");
}

// ---- any two scores of the listed rows

const scatter = { x: "motion", y: "drift" };
const named = (score) => (about[score]?.unit ? `${score}, ${about[score].unit}` : score);

function scatterValues() {
  const points = [];
  for (const row of data.rows) {
    const x = number(at(row, scatter.x)), y = number(at(row, scatter.y));
    if (Number.isFinite(x) && Number.isFinite(y) && x !== null && y !== null)
      points.push([x, y, at(row, "verdict") === "kept"]);
  }
  points.sort((a, b) => a[0] - b[0]);
  byId("scatter-count").textContent =
    `${points.length.toLocaleString("en")} listed clips have both; ` +
    `${points.filter((point) => point[2]).length.toLocaleString("en")} of them are kept.`;
  const pick = (wanted) => points.map(([, y, kept]) => (kept === wanted ? y : null));
  return [points.map((point) => point[0]), pick(false), pick(true)];
}

function buildScatter() {
  const measured = data.histograms.map((entry) => entry.score);
  if (!measured.length) return;
  scatter.x = measured.includes("motion") ? "motion" : measured[0];
  scatter.y = measured.find((name) => name !== scatter.x) ?? scatter.x;
  if (measured.includes("drift") && scatter.x !== "drift") scatter.y = "drift";
  for (const which of ["x", "y"]) {
    const select = byId(`scatter-${which}`);
    for (const name of measured) select.append(new Option(name, name));
    select.value = scatter[which];
    select.addEventListener("change", () => {
      scatter[which] = select.value;
      host.setAttribute("aria-label", label());
      made.draw();
    });
  }
  const host = byId("scatter");
  const label = () => `Scatter plot of ${scatter.y} over ${scatter.x}, kept and dropped clips in two colours`;
  const dots = (name, shape) => ({
    paths: () => null, stroke: colour(name),
    points: { show: true, size: shape === "kept" ? 6 : 5, fill: shape === "kept" ? colour(name) : "transparent", stroke: colour(name), width: 1 },
  });
  const padded = (_, low, high) => {
    const room = (high - low) * 0.04 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  };
  const options = (width) => ({
    width, height: 300, legend: { show: false }, cursor: { show: false }, padding: [8, 14, 0, 0],
    scales: { x: { time: false, range: padded }, y: { range: padded } },
    axes: [
      axis({ size: 40, label: named(scatter.x), labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(show) }),
      axis({ size: 50, label: named(scatter.y), labelSize: 18, labelFont: "12px system-ui, sans-serif", values: (_, ticks) => ticks.map(show) }),
    ],
    series: [{}, dots("--dropped-bar", "dropped"), dots("--kept-bar", "kept")],
  });
  const made = plot(host, label(), options, scatterValues);
}
buildScatter();
