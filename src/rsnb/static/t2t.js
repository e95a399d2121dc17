// Text against text, pooled over what is written on an image. Data: rsnb.explorers.t2t.

const MISSING = -2; // as in rsnb.t2t: an image without text
const NAMES = { one_sentence: "one sentence", feature: "features", caption: "caption" };
const TOP = 12;

// How rsnb.t2t.TextGallery pools the cosines of an image's texts.
function pool(values, how, tau) {
  let best = -Infinity, sum = 0;
  for (const c of values) { best = Math.max(best, c); sum += c; }
  if (how === "max") return best;
  if (how === "mean") return sum / values.length;
  sum = 0;
  for (const c of values) sum += Math.exp((c - best) / tau);
  return best + tau * Math.log(sum / values.length);
}

function render({ model, el }) {
  const data = model.get("data");
  const cos = unpack(data.cos), sim = unpack(data.sim);
  const [, nText, nSubsets, nVariants] = cos.shape, n = data.has.length;
  const place = []; // where an image's cosines stand
  data.has.reduce((k, has, i) => { place[i] = has ? k : -1; return k + has; }, 0);
  const opening = data.opening;
  const now = { ...opening, fields: [...opening.fields], query: 0, open: null };

  // Rows of subsets in use: each field by itself, or all joined to one text.
  const subsets = (s) => {
    const bits = s.fields.map((on, j) => (on ? 1 << j : 0)).filter(Boolean);
    return s.apart ? bits.map((b) => b - 1) : [bits.reduce((a, b) => a + b, 0) - 1];
  };
  function cosines(s, q, i, rows = subsets(s)) {
    const out = [];
    for (const m of rows) {
      const at = ((q * nText + place[i]) * nSubsets + m) * nVariants;
      for (let v = 0; v < s.variants; v++) out.push(cos.at[at + v]);
    }
    return out;
  }
  // As rsnb.t2t.Fusion: each part in units of its spread on validation.
  function parts(s, q, i, rows) {
    const x = place[i] < 0 ? MISSING : pool(cosines(s, q, i, rows), s.how, s.tau);
    const [mean, sd] = data.first, [mean2, sd2] = data.second;
    return [
      x === MISSING ? 0 : s.weight * (x - mean) / sd,
      (1 - s.weight) * (sim.at[q * n + i] - mean2) / sd2,
    ];
  }
  function scores(s, q) {
    const rows = subsets(s);
    return data.has.map((_, i) => { const [a, b] = parts(s, q, i, rows); return round9(a + b); });
  }
  const rank = (s, q) => bestFirst(scores(s, q));
  function placeOfRight(s, q) {
    const all = scores(s, q), r = data.right[q];
    return all.filter((v, i) => v > all[r] || (v === all[r] && i < r)).length;
  }

  const [section, leave] = house(el, "Explorer of text-to-text retrieval");
  const set = (name) => (v) => { now[name] = v; update(); };
  const pick = choice("Query", { "": data.queries.map((q, i) => [i, q]) }, (q) => {
    now.query = Number(q);
    now.open = null;
    update();
  });
  const fields = data.fields.map((f, j) => toggle(NAMES[f], {
    value: now.fields[j],
    change: (on) => {
      now.fields[j] = on;
      if (!now.fields.some(Boolean)) { // at least one stays
        now.fields[j] = true;
        fields[j].set(true);
      }
      update();
    },
  }));
  const apart = toggle("each field a text of its own", { value: now.apart, change: set("apart") });
  const variants = slider("Variants", { min: 1, max: nVariants, step: 1, value: now.variants, change: set("variants") });
  const how = ["max", "mean", "lse"].map((name) => toggle(name === "lse" ? "soft maximum" : name, {
    type: "radio", name: "pool", value: now.how === name, change: () => set("how")(name),
  }));
  const tau = slider("Softness τ", { min: 0.01, max: 0.2, step: 0.01, value: now.tau, say: (v) => v.toFixed(2), change: set("tau") });
  const weight = slider("Weight of text", { min: 0, max: 1, step: 0.05, value: now.weight, say: (v) => v.toFixed(2), change: set("weight") });
  const summary = node("p", { class: "summary", "aria-live": "polite" });
  const list = node("ol", { class: "grid" }), detail = node("div");

  function card(i, k, was) {
    const right = data.right[now.query] === i, up = was.indexOf(i) - k;
    const moved = up ? `, ${up > 0 ? "up" : "down"} ${Math.abs(up)}` : "";
    const button = node("button", {
      type: "button", class: right ? "card right" : "card", "aria-pressed": String(now.open === i),
      "aria-label": `Rank ${k + 1}${moved}: ${data.labels[i]}${right ? ", the right image" : ""}. Show its texts`,
      click: () => { now.open = now.open === i ? null : i; update(); },
    }, picture(data.thumbs[i], ""), `${right ? "✓ " : ""}${k + 1} ${data.labels[i]}`,
    up ? node("div", { class: up > 0 ? "up" : "down" }, String(Math.abs(up))) : null);
    return node("li", { "data-key": i }, button);
  }

  function show(i) {
    if (i === null) return [node("p", { class: "faint" }, "Choose an image to read what was written about it.")];
    if (place[i] < 0) return [node("p", {}, "No text: it counts with the mean of all.")];
    const used = now.fields.map((on, j) => (on ? data.fields[j] : null)).filter(Boolean);
    const groups = now.apart ? used.map((f) => [f]) : [used];
    const texts = groups.flatMap((g) =>
      data.variants[i].slice(0, now.variants).map((v) => g.map((f) => v[f]).join(" ")));
    const values = cosines(now, now.query, i), [a, b] = parts(now, now.query, i);
    const rows = bestFirst(values).map((t) => node("tr", {},
      node("td", {}, values[t].toFixed(3)), node("td", {}, texts[t])));
    return [
      node("p", {}, `Score ${(a + b).toFixed(2)} = text ${a.toFixed(2)} + backbone ${b.toFixed(2)}, in units of their spread.`),
      node("table", { class: "texts" }, node("tr", {}, node("th", { scope: "col" }, "cosine"),
        node("th", { scope: "col" }, "text")), ...rows),
    ];
  }

  function update() {
    const q = now.query, order = rank(now, q), was = rank(opening, q);
    const places = data.right.map((_, k) => placeOfRight(now, k));
    const share = (k) => `${(100 * places.filter((p) => p < k).length / places.length).toFixed(1)} %`;
    summary.textContent =
      `Right image at rank ${places[q] + 1} of ${n}. All ${places.length} queries: R@1 ${share(1)}, R@5 ${share(5)}.`;
    tau.hidden = now.how !== "lse";
    list.dataset.order = order.join(" ");
    const focused = section.getRootNode().activeElement;
    const key = focused && focused.closest("li") && focused.closest("li").dataset.key;
    move(list, order.slice(0, TOP).map((i, k) => card(i, k, was)));
    if (key) { // the list was made anew: keep the keyboard where it was
      const same = list.querySelector(`[data-key="${key}"] button`);
      if (same) same.focus();
    }
    detail.replaceChildren(...show(now.open));
  }

  function reset() {
    Object.assign(now, opening, { fields: [...opening.fields] });
    fields.forEach((f, j) => f.set(now.fields[j]));
    apart.set(now.apart);
    how.forEach((h, k) => h.set(["max", "mean", "lse"][k] === now.how));
    for (const [s, name] of [[variants, "variants"], [tau, "tau"], [weight, "weight"]]) s.set(now[name]);
    update();
  }

  section.append(
    pick,
    node("fieldset", {}, node("legend", {}, "What is written"), ...fields, apart, variants),
    node("fieldset", {}, node("legend", {}, "How it counts"), ...how, tau, weight,
      node("p", { class: "faint" }, "The rest of the weight is the backbone's, which compares vectors.")),
    node("button", { type: "button", click: reset }, "Back to the opening"),
    summary, list, detail);
  update();
  return leave;
}

export default { render };
