// Marks of the dialogue that is shown: keep or reject it, with a reason and a note, and edit its messages. They stay in
// this browser until they are saved as a review, which the recipe field `review` reads, together with the marks of the
// review that the page was made with. page.js, which follows in the same script, calls showMark and markKeys.

const MARKS = `consistent_chat marks: ${document.title}`;
const marking = document.getElementById("marking");
const loaded = new Map((await unpacked(document.getElementById("review"))).map(({ keys, ...mark }) => [keys.join(" "), { ...noMark(), ...mark }]));
const marks = new Map([...loaded, ...storedMarks()]); // by the request keys of the dialogue, joined
let marked = ""; // the name in `marks` of what is shown
let shown = []; // its messages

function noMark() {
  return { verdict: "", reason: "", note: "", edits: {} };
}

const isEmpty = (mark) => !mark.verdict && !mark.note && !Object.keys(mark.edits).length;
const isLacking = (mark) => mark.verdict === "reject" && !mark.reason.trim();
const ownMarks = () => [...marks].filter(([name, mark]) => JSON.stringify(mark) !== JSON.stringify(loaded.get(name)));

function storedMarks() {
  try {
    return new Map(JSON.parse(localStorage.getItem(MARKS)) ?? []);
  } catch {
    return new Map();
  }
}

// A dialogue that has since got a judge has more keys than its mark: that of its last answers is in both.
const nameOf = (keys, answers) => [...marks.keys()].findLast((name) => name.split(" ").includes(answers)) ?? keys.join(" ");
const markOf = () => marks.get(marked) ?? noMark();

function changeMark(change) {
  const mark = { ...markOf(), ...change };
  if (isEmpty(mark) && !loaded.has(marked)) marks.delete(marked);
  else marks.set(marked, mark);
  let kept = "";
  try {
    localStorage.setItem(MARKS, JSON.stringify(ownMarks()));
  } catch {
    kept = " This browser does not keep them: save them before you close the page.";
  }
  showCount(kept);
}

function showCount(kept = "") {
  const lacking = [...marks.values()].filter(isLacking).length;
  const missing = lacking ? ` ${lacking} without a reason: they are not saved.` : "";
  const earlier = loaded.size ? ` Marks of the review: ${loaded.size}.` : "";
  document.getElementById("marked").textContent = `Marks in this browser: ${ownMarks().length}.${earlier}${missing}${kept}`;
  document.getElementById("save").disabled = [...marks.values()].every((mark) => isEmpty(mark) || isLacking(mark));
}

function showMark(messages, named) {
  shown = messages;
  const keys = named.slice(0, -1);
  marked = nameOf(keys, named.at(-1));
  marking.hidden = !keys.length;
  const mark = markOf();
  for (const radio of marking.elements.verdict) radio.checked = radio.value === mark.verdict;
  for (const name of ["reason", "note"]) marking.elements[name].value = mark[name];
  document.getElementById("why-reject").hidden = mark.verdict !== "reject";
  if (keys.length) offerEdits(mark);
  showCount();
}

// ---- edits

function offerEdits(mark) {
  const turns = { user: 0, assistant: 0 };
  const texts = { user: [], assistant: [] };
  for (const [role, text] of shown) texts[role]?.push(text);
  for (const row of document.querySelectorAll("#talk > .user, #talk > .assistant")) {
    const before = texts[row.className][turns[row.className]];
    const name = `${row.className}_${++turns[row.className]}`;
    if (mark.edits[name] !== undefined) row.querySelector(".said").replaceWith(plain(mark.edits[name]));
    row.classList.toggle("edited", mark.edits[name] !== undefined);
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Edit", className: "edit" });
    button.setAttribute("aria-label", `Edit ${name.replace("_", " message ")}`);
    button.addEventListener("click", () => edit(row, mark.edits[name] ?? before, name, before));
    row.append(button);
  }
}

const plain = (text) => Object.assign(document.createElement("p"), { textContent: text, className: "said", dir: "auto" });

function edit(row, text, name, before) {
  const area = Object.assign(document.createElement("textarea"), { value: text, rows: 6, maxLength: 100000 });
  area.setAttribute("aria-label", name.replace("_", " message "));
  row.querySelector(".said").replaceWith(area);
  row.querySelector(".edit").hidden = true;
  area.addEventListener("input", () => {
    const { [name]: _, ...edits } = markOf().edits;
    const isKnown = loaded.get(marked)?.edits[name] !== undefined; // what is shown may be the edited text already
    const isChanged = area.value.trim() && (isKnown || area.value.trim() !== before.trim());
    changeMark({ edits: isChanged ? { ...edits, [name]: area.value.trim() } : edits });
    row.classList.toggle("edited", Boolean(isChanged));
  });
  area.focus();
}

// ---- the file

const quoted = (text) =>
  JSON.stringify(text).replace(/[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);

function review() {
  const lines = ["# People's marks, for the recipe field `review`.", "marks:"];
  for (const [keys, mark] of marks) {
    if (isEmpty(mark) || isLacking(mark)) continue;
    lines.push(`- keys: [${keys.split(" ").map(quoted).join(", ")}]`, `  verdict: ${mark.verdict || "keep"}`);
    for (const name of ["reason", "note"]) {
      const said = mark[name].trim();
      if (said && (name === "note" || mark.verdict === "reject")) lines.push(`  ${name}: ${quoted(said)}`);
    }
    const edits = mark.verdict === "reject" ? [] : Object.entries(mark.edits); // what is rejected is replaced
    if (edits.length) lines.push("  edits:", ...edits.map(([name, text]) => `    ${name}: ${quoted(text)}`));
  }
  return `${lines.join("\n")}\n`;
}

function save() {
  const stem = document.title.split(" · ")[0].replace(/(\.consistent_chat)?\.(ya?ml|jsonl?|parquet)$/, "");
  const name = stem.replace(/[^\p{L}\p{N}_-]+/gu, "-").replace(/^-+|-+$/g, "") || "dataset";
  const href = URL.createObjectURL(new Blob([review()], { type: "application/yaml" }));
  Object.assign(document.createElement("a"), { href, download: `${name}.review.yaml` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

// ---- the form and its keys

function judge(verdict) {
  if (marking.hidden) return;
  changeMark({ verdict: markOf().verdict === verdict ? "" : verdict });
  for (const radio of marking.elements.verdict) radio.checked = radio.value === markOf().verdict;
  document.getElementById("why-reject").hidden = markOf().verdict !== "reject";
  if (markOf().verdict === "reject") marking.elements.reason.focus();
}

const markKeys = {
  a: () => judge("keep"),
  x: () => judge("reject"),
  n: () => marking.hidden || marking.elements.note.focus(),
  s: save,
};

marking.addEventListener("submit", (event) => event.preventDefault());
marking.addEventListener("input", ({ target }) => {
  if (target.name === "verdict") {
    changeMark({ verdict: target.value });
    document.getElementById("why-reject").hidden = target.value !== "reject";
  } else if (target.name) changeMark({ [target.name]: target.value });
});
document.getElementById("save").addEventListener("click", save);

