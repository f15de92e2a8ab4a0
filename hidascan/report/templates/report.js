// The controls of a report; without this script, every row is shown in full.
const $ = id => document.getElementById(id);
const list = $("rows"), rows = [...document.querySelectorAll(".row")];
const headlines = {ai: "Likely AI-generated", inconclusive: "Cannot tell", real: "No sign of AI found", error: "Could not be scanned"};
const wanted = new Set(Object.keys(headlines));

function filter() {
  const part = $("find").value.toLowerCase();
  let count = 0;
  for (const row of rows) {
    row.hidden = !wanted.has(row.dataset.verdict) || !row.dataset.path.toLowerCase().includes(part);
    count += !row.hidden;
  }
  $("shown").textContent = count || !rows.length ? `${count} of ${rows.length} shown` : "Nothing matches: no file shown.";
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
for (const [verdict, headline] of Object.entries(headlines)) {
  const count = rows.filter(row => row.dataset.verdict === verdict).length;
  if (!count) continue;
  totals.push(`${count} ${headline}`);
  const button = document.createElement("button");
  button.textContent = `${count} ${headline}`;
  button.className = verdict;
  button.setAttribute("aria-pressed", "true");
  button.onclick = () => {
    const on = !wanted.delete(verdict) && Boolean(wanted.add(verdict));
    button.setAttribute("aria-pressed", on);
    filter();
  };
  $("counts").append(button, " ");
}
$("totals").textContent = `${rows.length} file${rows.length === 1 ? "" : "s"}${totals.length ? ": " : ""}${totals.join(", ")}.`;
$("end")?.remove();
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
filter();
