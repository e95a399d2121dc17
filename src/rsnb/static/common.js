// Shared by all explorers; text prepended to an explorer's own file. No import, no
// export: `CSS`, a string with explorer.css, is declared by rsnb.widgets before it.

// Numbers as rsnb.explorers.pack wrote them: { shape, at: Float64Array }, row by row.
function unpack(packed) {
  const raw = Uint8Array.from(atob(packed.b64), (c) => c.charCodeAt(0));
  const view = new DataView(raw.buffer);
  const at = Float64Array.from(
    { length: raw.length / 2 },
    (_, i) => view.getInt16(2 * i, true) * packed.scale,
  );
  return { shape: packed.shape, at };
}

// As numpy.round(x, 9): a score is compared after this, or the last bits of two
// languages would decide what comes first.
const round9 = (x) => Math.round(x * 1e9) / 1e9;

// Indices of the highest first, equal ones by number.
const bestFirst = (scores) =>
  Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);

// Node with attributes (functions become listeners) and children. Texts become text
// nodes, so no caption is ever read as markup.
function node(tag, attributes = {}, ...children) {
  const out = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") out.addEventListener(name, value);
    else if (value === true) out.setAttribute(name, "");
    else if (value !== false && value != null) out.setAttribute(name, value);
  }
  out.append(...children.filter((c) => c != null));
  return out;
}

const picture = (b64, alt, size = 72) =>
  node("img", { src: `data:image/webp;base64,${b64}`, alt, width: size, height: size });

// Labelled range input; `say` turns a value into text. `set` moves it without an event.
function slider(label, { min, max, step, value, say = String, change }) {
  // Hidden from screen readers, which hear the text of the input itself.
  const shown = node("span", { class: "value", "aria-hidden": "true" }, say(value));
  const input = node("input", {
    type: "range", min, max, step, "aria-valuetext": say(value),
    input: () => { show(Number(input.value)); change(Number(input.value)); },
  });
  const show = (v) => {
    shown.textContent = say(v);
    input.setAttribute("aria-valuetext", say(v));
  };
  input.value = value;
  const out = node("label", { class: "slider" }, node("span", { class: "name" }, label), input, shown);
  out.set = (v) => { input.value = v; show(v); };
  return out;
}

// Labelled checkbox or radio button (give `name`); `set` as for a slider.
function toggle(label, { value, change, name, type = "checkbox", mark }) {
  const input = node("input", { type, name, change: () => change(input.checked) });
  input.checked = value;
  const dot = mark && node("i", { class: "dot", style: `background:var(--${mark})` });
  const out = node("label", { class: "toggle" }, input, dot, label);
  out.set = (v) => { input.checked = v; };
  return out;
}

// Labelled select over groups: { title: [[value, text], …] }; title "" for no group.
function choice(label, groups, change) {
  const input = node("select", { change: () => change(input.value) });
  for (const [title, entries] of Object.entries(groups)) {
    const to = title ? node("optgroup", { label: title }) : input;
    to.append(...entries.map(([value, text]) => node("option", { value }, text)));
    if (title) input.append(to);
  }
  const out = node("label", { class: "choice" }, node("span", {}, label), input);
  out.set = (v) => { input.value = v; };
  out.add = (value, text) => input.append(node("option", { value }, text));
  return out;
}

// Whether the page is dark: by the book's theme, JupyterLab, Colab, or the system.
function isDark() {
  const { documentElement: html, body } = document;
  const named = html.dataset.theme || html.getAttribute("theme");
  if (named === "dark" || named === "light") return named === "dark";
  const lab = body && body.dataset.jpThemeLight;
  if (lab) return lab === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

// A shadow root of el with the style sheet, and a <section> in it that follows the
// theme. Returns [section, function that stops following].
function house(el, label) {
  const root = el.shadowRoot || el.attachShadow({ mode: "open" });
  const section = node("section", { class: "explorer", "aria-label": label });
  root.replaceChildren(node("style", {}, CSS), section);
  const follow = () => { section.dataset.theme = isDark() ? "dark" : "light"; };
  const watch = new MutationObserver(follow), asked = matchMedia("(prefers-color-scheme: dark)");
  for (const part of [document.documentElement, document.body])
    watch.observe(part, { attributes: true });
  asked.addEventListener("change", follow);
  follow();
  return [section, () => { watch.disconnect(); asked.removeEventListener("change", follow); }];
}

// Replace the children of a list, each with a `data-key`, and let those that stay glide
// to their new place, unless the reader asked for less motion.
function move(list, children) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const was = new Map();
  if (!still) for (const c of list.children) was.set(c.dataset.key, c.getBoundingClientRect());
  list.replaceChildren(...children);
  for (const c of still ? [] : list.children) {
    const from = was.get(c.dataset.key);
    if (!from) continue;
    const to = c.getBoundingClientRect(), x = from.left - to.left, y = from.top - to.top;
    if (x || y) c.animate([{ transform: `translate(${x}px,${y}px)` }, {}], 250);
  }
}

// In a page without a kernel: find the element, read its data, stand in for the model.
function boot(mark, render) {
  const all = document.querySelectorAll(`[data-rsnb="${mark}"]`);
  const el = Array.from(all).find((e) => !e.shadowRoot);
  const held = { data: JSON.parse(el.querySelector("script").textContent), live: false };
  render({
    el,
    model: {
      get: (k) => held[k], set: (k, v) => { held[k] = v; }, on() {}, off() {}, save_changes() {},
    },
  });
}
