"use strict";
const LANES = 3; // pictures on their way to the service at a time; it scans them in the order of arrival
const SILENCE = 30; // seconds after which a connection counts as lost
const FEWER = "low-fpr"; // profile with the fewest false alarms
const LINES = "application/vnd.hidascan.page+x-ndjson";
const SO_FAR = {ai: "likely AI-generated", real: "no sign of AI", inconclusive: "undecided"};
const NOT_RUNNING = "hidascan is not running. Start “hidascan serve” again, then press Retry.";
const $ = id => document.getElementById(id);
const list = $("rows"), blank = JSON.parse($("blank").textContent);
let pasted = 0;
let jobs = []; // in the order given: {file, name, state, article, row, html, heatmap, controller, done, patches, profile, stress, before}

// Words

const shown = text => text.replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, sign => "\\u" + sign.codePointAt(0).toString(16).padStart(4, "0"));
const escaped = text => text.replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`);
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : noun.endsWith("ch") ? "es" : "s"}`;
const spoken = seconds => seconds < 90 ? counted(Math.max(1, Math.round(seconds)), "second") : counted(Math.round(seconds / 60), "minute");
const isOver = job => ["done", "failed", "cancelled"].includes(job.state);
const headline = job => job.state === "cancelled" ? "Cancelled" : job.article.querySelector(".headline .verdict").textContent.trim();

function summary() {
  const counts = new Map();
  for (const job of jobs.filter(isOver)) {
    const words = job.row?.verdict ? headline(job) : job.state;
    counts.set(words, (counts.get(words) || 0) + 1);
  }
  return [...counts].map(([words, count]) => `${count} ${words}`).join(", ");
}

function showStatus(news = "") {
  const over = jobs.filter(isOver).length, running = over < jobs.length;
  const parts = [news, jobs.length ? `${over} of ${jobs.length} finished${running || jobs.length === 1 ? "" : ": " + summary()}.` : "No pictures scanned yet."];
  $("status").textContent = parts.filter(Boolean).join(" ");
  $("controls").hidden = !jobs.length;
  $("stop").hidden = !running;
  showTitle(over, running);
}

function showTitle(over, running) {
  const [one] = jobs, share = one?.patches ? Math.round(100 * one.done / one.patches) : 0;
  let title = "";
  if (jobs.length === 1) title = running ? `${share} % of ${one.name}` : `${headline(one)}: ${one.name}`;
  else if (jobs.length) title = running ? `${over} of ${jobs.length} scanned` : summary();
  document.title = (title ? title + " - " : "") + "hidascan";
}

// Files in: picked, dropped, pasted

function take(files) {
  $("problem").textContent = "";
  for (const file of files) {
    const job = {file, name: shown(file.place || file.webkitRelativePath || file.name), profile: $("fewer")?.checked ? FEWER : "", stress: false, before: null, state: "waiting", article: document.createElement("article")};
    list.append(job.article);
    jobs.push(job);
    reset(job);
  }
  showStatus();
  startNext();
}

function takeFolder(files) {
  const {suffixes, own} = document.body.dataset;
  const endsWith = (file, ends) => ends.split(",").some(one => file.name.toLowerCase().endsWith(one));
  const isPicture = file => !file.name.startsWith(".") && (file.type.startsWith("image/") || endsWith(file, suffixes));
  const foreign = files.filter(file => !endsWith(file, own)), heatmaps = files.length - foreign.length;
  const pictures = foreign.filter(isPicture), others = foreign.length - pictures.length;
  take(pictures);
  const news = [];
  if (!pictures.length) news.push("No pictures in this folder.");
  else if (others) news.push(`Skipped ${counted(others, "file")} in the folder without the name of a picture; drop such files themselves to scan them.`);
  if (heatmaps) news.push(`Skipped ${counted(heatmaps, "file")} named like a heatmap of hidascan.`);
  $("problem").textContent = news.join(" ");
}

async function filesOf(entry, lost) {
  const files = [], asked = ask => new Promise(ask);
  try {
    if (entry.isFile) {
      const file = await asked((resolve, reject) => entry.file(resolve, reject));
      file.place = entry.fullPath.slice(1);
      return [file];
    }
    const reader = entry.createReader();
    for (;;) { // a reader returns at most a hundred entries at a time
      const some = await asked((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return files;
      for (const one of some.sort((a, b) => a.name < b.name ? -1 : 1)) files.push(...await filesOf(one, lost));
    }
  } catch {
    lost.push(shown(entry.name));
    return files;
  }
}

async function takeFrom(data, bitmaps = []) {
  const entries = [...data.items].map(item => item.kind === "file" && item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...data.files], text = data.getData("text/uri-list") || data.getData("text/plain");
  if (entries.some(entry => entry.isDirectory)) {
    const lost = [];
    takeFolder((await Promise.all(entries.map(entry => filesOf(entry, lost)))).flat());
    if (lost.length) $("problem").textContent += ` Could not be read: ${lost.join(", ")}.`;
    return;
  }
  if (files.length) {
    for (const file of files) if (bitmaps.some(one => one.name === file.name && one.size === file.size)) file.place = `pasted ${++pasted}.png`;
    take(files);
    if (bitmaps.length) $("problem").textContent = "A pasted picture is a copy without origin data: to check those, save the file and drop it here.";
    return;
  }
  $("problem").textContent = /^\s*(https?|data|blob|file):/i.test(text) ? "This is a link, not a file: save the picture, then drop the file here." : "This is not a file: drop or paste a picture.";
}

// A job, from waiting to its result

function reset(job) {
  const article = $("job").content.firstElementChild.cloneNode(true);
  article.querySelector(".path").textContent = job.name;
  article.querySelector("progress").setAttribute("aria-label", "scanning " + job.name);
  article.querySelector(".stop").setAttribute("aria-label", "Cancel " + job.name);
  article.querySelector(".stop").onclick = () => cancel(job);
  Object.assign(job, {state: "waiting", row: null, html: null, heatmap: null, controller: null, heard: false, silent: 0, done: 0, patches: 0});
  const hadFocus = job.article.contains(document.activeElement);
  replace(job, article);
  setState(job, "waiting", "Waiting");
  if (hadFocus) article.querySelector(".stop").focus();
}

function replace(job, article) {
  job.article.replaceWith(article);
  job.article = article;
}

function setState(job, state, words) {
  job.state = job.article.dataset.state = state;
  job.article.querySelector(".state").textContent = words;
}

function startNext() {
  const active = jobs.filter(job => job.controller && !isOver(job)).length;
  for (const job of jobs.filter(job => job.state === "waiting" && !job.controller).slice(0, LANES - active)) scan(job);
}

async function scan(job) {
  const controller = job.controller = new AbortController(); // a retry has another one
  const current = () => job.controller === controller && !isOver(job);
  try {
    await receive(job, controller.signal, current);
    if (current()) fail(job, "hidascan stopped during the scan. Start “hidascan serve” again, then press Retry.");
  } catch (error) {
    if (current()) fail(job, error.reason || NOT_RUNNING);
  }
  startNext();
}

async function receive(job, signal, current) {
  const answer = await posted("v1/scan" + query(job), [["file", job.file]], signal, "text/event-stream, " + LINES);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    Object.assign(job, {heard: true, silent: 0});
    if (done || !current()) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) if (!event.startsWith(":")) handle(job, ...parsed(event));
  }
}

function query(job) {
  const chosen = new URLSearchParams({...(job.profile && {profile: job.profile}), ...(job.stress && {stress: "true"})}).toString();
  return chosen && "?" + chosen;
}

function parsed(event) {
  const lines = event.split("\n");
  return [lines[0].slice("event: ".length), JSON.parse(lines[1].slice("data: ".length))];
}

function checkedToken() {
  const token = $("token")?.value || "";
  if (/[^\x20-\x7e]/.test(token)) throw {reason: "The token contains an invisible or foreign character: type it again."};
  return token;
}

async function posted(address, parts, signal, accept = "*/*", tries = 20) {
  const form = new FormData(), token = checkedToken();
  for (const [name, file, ...rest] of parts) {
    await file.slice(0, 1).arrayBuffer().catch(() => { throw {reason: "The file cannot be read: it was moved or changed, or it is a folder, whose pictures you can drop instead."}; });
    form.append(name, file, ...rest);
  }
  const headers = {Accept: accept, ...(token ? {Authorization: "Bearer " + token} : {})};
  const answer = await fetch(address, {method: "POST", body: form, headers, signal});
  if (answer.ok) return answer;
  if (answer.status === 429 && tries) {
    await new Promise(wake => setTimeout(wake, 1000 * (Number(answer.headers.get("Retry-After")) || 5)));
    signal?.throwIfAborted();
    return posted(address, parts, signal, accept, tries - 1);
  }
  throw {reason: (await answer.json().catch(() => ({}))).error || `The service, or a proxy before it, answered ${answer.status} ${answer.statusText}`.trim()};
}

function handle(job, kind, event) {
  if (isOver(job)) return;
  if (kind === "failed") fail(job, event.error);
  else if (kind === "row") finish(job, event);
  else if (event.state === "scanning") showProgress(job, event);
}

function showProgress(job, event) {
  const bar = job.article.querySelector("progress"), first = job.article.querySelector(".first");
  job.done = event.done;
  job.patches = event.patches;
  job.leftAt = event.seconds_left === null ? null : Date.now() + 1000 * event.seconds_left;
  if (event.patches) bar.value = event.done / event.patches;
  setState(job, "scanning", progressWords(job));
  if (event.verdict && first.hidden) {
    first.hidden = false;
    first.textContent = `First impression: ${SO_FAR[event.verdict]} (score ${event.score.toFixed(3)} after ${counted(event.done, "patch")}). The rest of the picture can change this.`;
    showStatus(`${job.name}: first impression: ${SO_FAR[event.verdict]}.`);
  }
  showTitle(jobs.filter(isOver).length, true);
}

function progressWords(job) {
  const done = job.patches ? `Scanning, ${job.done} of ${counted(job.patches, "patch")}` : "Scanning";
  return job.leftAt ? `${done}, about ${spoken(Math.max(0, job.leftAt - Date.now()) / 1000)} left` : done;
}

setInterval(() => {
  for (const job of jobs.filter(job => job.heard && !isOver(job))) {
    if (job.state === "scanning") setState(job, "scanning", progressWords(job));
    job.silent = (job.silent || 0) + 1; // the service writes every second
    if (job.silent > SILENCE) job.controller.abort();
  }
}, 1000);

function finish(job, line) {
  if (job.before && line.row.status !== "ok") return restore(job, line.row.error);
  Object.assign(job, {row: {...line.row, path: job.name}, html: named(line.html, job.name), heatmap: line.heatmap, before: null});
  settle(job, line.row.status === "ok" ? "done" : "failed");
}

// A result with the path of the file in its folder: the service knows only its name.
function named(html, name) {
  const shell = document.createElement("template");
  shell.innerHTML = html;
  const article = shell.content.firstElementChild;
  article.dataset.path = article.querySelector(".path bdi").textContent = name;
  return article.outerHTML + "\n";
}

// Test a picture again, on copies, too; its result is kept in case that this is cancelled or fails.
function testCopies(job) {
  job.before = {row: job.row, html: job.html, heatmap: job.heatmap, stress: false, before: null};
  job.stress = true;
  reset(job);
  showStatus();
  startNext();
}

function restore(job, reason) {
  Object.assign(job, job.before);
  settle(job, "done");
  $("problem").textContent = `${job.name}: the copies were not tested (${reason}).`;
}

function fail(job, reason) {
  if (job.before) return restore(job, reason);
  Object.assign(job, unscanned(job, reason));
  settle(job, "failed");
}

function cancel(job) {
  if (isOver(job)) return;
  job.controller?.abort();
  if (job.before) restore(job, "cancelled");
  else {
    Object.assign(job, unscanned(job, "cancelled"));
    settle(job, "cancelled");
  }
  startNext();
}

// The row of a file that never reached the scanner.
function unscanned(job, reason) {
  const words = reason[0].toUpperCase() + reason.slice(1).replace(/\.$/, "");
  const html = blank.html.replaceAll("%NAME%", () => escaped(job.name)).replaceAll("%REASON%", () => escaped(shown(words)));
  const summary = {...blank.row.summary, sentence: blank.row.summary.sentence.replace("%REASON%", () => words)};
  return {row: {...blank.row, path: job.name, error: reason, summary}, html, heatmap: null};
}

function settle(job, state) {
  const hadFocus = job.article.contains(document.activeElement);
  const shell = document.createElement("template");
  shell.innerHTML = job.html;
  replace(job, shell.content.firstElementChild);
  job.state = job.article.dataset.state = state;
  if (state === "cancelled") job.article.querySelector(".verdict").textContent = "Cancelled";
  furnish(job);
  if (hadFocus) job.article.querySelector("button")?.focus();
  showStatus(`${job.name}: ${headline(job)}.`);
}

function button(words, label, action) {
  const made = document.createElement("button");
  made.textContent = words;
  made.setAttribute("aria-label", label);
  made.onclick = action;
  return made;
}

function furnish(job) {
  const article = job.article, picture = article.querySelector(".picture"), tools = document.createElement("div");
  const path = article.querySelector(".path");
  if (!article.querySelector("h1, h2, h3, [role=heading]")) {
    path.setAttribute("role", "heading");
    path.setAttribute("aria-level", "2");
  }
  tools.className = "tools";
  if (job.state !== "done") tools.append(button("Retry", "Retry " + job.name, () => { reset(job); showStatus(); startNext(); }));
  if (picture?.querySelector("img")) picture.append(button("", `Show ${job.name} at full size`, () => zoom(job)));
  if (job.heatmap) tools.append(button("Download heatmap", "Download the heatmap of " + job.name, event => saveFigure(job, event.target)));
  if (job.state === "done" && !Object.keys(job.row.stress).length) tools.append(button("Test again on re-saved and shrunk copies", `Test ${job.name} again on re-saved and shrunk copies`, () => testCopies(job)));
  if (tools.children.length) article.lastElementChild.append(tools);
  const heat = article.querySelector("img.heat");
  if (heat) $("strengths").hidden = false;
  if (heat && !list.style.getPropertyValue("--strength")) $("strength").value = 100 * getComputedStyle(heat).opacity;
  if (article.querySelector("img.effects")) $("maps").hidden = false;
  for (const image of article.querySelectorAll("img")) image.loading = "eager"; // or some browsers do not print them
}

// The picture at full size: `x` and `y` are the place of its corner in the view, in px

const view = {scale: 1, x: 0, y: 0, width: 1, height: 1, pointers: new Map()};

async function zoom(job) {
  const picture = new Image(), layers = job.article.querySelectorAll(".picture :is(img, svg).layer:not(.effects)");
  picture.alt = job.name;
  $("full").replaceChildren(picture);
  $("full").hidden = true;
  $("zoom-problem").textContent = "";
  $("overlay").hidden = !layers.length;
  $("zoom").showModal();
  try {
    await load(picture, job);
  } catch (error) {
    if (picture.parentNode === $("full")) $("zoom-problem").textContent = error.reason || NOT_RUNNING.replace("Retry", "the picture");
    return;
  }
  if (picture.parentNode !== $("full")) return URL.revokeObjectURL(picture.src); // closed meanwhile
  [view.width, view.height] = uprightSides(job.row);
  for (const layer of layers) $("full").append(layer.cloneNode(true));
  $("full").hidden = false;
  fit();
}

const uprightSides = row => row.orientation > 4 ? [row.height, row.width] : [row.width, row.height];

// A format that browsers show is shown from the file itself; any other, a very large one, and one that browsers would not
// show in the way in which it was scanned, as the service draws it: damaged, animated, transparent (scanned on white), or
// turned in a format whose orientation they ignore.
async function load(picture, job) {
  const {format, width, height, orientation} = job.row;
  const differs = job.row.notes.some(one => /^only the |^transparency/.test(one)) || orientation !== 1 && format !== "JPEG";
  let source = job.file;
  if (!["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"].includes(format) || width * height > 40e6 || differs) source = await (await posted("v1/preview", [["file", job.file]])).blob();
  const show = async blob => {
    picture.src = URL.createObjectURL(blob);
    picture.classList.toggle("copy", blob !== job.file);
    await picture.decode();
    if (blob === job.file && String([picture.naturalWidth, picture.naturalHeight]) !== String(uprightSides(job.row))) throw {};
  };
  try {
    await show(source);
  } catch (error) {
    if (source !== job.file) throw {reason: "This picture cannot be displayed."};
    await show(await (await posted("v1/preview", [["file", job.file]])).blob());
  }
}

function place() {
  const {clientWidth, clientHeight} = $("view"), width = view.width * view.scale, height = view.height * view.scale;
  const bounded = (at, side, room) => side <= room ? (room - side) / 2 : Math.min(0, Math.max(room - side, at));
  view.x = bounded(view.x, width, clientWidth);
  view.y = bounded(view.y, height, clientHeight);
  Object.assign($("full").style, {width: width + "px", height: height + "px", transform: `translate(${view.x}px, ${view.y}px)`});
  const picture = $("full").firstChild;
  $("scale").textContent = Math.round(100 * view.scale) + " %" + (picture?.classList.contains("copy") ? ` (of a JPEG copy, ${picture.naturalWidth} px wide)` : "");
}

function zoomTo(scale, x = $("view").clientWidth / 2, y = $("view").clientHeight / 2) {
  const to = Math.max(.02, Math.min(16, scale)), factor = to / view.scale;
  view.x = x - (x - view.x) * factor;
  view.y = y - (y - view.y) * factor;
  view.scale = to;
  place();
}

function fit() {
  view.scale = Math.min(1, $("view").clientWidth / view.width, $("view").clientHeight / view.height);
  place();
}

function drag(event) {
  const before = [...view.pointers.values()], last = view.pointers.get(event.pointerId);
  if (!last) return;
  const box = $("view").getBoundingClientRect(), spread = points => Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y);
  view.pointers.set(event.pointerId, {x: event.clientX, y: event.clientY});
  view.x += (event.clientX - last.x) / before.length;
  view.y += (event.clientY - last.y) / before.length;
  if (before.length < 2) return place();
  const now = [...view.pointers.values()];
  zoomTo(view.scale * spread(now) / Math.max(1, spread(before)), (now[0].x + now[1].x) / 2 - box.left, (now[0].y + now[1].y) / 2 - box.top);
}

function moveByKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return; // the browser's own
  const step = 60, moves = {ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]}[event.key];
  const scales = {"+": view.scale * 1.4, "=": view.scale * 1.4, "-": view.scale / 1.4, 1: 1};
  if (moves) { view.x += moves[0]; view.y += moves[1]; place(); }
  else if (event.key in scales) zoomTo(scales[event.key]);
  else if (event.key === "0") fit();
  else return;
  event.preventDefault();
}

// Downloads

function save(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function saveFigure(job, pressed) {
  const described = new Blob([JSON.stringify({row: job.row, heatmap: job.heatmap})], {type: "application/json"});
  pressed.disabled = true;
  try {
    save(job.name + ".heatmap.png", await (await posted("v1/figure", [["file", job.file], ["finding", described, "finding.json"]])).blob());
    $("problem").textContent = "";
  } catch (error) {
    $("problem").textContent = `${job.name}: ${error.reason || NOT_RUNNING.replace("Retry", "the button")}`;
  }
  pressed.disabled = false;
}

const withUnfinished = job => job.row ? job : job.before || unscanned(job, "not scanned yet");

async function saveReport() {
  const made = new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const chosen = jobs.some(job => job.profile) ? "&profile=" + FEWER : "";
  try {
    const token = checkedToken();
    const answer = await fetch("v1/report-frame?made=" + encodeURIComponent(made) + chosen, {headers: token ? {Authorization: "Bearer " + token} : {}});
    const frame = await answer.json().catch(() => ({error: `The service answered ${answer.status} ${answer.statusText}`}));
    if (!answer.ok) throw {reason: frame.error};
    const kept = job => (job.before || job).row, other = (job, key) => kept(job).scan[key] !== frame.scan[key];
    if (jobs.some(job => kept(job)?.status === "ok" && (["version", "weights", "precision", "c2pa_trust", "max_pixels"].some(key => other(job, key)) || !job.profile && other(job, "profile")))) throw {reason: "Some pictures were scanned before hidascan was restarted with other settings. Scan them again, or download the data (JSON)."};
    const rows = jobs.map((job, place) => withUnfinished(job).html.replace('data-number="0"', `data-number="${place + 1}"`));
    save("hidascan.html", new Blob([frame.head, ...rows, frame.tail], {type: "text/html"}));
  } catch (error) {
    $("problem").textContent = error.reason || NOT_RUNNING.replace("Retry", "the button");
  }
}

function clear() {
  const running = jobs.filter(job => !isOver(job));
  jobs = [];
  for (const job of running) job.controller?.abort();
  for (const job of running) job.state = "cancelled";
  list.replaceChildren();
  $("maps").hidden = $("strengths").hidden = true;
  $("map").value = list.dataset.map = "where";
  $("problem").textContent = "";
  showStatus();
  $("pick").focus();
}

// Events

document.documentElement.classList.add("js");
$("clear").onclick = clear;
$("stop").onclick = () => { jobs.filter(job => !isOver(job)).reverse().forEach(cancel); $("clear").focus(); };
$("jsonl").onclick = () => save("hidascan.jsonl", new Blob(jobs.map(job => JSON.stringify(withUnfinished(job).row) + "\n"), {type: "application/x-ndjson"}));
$("report").onclick = saveReport;
$("map").onchange = () => { list.dataset.map = $("map").value; };
$("strength").oninput = () => list.style.setProperty("--strength", $("strength").value / 100);
$("strength2").oninput = () => $("full").style.setProperty("--strength", $("strength2").value / 100);
$("full").style.setProperty("--strength", $("strength2").value / 100);
$("pick").onchange = () => { take([...$("pick").files]); $("pick").value = ""; };
$("pick-folder").onchange = () => { takeFolder([...$("pick-folder").files]); $("pick-folder").value = ""; };
for (const name of ["dragenter", "dragover"]) addEventListener(name, event => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", event => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", event => { event.preventDefault(); $("drop").classList.remove("over"); takeFrom(event.dataTransfer); });
addEventListener("paste", event => {
  const bitmaps = [...event.clipboardData.files].filter(file => file.name === "image.png" && Date.now() - file.lastModified < 10000); // as browsers name and date a copied bitmap
  if (event.target.id !== "token") takeFrom(event.clipboardData, bitmaps);
});
if (!["localhost", "127.0.0.1", "[::1]"].includes(location.hostname) && $("privacy").textContent.includes("Nothing leaves"))
  $("privacy").textContent = "Pictures are sent to the computer that runs this service" + ($("privacy").textContent.includes("--keep") ? " and stored there." : " and deleted there after the scan."); // behind a proxy that rewrites Host
$("more").onclick = () => zoomTo(view.scale * 1.4);
$("less").onclick = () => zoomTo(view.scale / 1.4);
$("fit").onclick = fit;
$("actual").onclick = () => zoomTo(1);
$("closed").onclick = () => $("zoom").close();
$("zoom").onclose = () => { URL.revokeObjectURL($("full").firstChild?.src); $("full").replaceChildren(); view.pointers.clear(); };
$("view").onkeydown = moveByKey;
$("view").onpointerdown = event => { $("view").setPointerCapture(event.pointerId); view.pointers.set(event.pointerId, {x: event.clientX, y: event.clientY}); };
$("view").onpointermove = drag;
$("view").onpointerup = $("view").onpointercancel = event => view.pointers.delete(event.pointerId);
$("view").addEventListener("wheel", event => {
  const box = $("view").getBoundingClientRect();
  event.preventDefault();
  zoomTo(view.scale * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
}, {passive: false});
addEventListener("beforeunload", event => { if (jobs.length) event.preventDefault(); }); // results exist only here
addEventListener("resize", () => { if ($("zoom").open) place(); });
showStatus();
