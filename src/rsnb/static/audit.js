// Losses of pairs under two thresholds. Data: rsnb.explorers.audit.

const GROUPS = ["clean", "ambiguous", "noisy"];
const SHOWN = 6, W = 340, H = 190, LEFT = 38, RIGHT = 10, TOP = 22, BOTTOM = 36;

// Rows of each group, the most telling first: lowest loss, nearest the middle, highest.
function split(loss, low, high) {
  const middle = (low + high) / 2;
  const key = [(x) => x, (x) => Math.abs(x - middle), (x) => -x];
  const rows = [[], [], []];
  loss.forEach((x, t) => rows[x <= low ? 0 : x > high ? 2 : 1].push(t));
  return rows.map((some, g) =>
    some.sort((a, b) => key[g](loss[a]) - key[g](loss[b]) || a - b));
}

const sum = (values) => values.reduce((a, b) => a + b, 0);
const percent = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : "–");

function svg(tag, attributes, ...children) {
  const out = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) out.setAttribute(name, value);
  out.append(...children);
  return out;
}

// A chart: { x, y } scales, and `draw(parts, said)` that fills it.
function chart(xs, ys, xlabel, ylabel) {
  const x = (v) => LEFT + (v - xs[0]) / (xs[1] - xs[0]) * (W - LEFT - RIGHT);
  const y = (v) => H - BOTTOM - (v - ys[0]) / (ys[1] - ys[0]) * (H - TOP - BOTTOM);
  const text = (at, words, anchor = "middle") =>
    svg("text", { ...at, "text-anchor": anchor, fill: "var(--ink)", "font-size": 11 }, words);
  const ticks = ([a, b]) => {
    const step = [1, 2, 5, 10, 20, 50, 100, 200].find((s) => (b - a) / s <= 5);
    return Array.from({ length: 6 }, (_, i) => Math.ceil(a / step) * step + i * step)
      .filter((v) => v <= b);
  };
  const axes = [
    ...ticks(xs).map((v) => text({ x: x(v), y: H - BOTTOM + 14 }, v)),
    ...ticks(ys).map((v) => text({ x: LEFT - 4, y: y(v) + 4 }, v, "end")),
    text({ x: (LEFT + W - RIGHT) / 2, y: H - 4 }, xlabel),
    text({ x: 2, y: 11 }, ylabel, "start"),
    svg("line", { x1: LEFT, x2: W - RIGHT, y1: y(ys[0]), y2: y(ys[0]), stroke: "var(--line)" }),
  ];
  const out = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", class: "chart" });
  const draw = (parts, said) => {
    out.setAttribute("aria-label", said);
    out.replaceChildren(...axes, ...parts);
  };
  const line = (points, colour, more = {}) => svg("polyline", {
    points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" "),
    fill: "none", stroke: `var(--${colour})`, "stroke-width": 2, ...more,
  });
  const upright = (v, colour, more = {}) => line([[v, ys[0]], [v, ys[1]]], colour, more);
  return { x, y, out, draw, text, line, upright };
}

// Share of noisy pairs that are wrong, and of wrong pairs that are noisy, by threshold.
function curves(loss, wrong, top) {
  const all = sum(wrong), points = { precision: [], recall: [] };
  for (let v = 0; v <= top; v += top / 100) {
    const noisy = wrong.filter((_, t) => loss[t] > v);
    if (noisy.length) points.precision.push([v, 100 * sum(noisy) / noisy.length]);
    points.recall.push([v, 100 * sum(noisy) / (all || 1)]);
  }
  return points;
}

function render({ model, el }) {
  const data = model.get("data");
  const draws = data.draws.map((d) => ({ ...d, loss: unpack(d.loss).at, random: unpack(d.random).at }));
  const top = Math.ceil(Math.max(...draws.flatMap((d) => [...d.loss])));
  const [section, leave] = house(el, "Explorer of noisy pairs");
  const now = { draw: 0, low: 0, high: 0, truth: true };

  const rates = draws.map((d, i) => [i, `${Math.round(100 * d.rate)} % of the captions`]);
  const pick = choice("Changed places", { "": rates }, (i) => { now.draw = Number(i); reset(); });
  const limit = (label, name) => slider(label, {
    min: 0, max: top, step: 0.1, value: 0, say: (v) => v.toFixed(1),
    change: (v) => {
      now[name] = v;
      if (name === "low") now.high = Math.max(now.high, v);
      else now.low = Math.min(now.low, v);
      update();
    },
  });
  const low = limit("Clean up to loss", "low"), high = limit("Noisy above loss", "high");
  const truth = toggle("Show which captions are wrong", {
    value: true, change: (on) => { now.truth = on; update(); },
  });
  const back = node("button", { type: "button", click: () => reset() }, "Thresholds of the known null");
  const summary = node("p", { class: "summary", "aria-live": "polite" });
  const table = node("table", { class: "counts" });
  const lists = GROUPS.map(() => node("ul", { class: "grid" }));
  const heads = GROUPS.map(() => node("span", {}));

  const bins = 40, width = top / bins;
  const count = (values, keep = () => true) => {
    const out = new Array(bins).fill(0);
    values.forEach((v, t) => { if (keep(t)) out[Math.min(bins - 1, Math.floor(v / width))] += 1; });
    return out;
  };
  const most = Math.max(...draws.flatMap((d) => [...count(d.loss), ...count(d.random)]));
  const histogram = chart([0, top], [0, most], "loss of a pair (nats, both directions)", "pairs");
  const found = chart([0, top], [0, 100], "noisy above this loss (nats)", "% of pairs");
  const kinds = Object.entries(data.recall);
  const levels = kinds.flatMap(([, row]) => Object.values(row).flat());
  const after = kinds.length && chart(
    [0, 100], [Math.floor(Math.min(...levels) / 10) * 10, Math.ceil(Math.max(...levels) / 10) * 10],
    "captions that changed places (%)", "mR after training (%)");

  function drawHistogram(d) {
    const parts = [svg("defs", {}, svg("pattern", {
      id: "hatch", width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
    }, svg("line", { x1: 0, x2: 0, y1: 0, y2: 4, stroke: "var(--ink)", "stroke-width": 2.4 })))];
    const all = count(d.loss), wrong = count(d.loss, (t) => d.wrong[t]);
    all.forEach((n, i) => {
      const at = (i + 0.5) * width, g = at <= now.low ? 0 : at > now.high ? 2 : 1;
      const bar = (k, fill) => svg("rect", {
        x: histogram.x(i * width), width: histogram.x(width) - histogram.x(0) - 0.6,
        y: histogram.y(k), height: histogram.y(0) - histogram.y(k), fill,
      });
      parts.push(bar(n, `var(--${GROUPS[g]})`));
      if (now.truth) parts.push(bar(wrong[i], "url(#hatch)"));
    });
    const steps = count(d.random).flatMap((n, i) => [[i * width, n], [(i + 1) * width, n]]);
    parts.push(histogram.line(steps, "ink", { "stroke-width": 1.2 }));
    parts.push(histogram.upright(now.low, "clean"), histogram.upright(now.high, "noisy"));
    histogram.draw(parts, "Histogram of losses, split by the two thresholds");
  }

  function drawFound(d) {
    const lines = d.curves || (d.curves = curves(d.loss, d.wrong, top));
    const dash = { "stroke-dasharray": "5 3" };
    found.draw([
      found.line(lines.precision, "ink", dash), found.line(lines.recall, "noisy"),
      found.upright(now.high, "noisy", { "stroke-width": 1.2 }),
      found.text({ x: W - RIGHT, y: 11 }, "– – precision    — recall", "end"),
    ], "Precision and recall of the noisy group against its threshold");
  }

  function drawAfter(d) {
    const parts = kinds.flatMap(([label, row], i) => {
      const points = Object.entries(row).map(([r, v]) => [100 * r, ...v]).sort((a, b) => a[0] - b[0]);
      const last = points[points.length - 1], ends = points.map((p) => [p[0], p[2]]);
      const area = ends.concat(points.map((p) => [p[0], p[3]]).reverse());
      const colour = i ? "ink" : "backbone";
      return [
        after.line(area, colour, { fill: `var(--${colour})`, "fill-opacity": 0.2, stroke: "none" }),
        after.line(points, colour),
        after.text({ x: after.x(last[0]), y: after.y(last[3]) - 4 }, label),
      ];
    });
    parts.push(after.upright(100 * d.rate, "ink", { "stroke-width": 1.2 }));
    after.draw(parts, "Recall after training, by the share of captions that changed places");
  }

  const card = (d, t) => node("li", { "data-key": t, class: now.truth && d.wrong[t] ? "pair wrong" : "pair" },
    picture(data.thumbs[data.image[t]], data.labels[data.image[t]]),
    node("span", {}, data.texts[d.text[t]]),
    node("small", {}, `loss ${d.loss[t].toFixed(1)}${now.truth ? (d.wrong[t] ? ", wrong" : ", true") : ""}`));

  function update() {
    const d = draws[now.draw];
    low.set(now.low);
    high.set(now.high);
    const rows = split(d.loss, now.low, now.high);
    const bad = rows.map((some) => sum(some.map((t) => d.wrong[t])));
    const noisy = rows[2].length;
    summary.textContent = now.truth
      ? `${noisy} pairs called noisy: precision ${percent(bad[2], noisy)}, recall ${percent(bad[2], sum(bad))}.`
      : `${noisy} of ${d.loss.length} pairs called noisy; estimated share of wrong ones ${percent(d.estimated, 1)}.`;
    const row = (label, values) => node("tr", {}, node("th", { scope: "row" }, label),
      ...values.map((v) => node("td", {}, String(v))));
    table.replaceChildren(
      node("tr", {}, node("td", {}), ...GROUPS.map((g) => node("th", { scope: "col" }, g))),
      row("pairs", rows.map((r) => r.length)),
      row("of them wrong", bad.map((n) => (now.truth ? n : "?"))));
    rows.forEach((some, g) => {
      heads[g].textContent = `${GROUPS[g]} (${some.length})`;
      lists[g].dataset.rows = some.join(" ");
      lists[g].replaceChildren(...some.slice(0, SHOWN).map((t) => card(d, t)));
    });
    drawHistogram(d);
    drawFound(d);
    if (after) drawAfter(d);
  }

  function reset() {
    Object.assign(now, { low: draws[now.draw].low, high: draws[now.draw].high });
    update();
  }

  section.append(
    node("div", { class: "row" }, pick, back), low, high, truth, summary,
    node("div", { class: "two" },
      node("div", {}, histogram.out, node("p", { class: "faint" },
        "Bars: pairs as given, coloured by group; hatched: wrong. Line: random pairs.")),
      node("div", {}, found.out),
      ...(after ? [node("div", {}, after.out)] : []),
      node("div", {}, table)),
    node("div", { class: "three" }, ...GROUPS.map((g, i) => node("div", {},
      node("h4", {}, node("i", { class: "dot", style: `background:var(--${g})` }), " ", heads[i]),
      lists[i]))));
  reset();
  return leave;
}

export default { render };
