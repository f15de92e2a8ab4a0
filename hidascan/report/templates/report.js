// The controls of a report; without this script, every row is shown in full.
const $ = id => document.getElementById(id);
const list = $("rows"), rows = [...document.querySelectorAll(".row")];
const headline = row => row.querySelector(".verdict").textContent;
const verdicts = ["ai", "inconclusive", "real", "error"];
const verdictOf = new Map(rows.map(row => [headline(row), row.dataset.verdict]));
const wanted = new Set(verdictOf.keys());

function filter() {
  const part = $("find").value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    row.hidden = !wanted.has(headline(row)) || !row.dataset.path.toLowerCase().includes(part);
    count += !row.hidden;
  }
  $("shown").textContent = count || !rows.length ? `${count} of ${rows.length} shown` : "No file matches the filter.";
  $("filtered").textContent = count < rows.length ? `${count} of ${rows.length} files shown here.` : ""; // in print
}
function sort() {
  const by = {
    number: (a, b) => a.dataset.number - b.dataset.number,
    high: (a, b) => b.dataset.score - a.dataset.score,
    low: (a, b) => a.dataset.score - b.dataset.score,
    path: (a, b) => (a.dataset.path < b.dataset.path ? -1 : 1),
  }[$("order").value];
  list.append(...rows.sort(by));
}
const totals = [];
for (const [words, verdict] of [...verdictOf].sort((a, b) => verdicts.indexOf(a[1]) - verdicts.indexOf(b[1]))) {
  const text = `${rows.filter(row => headline(row) === words).length} ${words}`;
  totals.push(text);
  const button = document.createElement("button");
  button.textContent = text;
  button.className = verdict;
  button.setAttribute("aria-pressed", "true");
  button.onclick = () => {
    const on = !wanted.delete(words) && Boolean(wanted.add(words));
    button.setAttribute("aria-pressed", on);
    filter();
  };
  $("counts").append(button, " ");
}
$("totals").textContent = `${rows.length} file${rows.length === 1 ? "" : "s"}${totals.length ? ": " : ""}${totals.join(", ")}.`;
if ($("end")) $("end").hidden = true;
if ($("interrupted")) $("filtered").before($("interrupted"));
$("find").oninput = filter;
$("order").onchange = sort;
$("layout").onchange = () => { list.dataset.layout = $("layout").value; };
$("map").onchange = () => { list.dataset.map = $("map").value; };
$("strength").oninput = () => document.documentElement.style.setProperty("--strength", $("strength").value / 100);
const heat = document.querySelector("img.heat"), effects = document.querySelector("img.effects");
$("maps").hidden = !heat || !effects;
$("strengths").hidden = !heat && !effects;
if (!heat && effects) list.dataset.map = "effects";
$("controls").hidden = !rows.length;
$("case").hidden = false;

function showNotes() {
  const name = $("case-name").value.trim();
  $("noted").textContent = [name && `Case: ${name}`, $("case-notes").value].filter(Boolean).join("\n");
}
// Save the original page with case and notes; the copy has none of the changes that this script makes.
function saveCopy() {
  const copy = document.documentElement.cloneNode(true), part = id => copy.querySelector("#" + id);
  part("case-name").setAttribute("value", $("case-name").value);
  part("case-notes").textContent = $("case-notes").value;
  for (const id of ["case", "controls"]) part(id).hidden = true;
  for (const shown of [...copy.querySelectorAll(".row"), part("end")]) shown?.removeAttribute("hidden");
  for (const id of ["counts", "totals", "filtered", "shown"]) part(id).replaceChildren();
  copy.removeAttribute("style");
  for (const picture of copy.querySelectorAll("img")) picture.loading = "lazy";
  Object.assign(part("rows").dataset, {map: "where", layout: "cards"});
  part("rows").append(...[...copy.querySelectorAll(".row")].sort((a, b) => a.dataset.number - b.dataset.number));
  const file = new Blob(["<!doctype html>\n<!-- copy with notes -->\n", copy.outerHTML, "\n"], {type: "text/html"});
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(file), download: "hidascan-report.html"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
$("case-name").oninput = $("case-notes").oninput = showNotes;
$("keep").onclick = saveCopy;
// Pictures off the screen load last, a few at a time; a browser prints only those that are loaded.
const unloaded = [...document.images];
function loadPictures(count) {
  for (const picture of unloaded.splice(0, count)) picture.loading = "eager";
  if (unloaded.length) setTimeout(loadPictures, 50, 20);
}
addEventListener("load", () => loadPictures(0));
addEventListener("beforeprint", () => loadPictures(unloaded.length));
showNotes();
filter();
