// The dialogues of a report: finds them, lists them, shows one. What a model wrote goes to textContent alone.

const PAGE = 50; // links in the list at a time
const SLICE = 12; // milliseconds of searching before the browser may draw again
const element = (id) => document.getElementById(id);
const [words, kind, intent, category] = ["words", "kind", "intent", "category"].map(element);
const [found, reader] = ["found", "reader"].map(element);
const number = new Intl.NumberFormat("en");

// ---- the packed data: zlib, as base64

if (!window.DecompressionStream) element("count").textContent = "This browser is too old to unpack the dialogues.";

async function unpacked(node) {
  const text = atob(node.textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

const parts = [...document.querySelectorAll("script.part")];
const index = await unpacked(element("index"));
const items = index.items.map(([about, title], place) => ({ ...index.about[about], title, place }));
const isFailure = (item) => item.reason !== "";

const recent = new Map(); // the parts that were looked at last, whole
async function details(place) {
  const part = Math.floor(place / index.size);
  const whole = recent.get(part) ?? unpacked(parts[part]);
  recent.delete(part);
  recent.set(part, whole);
  if (recent.size > 4) recent.delete(recent.keys().next().value);
  return (await whole)[place % index.size];
}

const folded = []; // for each part, the text of each item in lower case
function searchable(part) {
  const text = ([facts, messages]) => [...facts, ...messages].map(([, said]) => said).join("\n").toLowerCase();
  folded[part] ??= unpacked(parts[part]).then((whole) => (folded[part] = whole.map(text)));
  return folded[part];
}

// ---- finding

let results = [];
let current = -1; // the place of the item that is shown
let search = 0;
const drawn = () => new Promise((resolve) => setTimeout(resolve));

const kinds = { all: () => true, dialogues: (item) => !isFailure(item), redrawn: (item) => item.redrawn, failures: isFailure };
const isOfKind = (item) => kinds[kind.value]?.(item) ?? item.reason === kind.value.slice(1);
const isOfIntent = (item) => !intent.value || item.intent === intent.value;
const isChosen = (item) => isOfKind(item) && isOfIntent(item) && (!category.value || item.category === category.value);

const wanted = () => (words.value.toLowerCase().match(/"[^"]+"|[^\s"]+/g) ?? []).map((word) => word.replaceAll('"', ""));

async function find() {
  const own = ++search;
  const sought = wanted();
  const hits = [];
  let pause = performance.now() + SLICE;
  for (let part = 0; part < parts.length; part++) {
    const chosen = items.slice(part * index.size, (part + 1) * index.size).filter(isChosen);
    const texts = sought.length && chosen.length ? folded[part] : [];
    const ready = Array.isArray(texts) ? texts : await searchable(part);
    for (const item of chosen)
      if (sought.every((word) => ready[item.place % index.size].includes(word))) hits.push(item);
    if (performance.now() > pause) {
      await drawn();
      if (own !== search) return;
      pause = performance.now() + SLICE;
    }
  }
  if (own === search) show(hits);
}

function show(hits) {
  results = hits;
  const total = items.filter(isFailure).length;
  const failures = results.filter(isFailure).length;
  const counted = [[results.length - failures, items.length - total, "dialogue"], [failures, total, "failed draw"]];
  const said = counted.filter(([some]) => some).map(([some, all, name]) => `${number.format(some)} of ${number.format(all)} ${name}${all === 1 ? "" : "s"}`);
  element("count").textContent = said.join(", ") || "No dialogues";
  list(0);
  mark();
}

// ---- the list

function made(name, text = "", settings = {}) {
  return Object.assign(document.createElement(name), { textContent: text, ...settings });
}

const under = (item) => [item.intentTitle, item.category].filter(Boolean).join(" · ");
const inWords = (reason) => reason.replaceAll("_", " ");

function link(item) {
  const entry = made("a", "", { href: `#d${item.place}` });
  entry.append(made("span", item.title, { className: "title", dir: "auto" }), made("span", under(item), { className: "about" }));
  if (isFailure(item)) entry.append(made("span", inWords(item.reason), { className: "reason" }));
  if (item.place === current) entry.setAttribute("aria-current", "true");
  const row = made("li");
  row.append(entry);
  return row;
}

let first = 0; // of the results that are listed
function list(start) {
  first = start;
  found.replaceChildren(...results.slice(first, first + PAGE).map(link));
  if (!results.length) found.append(made("li", "No results. Remove a word or a filter.", { className: "none" }));
  const last = Math.min(first + PAGE, results.length);
  element("page").textContent = results.length > PAGE ? `${number.format(first + 1)} to ${number.format(last)}` : "";
  element("earlier").disabled = first === 0;
  element("later").disabled = last >= results.length;
  element("earlier").parentElement.hidden = results.length <= PAGE;
  found.parentElement.scrollTop = 0;
}

// ---- one dialogue

const BESIDE = ["source", "judge"]; // what stands beside a dialogue and is no part of it
const BLOCKS = ["p", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "hr", "table", "thead", "tbody", "tr", "th", "td"];
const KNOWN = new Set([...BLOCKS, "code", "em", "strong", "s"]);

function built(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, children, start] = node;
  const part = document.createElement(KNOWN.has(tag) ? tag : "span");
  if (start !== undefined) part.start = Number(start);
  if (BLOCKS.includes(tag) && tag !== "pre") part.dir = "auto";
  part.append(...children.map(built));
  return tag === "table" ? scrolled(part) : part;
}

function scrolled(table) {
  const box = made("div", "", { className: "scroll", tabIndex: 0 });
  box.append(table);
  watch(box);
  return box;
}

function saying(text, tree) {
  if (!tree || element("raw").checked) return made("p", text, { className: "said", dir: "auto" });
  const rendered = made("div", "", { className: "said rendered" });
  rendered.append(...tree.map(built));
  return rendered;
}

function bubble([role, text, tree]) {
  const row = made("li", "", { className: role });
  row.append(made("span", index.roles[role] ?? role, { className: "role" }), saying(text, tree));
  return row;
}

function fact([name, value]) {
  return [made("dt", name), made("dd", value, { dir: "auto" })];
}

async function open(place, byHand) {
  current = place;
  const [facts, messages, named = []] = await details(place);
  if (current !== place) return;
  showFacts(place, facts);
  showMessages(messages, named);
  reader.hidden = false;
  reader.scrollTop = 0;
  element("browser").classList.toggle("reading", byHand);
  mark();
  if (!byHand) return;
  element("reader-title").focus({ preventScroll: true });
  element("browser").scrollIntoView({ block: "nearest" });
}

function showFacts(place, facts) {
  element("reader-title").textContent = items[place].title;
  element("under").textContent = under(items[place]);
  element("why").textContent = isFailure(items[place]) ? ["Unusable", inWords(items[place].reason), ...facts.filter(([name]) => name === "Detail").map(([, text]) => text)].join(": ") : "";
  element("facts").replaceChildren(...facts.flatMap(fact));
}

function showMessages(messages, named) {
  element("raw").parentElement.hidden = !messages.some(([, , tree]) => tree);
  element("beside").replaceChildren(...messages.filter(([role]) => BESIDE.includes(role)).map(bubble));
  element("talk").replaceChildren(...messages.filter(([role]) => !BESIDE.includes(role)).map(bubble));
  showMark(messages, named);
  highlight();
}

function mark() {
  const at = results.findIndex((item) => item.place === current);
  if (at >= 0 && (at < first || at >= first + PAGE)) list(at - (at % PAGE));
  for (const entry of found.querySelectorAll("a")) {
    if (entry.hash === `#d${current}`) entry.setAttribute("aria-current", "true");
    else entry.removeAttribute("aria-current");
  }
  const shown = found.querySelector("[aria-current]");
  if (shown && matchMedia("(min-width: 60rem)").matches) {
    const pane = found.parentElement; // scrollIntoView would move the page as well
    const above = shown.offsetTop - pane.offsetTop;
    if (above < pane.scrollTop || above + shown.offsetHeight > pane.scrollTop + pane.clientHeight)
      pane.scrollTop = above - pane.clientHeight / 3;
  }
  element("previous").disabled = at === 0 || !results.length;
  element("next").disabled = at === results.length - 1;
  highlight();
}

function step(by) {
  const at = results.findIndex((item) => item.place === current);
  const item = results[at < 0 ? 0 : at + by];
  if (item) location.replace(`#d${item.place}`);
}

function* texts(parts) {
  for (const part of parts) {
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) yield walker.currentNode;
  }
}

function highlight() {
  if (!window.Highlight) return;
  const ranges = [];
  for (const node of texts(reader.querySelectorAll(".said, dd, h3"))) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue; // some letters change their length
    for (const word of wanted())
      for (let at = text.indexOf(word); at >= 0 && ranges.length < 2000; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

// ---- the filters, the keys, the address

const option = (value, text, count) => made("option", count === undefined ? text : `${text} (${number.format(count)})`, { value });

function tally(chosen, value) {
  const counts = new Map();
  for (const item of chosen) counts.set(value(item), (counts.get(value(item)) ?? 0) + 1);
  return counts;
}

function offer(select, counts, entries) {
  const before = select.value;
  const there = entries.filter(([value]) => value && counts.has(value));
  select.replaceChildren(option("", "All"), ...there.map(([value, text]) => option(value, text, counts.get(value))));
  select.value = counts.has(before) ? before : "";
}

function offerIntents() {
  offer(intent, tally(items.filter(isOfKind), (item) => item.intent), index.intents);
  const counts = tally(items.filter((item) => isOfKind(item) && isOfIntent(item)), (item) => item.category);
  offer(category, counts, [...counts.keys()].sort((one, other) => one.localeCompare(other)).map((name) => [name, name]));
}

function offerKinds() {
  const failures = items.filter(isFailure);
  const redrawn = items.filter((item) => item.redrawn).length;
  kind.append(option("dialogues", "Dialogues", items.length - failures.length));
  if (redrawn) kind.append(option("redrawn", "Dialogues with failed draws", redrawn));
  if (!failures.length) return;
  kind.append(option("failures", "Failed draws", failures.length), option("all", "Both"));
  const group = made("optgroup", "", { label: "Failed draws by reason" });
  for (const [reason, count] of tally(failures, (item) => item.reason))
    group.append(option(`=${reason}`, inWords(reason), count));
  kind.append(group);
}

function onKey(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (event.key === "Escape" && event.target === words && words.value) {
    words.value = "";
    find();
  }
  if (isTyping || !element("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = { j: () => step(1), k: () => step(-1), "/": () => words.focus(), r: () => element("raw").click(), ...markKeys }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function goBack() {
  element("browser").classList.remove("reading");
  (found.querySelector("[aria-current]") ?? words).focus();
}

const addressed = () => Number(/^#d(\d+)$/.exec(location.hash)?.[1] ?? NaN);

function follow() {
  const place = addressed();
  if (items[place]) open(place, true);
  else if (!location.hash) goBack();
}

// ---- raw text, the colours, what is wider than the screen

function remembered(name, change) {
  try {
    if (change !== undefined) localStorage.setItem(name, change);
    return localStorage.getItem(name) ?? "";
  } catch {
    return change ?? ""; // a browser that keeps nothing
  }
}

function colour(chosen) {
  document.documentElement.dataset.colours = chosen;
  element("colours").value = chosen;
}

function watch(box) {
  sizes.observe(box);
}
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) target.classList.toggle("wider", target.scrollWidth > target.clientWidth + 1);
});

document.querySelectorAll(".scroll").forEach(watch);
colour(remembered("consistent_chat colours"));
element("colours").parentElement.hidden = false;
element("colours").addEventListener("change", ({ target }) => colour(target.value) ?? remembered("consistent_chat colours", target.value));
element("raw").addEventListener("change", async () => {
  const place = current;
  const [, messages, named = []] = await details(place);
  if (current === place) showMessages(messages, named);
});

offerKinds();
offerIntents();
element("filters").addEventListener("submit", (event) => event.preventDefault());
words.addEventListener("input", find);
for (const select of [kind, intent, category]) select.addEventListener("change", () => (offerIntents(), find()));
element("earlier").addEventListener("click", () => list(first - PAGE));
element("later").addEventListener("click", () => list(first + PAGE));
element("previous").addEventListener("click", () => step(-1));
element("next").addEventListener("click", () => step(1));
element("back").addEventListener("click", goBack);
found.addEventListener("click", (event) => {
  const entry = event.target.closest("a");
  if (entry && entry.hash === location.hash) open(addressed(), true); // no new address, so no event of it
});
addEventListener("hashchange", follow);
addEventListener("keydown", onKey);

await find();
if (items[addressed()]) open(addressed(), true);
else if (results.length) open(results[0].place, false);
for (let part = 0; part < parts.length; part++) {
  await searchable(part); // before a search, so that the first search finds everything unpacked
  await drawn();
}
