// The retrieval explorer. Explained in notebook 10. `rank` computes what
// rsnb.replay.replay does with rsnb.cadre.qgd.Probe and rsnb.cadre.vci.VCI.

const SHOWN = 15;
const PARTS = ["sim", "found", "seen", "whole", "gains", "text"];
const decoded = new WeakMap();

function parts(query) {
  if (!decoded.has(query))
    decoded.set(query, Object.fromEntries(PARTS.map((p) => [p, unpack(query[p])])));
  return decoded.get(query);
}

const fitted = (data, qgd) => structuredClone(data.fitted[qgd ? "both" : "vci"]);

function logAdd(a, b) {
  const top = Math.max(a, b);
  return top === -Infinity ? top : top + Math.log1p(Math.exp(-Math.abs(a - b)));
}

// QGD: weights (K·V) of the views, and the two parts of the new score of each of K.
function probe(data, query, s) {
  const { found, seen, whole } = parts(query), [K, V] = found.shape;
  // Single precision, as torch keeps these two numbers.
  const t = Math.fround(s.sharp), m = Math.fround(s.mix), rest = Math.fround(1 - m);
  const weights = new Float64Array(K * V), first = [], windows = [];
  for (let k = 0; k < K; k++) {
    const x = Array.from({ length: V }, (_, v) => t * found.at[k * V + v] + data.bias[v]);
    const top = Math.max(...x), e = x.map((v) => Math.exp(v - top));
    const total = e.reduce((a, b) => a + b);
    let sum = 0;
    for (let v = 0; v < V; v++) {
      weights[k * V + v] = e[v] / total;
      sum += weights[k * V + v] * seen.at[k * V + v];
    }
    first.push(rest * whole.at[k]);
    windows.push(m * sum);
  }
  return { weights, first, windows };
}

// What each candidate said, by level, and the cosine with its description: K rows.
function evidence(query) {
  const { gains, text } = parts(query), [K, W] = gains.shape;
  return Array.from({ length: K }, (_, k) => {
    const row = [0, 0, 0, 0, 0, text.at[k]];
    for (let w = 0; w < W; w++) row[query.levels[w]] += gains.at[k * W + w];
    return row;
  });
}

// Whether asking stops, and when: the number of candidates that are heard.
function stop(known, x, beyond, all, s) {
  const K = x.length, left = new Array(K + 1);
  left[K] = beyond;
  for (let k = K - 1; k >= 0; k--) left[k] = logAdd(left[k + 1], known[k] + s.prior);
  if (!s.slack) return K;
  if (Math.max(...all) - left[0] > Math.log1p(-s.slack)) return 0;
  let asked = -Infinity;
  for (let k = 1; k <= K; k++) {
    asked = logAdd(asked, x[k - 1]);
    if (left[k] - logAdd(left[k], asked) < Math.log(s.slack)) return k;
  }
  return K;
}

// Rank the candidates of a query under settings s: { qgd, vci, most, slack, weights,
// prior, stay, sharp, mix }. Candidates are numbered in the backbone's order.
function rank(data, query, s) {
  const { sim } = parts(query), K = sim.at.length;
  const looked = s.qgd ? probe(data, query, s) : null;
  const first = Array.from(sim.at, (v, k) =>
    round9(looked ? looked.first[k] + looked.windows[k] : v));
  const out = { first, looked, scores: first, calls: 0, heard: new Set() };
  out.evidence = evidence(query);
  if (s.vci) {
    const [w0, ...w] = s.weights;
    const base = first.map((v, k) => w0 * v + (k === 0 ? s.stay : 0));
    const ask = bestFirst(first).slice(0, s.most);
    const x = ask.map((k) => base[k] + w.reduce((a, v, j) => a + v * out.evidence[k][j], 0));
    const all = base.map((v) => v + s.prior), asked = new Set(ask);
    let beyond = -Infinity;
    all.forEach((v, k) => { if (!asked.has(k)) beyond = logAdd(beyond, v); });
    out.calls = stop(ask.map((k) => base[k]), x, beyond, all, s);
    out.scores = [...all];
    ask.slice(0, out.calls).forEach((k, j) => { out.scores[k] = x[j]; out.heard.add(k); });
    out.scores = out.scores.map(round9);
  }
  out.order = bestFirst(out.scores);
  out.rank = new Array(K);
  out.order.forEach((k, place) => { out.rank[k] = place + 1; });
  return out;
}

// The summands of a candidate's score: [label, colour, value].
function summands(data, found, s, k) {
  const w0 = s.vci ? s.weights[0] : 1;
  const rows = found.looked
    ? [["QGD: whole", "QGD", w0 * found.looked.first[k]],
       ["QGD: windows", "QGD", w0 * found.looked.windows[k]]]
    : [["backbone", "backbone", w0 * found.first[k]]];
  if (!s.vci) return rows;
  if (k === 0) rows.push(["backbone's first choice", "backbone", s.stay]);
  if (!found.heard.has(k)) return [...rows, ["not asked", "VCI", s.prior]];
  return [...rows, ...data.levels.map((level, j) =>
    [level, "VCI", s.weights[j + 1] * found.evidence[k][j]])];
}

// The stored query that shares most words with a text, by words shared / words in all;
// words that say nothing of the image do not count. { k, shared } or null.
function nearest(queries, text) {
  const clean = (w) => w.toLowerCase().replace(/^\W+|\W+$/g, "");
  const typed = new Set(text.split(/\s+/).map(clean).filter(Boolean));
  let best = null;
  queries.forEach((q, k) => {
    const own = new Set(q.words.filter((w, j) => w && q.levels[j] !== 4).map(clean));
    const shared = [...own].filter((w) => typed.has(w));
    const score = shared.length / new Set([...own, ...typed]).size;
    if (shared.length && (!best || score > best.score)) best = { k, score, shared };
  });
  return best;
}

// Mean weight of the windows over each place, as rsnb.cadre.views.heat, over the image.
function heat(boxes, weights) {
  const SVG = "http://www.w3.org/2000/svg", svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("aria-hidden", "true");
  const cuts = (a, b) => [...new Set(boxes.flatMap((box) => [box[a], box[b]]))].sort((x, y) => x - y);
  const xs = cuts(0, 2), ys = cuts(1, 3), cells = [];
  for (let i = 0; i + 1 < xs.length; i++)
    for (let j = 0; j + 1 < ys.length; j++) {
      const over = boxes.map((_, v) => v).slice(1).filter((v) =>
        boxes[v][0] <= xs[i] && boxes[v][2] >= xs[i + 1] &&
        boxes[v][1] <= ys[j] && boxes[v][3] >= ys[j + 1]);
      const mean = over.reduce((a, v) => a + weights[v], 0) / Math.max(1, over.length);
      cells.push([xs[i], ys[j], xs[i + 1] - xs[i], ys[j + 1] - ys[j], mean]);
    }
  const top = Math.max(...cells.map((c) => c[4]), 1e-12);
  for (const [x, y, width, height, mean] of cells) {
    const cell = document.createElementNS(SVG, "rect"), f = mean / top;
    const rgb = [[0, 255], [34, 233], [78, 69]].map(([a, b]) => Math.round(a + f * (b - a)));
    const how = { x, y, width, height, fill: `rgb(${rgb})`, "fill-opacity": 0.45 };
    for (const [name, value] of Object.entries(how)) cell.setAttribute(name, value);
    svg.append(cell);
  }
  return svg;
}

const signed = (v, digits = 2) => (v < 0 ? "−" : "+") + Math.abs(v).toFixed(digits);

function barTable(rows, total, widest, unit) {
  const row = ([label, colour, value], kind) => {
    const share = 50 * Math.min(1, Math.abs(value) / widest);
    const bar = node("i", { style:
      `background:var(--${colour});width:${share}%;left:${value < 0 ? 50 - share : 50}%` });
    const cell = kind ? node("td") : node("td", {}, node("div", { class: "bar" }, bar));
    return node("tr", { class: kind }, node("th", { scope: "row" }, label), cell,
      node("td", {}, signed(value)));
  };
  return node("table", { class: "bars" },
    node("caption", { class: "faint" }, `Parts of the score (${unit})`),
    node("tbody", {}, ...rows.map((r) => row(r)), row(["score", "", total], "sum")));
}

function detail(data, query, s, found, k) {
  const row = query.near[k], heard = found.heard.has(k), V = data.boxes.length;
  const look = node("div", { class: "look" }, picture(data.images[row], data.said[row], 144));
  const left = [node("h4", {}, `Rank ${found.rank[k]}, by the backbone ${k + 1}`), look];
  if (found.looked) {
    const w = Array.from(found.looked.weights.slice(k * V, (k + 1) * V));
    look.append(heat(data.boxes, w));
    const windows = w.slice(1).map((v) => v.toFixed(2)).join(", ");
    left.push(node("p", { class: "faint" },
      `View weights: whole image ${w[0].toFixed(2)}; windows ${windows}. Yellow: the windows with most weight.`));
  } else left.push(node("p", { class: "faint" }, "QGD is off: the image is one vector."));
  left.push(node("p", {}, node("b", {}, "Described as: "), data.said[row] || "(no description)"));
  const right = [node("h4", {}, "What the witness says")];
  if (heard) {
    const W = query.words.length, gains = parts(query).gains.at;
    right.push(node("ul", { class: "words" }, ...query.words.map((word, w) => {
      const gain = gains[k * W + w];
      const colour = Math.abs(gain) < 0.05 ? "line" : gain > 0 ? "for" : "against";
      return node("li", { style: `border-color:var(--${colour})` }, word || "(end)",
        node("small", {}, `${signed(gain, 1)} ${data.levels[query.levels[w]]}`));
    })));
    const new_ = query.rewrites[k];
    right.push(node("p", {}, node("b", {}, "Query, rewritten: "),
      new_ || "not stored for this candidate; only for the first ones."));
  } else right.push(node("p", { class: "faint" }, s.vci
    ? "Not asked: asking stopped before it, or it is not among the K."
    : "VCI is off: nobody is asked."));
  const of = (c) => summands(data, found, s, c);
  const near = [...found.order.slice(0, SHOWN), k].flatMap((c) => of(c).map((r) => Math.abs(r[2])));
  right.push(barTable(of(k), found.scores[k], Math.max(...near, 1e-9), s.vci ? "nats" : "cosine"));
  return [node("div", {}, ...left), node("div", {}, ...right)];
}

function card(data, query, found, k, pressed, press) {
  const before = k + 1, after = found.rank[k], is = k === query.right;
  const way = after < before ? "up" : after > before ? "down" : "";
  const notes = [is && "✓ its image", found.heard.has(k) && "asked"].filter(Boolean);
  return node("li", { "data-key": k },
    node("button", {
      type: "button", class: is ? "card right" : "card", "aria-pressed": String(pressed),
      click: press,
    }, picture(data.images[query.near[k]], ""),
      node("span", {}, node("b", {}, `${after} `),
        node("span", { class: way }, way ? `from ${before}` : "as before")),
      node("span", { class: "faint" }, notes.join(", "))));
}

function render({ model, el }) {
  const data = model.get("data"), live = model.get("live");
  const queries = [...data.queries];
  let at = 0, pinned = null, s = { qgd: true, vci: true, ...fitted(data, true) };
  const [home, leave] = house(el, "Explore retrieval");

  const groups = {};
  queries.forEach((q, k) => (groups[q.kind ?? ""] ??= []).push([k, q.query]));
  const pick = choice("Query", groups, (v) => { say(""); show(Number(v)); });
  const typed = node("input", { type: "text", maxlength: 300, placeholder: "or type your own" });
  const form = node("form", { submit: (e) => { e.preventDefault(); send(typed.value.trim()); } },
    node("label", {}, node("span", {}, "Text"), typed), node("button", {}, "Search"));
  const status = node("p", { class: "faint", role: "status" });
  const full = node("p", { class: "query" });
  const summary = node("p", { class: "summary", "aria-live": "polite" });
  const list = node("ol", { class: "grid" });
  const more = node("div", { class: "two" });

  const numbers = (k, max) => ({
    min: 0, max, step: "any", value: s.weights[k], say: (v) => v.toFixed(2),
    change: (v) => { s.weights[k] = v; draw(); },
  });
  const number = (key, min, max, step, word = String) => ({
    min, max, step, value: s[key], say: word, change: (v) => { s[key] = v; draw(); },
  });
  const named = {
    most: slider("Candidates asked, K", number("most", 0, 20, 1)),
    slack: slider("Filter threshold", number("slack", 0, 0.5, 0.005, (v) => `${(100 * v).toFixed(1)} %`)),
    sharp: slider("View sharpness",
      number("sharp", 0, Math.ceil(4 * s.sharp), "any", (v) => v.toFixed(1))),
  };
  const most = (k) => Math.max(2, Math.ceil(2 * Math.max(data.fitted.both.weights[k], data.fitted.vci.weights[k])));
  const weights = ["first stage", ...data.levels].map((l, k) => slider(l, numbers(k, most(k))));
  const switches = {
    qgd: toggle("QGD looks again", { value: true, mark: "QGD", change: (v) => { refit(v); } }),
    vci: toggle("VCI asks", { value: true, mark: "VCI", change: (v) => { s.vci = v; draw(); } }),
  };

  // Constants were fitted for QGD and VCI together and for VCI alone; a switch of QGD
  // brings those that belong to it.
  function refit(qgd) {
    s = { ...s, qgd, ...fitted(data, qgd) };
    for (const [key, one] of Object.entries(named)) one.set(s[key]);
    weights.forEach((one, k) => one.set(s.weights[k]));
    draw();
  }
  function reset() {
    s.vci = true;
    for (const one of Object.values(switches)) one.set(true);
    refit(true);
  }
  function say(text) { status.textContent = text; }
  function show(k) { at = k; pinned = null; pick.set(k); draw(); }

  function send(text) {
    if (!text) return;
    if (live) {
      say("Asking the witness about the candidates …");
      model.set("asked", text);
      model.save_changes();
      return;
    }
    const hit = nearest(data.queries, text);
    if (!hit) {
      say(`This page has no kernel and knows ${data.queries.length} queries. None shares a word with yours.`);
      return;
    }
    show(hit.k);
    say(`This page has no kernel, so yours was not searched. Shown is the stored query that shares most words with it (${hit.shared.join(", ")}).`);
  }
  function answered() {
    const found = model.get("answered");
    if (found.error) return say(found.error);
    if (!found.query) return;
    queries.push(found.query);
    pick.add(queries.length - 1, found.query.query);
    say("Answered by the kernel.");
    show(queries.length - 1);
  }

  function draw() {
    const query = queries[at], found = rank(data, query, s), right = query.right;
    const shown = found.order.slice(0, SHOWN);
    list.dataset.order = found.order.join(" ");
    if (right >= 0 && !shown.includes(right)) shown.push(right);
    const open = pinned ?? found.order[0];
    const focus = home.getRootNode().activeElement?.closest?.("li")?.dataset.key;
    move(list, shown.map((k) => card(data, query, found, k, k === open, () => { pinned = k; draw(); })));
    if (focus) list.querySelector(`[data-key="${focus}"] button`)?.focus({ preventScroll: true });
    const asked = s.vci ? `${found.calls} of ${s.most} candidates asked.` : "Nobody asked.";
    const own = right < 0 ? "" : `Image of this caption: rank ${right + 1} → ${found.rank[right]}. `;
    full.textContent = `“${query.query}”`;
    summary.textContent = own + asked;
    more.replaceChildren(...detail(data, query, s, found, open));
  }

  home.append(
    node("div", { class: "row" }, pick, form), status,
    node("fieldset", {}, node("legend", {}, "Modules"),
      node("div", { class: "row" }, switches.qgd, switches.vci,
        node("button", { type: "button", click: reset }, "Reset to fitted constants")),
      ...Object.values(named),
      node("details", {}, node("summary", {}, "Fusion weights"), ...weights)),
    full, summary, list, more);
  if (live) model.on("change:answered", answered);
  draw();
  return () => { if (live) model.off("change:answered", answered); leave(); };
}

export default { render };
