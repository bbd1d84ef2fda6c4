// The page: files in, jobs of the API, results out.

import * as api from "./api.js";
import { liveCurve } from "./draw.js";
import { record } from "./mic.js";
import { showResult } from "./result.js";
import { WORDS, clock, csv, download, el, title, wrong } from "./words.js";

const $ = (id) => document.getElementById(id);
const AT_ONCE = 2; // uploads under way; the others wait here
let points = [];
let items = []; // {id, name, file, url, state, rows, abort, step}
let current = null; // {item, index of the row}
let sort = { column: "order", down: false };
let stopRecording = null;

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// ---------------------------------------------------------------- tabs

const tabs = [$("tab-analyse"), $("tab-about")];

function openTab(tab, focus = false) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  if (focus) tab.focus();
}

tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => openTab(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") openTab(tabs[1 - i], true);
  });
});

// ---------------------------------------------------------------- the detector

async function loadModel() {
  for (;;) {
    try {
      const model = await api.json("/v1/model");
      points = model.operating_points;
      $("point").replaceChildren(...points.map((p) => el("option", { value: p.name, selected: p.name === model.default }, title(p))));
      $("point").disabled = false;
      showPoint();
      showFacts(model);
      break;
    } catch (error) {
      if (error.status !== 503 && error.status !== 0) { say(error.message, true); return; }
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  // Written by the server from Markdown in which markup is switched off.
  $("card").innerHTML = await (await api.call("/v1/model/card")).text();
  for (const image of $("card").querySelectorAll("[data-plot]")) image.src = URL.createObjectURL(await (await api.call(image.dataset.plot)).blob());
  const names = await api.json("/v1/examples");
  $("examples").append(...names.map((name) => el("button", { type: "button", class: "button quiet", onclick: () => addExample(name) }, name.replace("/", ": ").replace(/\.\w+$/, "").replaceAll("_", " "))));
  $("examples").hidden = names.length === 0;
}

const chosen = () => points.find((p) => p.name === $("point").value);

function showPoint() { $("point-text").textContent = wrong(chosen()); }

function showFacts(model) {
  const { facts, limits } = model;
  const pairs = [["Name", facts.name], ["Parameters", facts.parameters?.toLocaleString("en") ?? "exported"], ["Runs on", facts.device],
    ["Window", `${facts.window_s} s every ${facts.hop_s} s`], ["Languages", facts.languages ? facts.languages.join(", ") : "not recorded"],
    ["Longest recording", clock(limits.max_job_duration_s)], ["Largest upload", `${limits.max_upload_mb} MB`]];
  $("facts").replaceChildren(el("dl", { class: "facts" }, ...pairs.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value))))));
  const cell = (value, interval) => value === null ? "not recorded" : `${(100 * value).toFixed(1)} %` + (interval ? ` [${(100 * interval.low).toFixed(1)}, ${(100 * interval.high).toFixed(1)}]` : "");
  const head = el("thead", {}, el("tr", {}, ...["Operating point", "P(fake) from", "real called fake", "fakes missed", "recordings", "remarks"].map((name) => el("th", { scope: "col" }, name))));
  $("points").replaceChildren(head, el("tbody", {}, ...points.map((p) => el("tr", {}, el("td", {}, title(p)), el("td", {}, p.threshold.toFixed(3) + (p.real_below < p.threshold ? `; real below ${p.real_below.toFixed(3)}` : "")),
    el("td", {}, cell(p.fpr, p.fpr_interval)), el("td", {}, cell(p.fnr, p.fnr_interval)), el("td", {}, p.n_real ? `${p.n_real} real, ${p.n_fake} fake` : ""), el("td", {}, p.note ?? (p.name === "abstain" ? p.rule : ""))))));
}

$("point").addEventListener("change", async () => {
  showPoint();
  await Promise.all(items.filter((item) => item.state === "done" && item.id).map(async (item) => {
    try { item.rows = (await api.job(item.id, $("point").value, 0)).rows; } catch (error) { say(`Decided as before: ${error.message}`, true); }
  }));
  render();
  if (current) { show(current.item, current.index); say(`Decided by ${title(chosen())}.`); }
});

// ---------------------------------------------------------------- files in

function add(files) {
  for (const [file, name] of files) items.push({ name, file, url: URL.createObjectURL(file), state: "waiting", rows: [], step: "waiting", progress: null, abort: new AbortController() });
  say("");
  render();
  pump();
}

function pump() {
  while (items.filter((item) => item.state === "busy").length < AT_ONCE) {
    const next = items.find((item) => item.state === "waiting");
    if (!next) return;
    next.state = "busy";
    run(next).finally(pump);
  }
}

async function run(item) {
  const progress = (step, share) => { Object.assign(item, { step, progress: share }); renderQueue(); };
  try {
    let answer = null;
    for (let tries = 0; answer === null; tries++) {
      try {
        answer = await api.startJob(item.file, item.name, $("channels").checked, (share) => progress("uploading", share), item.abort.signal);
      } catch (error) {
        if (![429, 503].includes(error.status) || tries > 60) throw error;
        progress("the server is busy; waiting", null);
        await new Promise((resolve) => setTimeout(resolve, 2000));
      }
    }
    item.id = answer.id;
    while (answer.status !== "done") {
      const known = answer.files.map((f) => f.progress).filter((p) => p !== null);
      progress("listening", known.length ? known.reduce((a, b) => a + b) / answer.files.length : null);
      answer = await api.job(item.id, $("point").value, 1, item.abort.signal);
    }
    item.rows = (await api.job(item.id, $("point").value, 0, item.abort.signal)).rows;
    item.state = "done";
  } catch (error) {
    if (item.state === "gone") return;
    item.state = "done";
    item.rows = [failed(item.name, error.message)];
  }
  finished(item);
}

function failed(name, text) {
  return { file: name, channel: null, fake_probability: null, prediction: null, verdict: "cannot_tell", threshold: chosen()?.threshold ?? 0.5, operating_point: chosen(),
    duration_s: null, speech_s: null, windows: 0, max_window: null, agreeing_windows: null, segments: [], window_scores: [], warnings: [], sentence: "", error: text, picture: null };
}

function finished(item) {
  render();
  const left = items.filter((other) => other.state !== "done").length;
  const row = item.rows[0];
  say(`${item.name}: ${WORDS[row.verdict]}${row.fake_probability === null ? `, ${row.error}` : `, P(fake) ${row.fake_probability.toFixed(2)}`}. ${left ? `${left} to go.` : ""}`);
  if (!current) { show(item, 0); if (items.length === 1) $("result").focus({ preventScroll: true }); }
}

$("files").addEventListener("change", (event) => { add([...event.target.files].map((file) => [file, file.name])); event.target.value = ""; });

const drop = $("drop");
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault()); // a missed drop must not leave the page
drop.addEventListener("drop", (event) => { event.preventDefault(); add([...event.dataTransfer.files].map((file) => [file, file.name])); });

async function addExample(name) {
  try {
    const blob = await (await api.call(`/v1/examples/${name}`)).blob();
    add([[blob, name.split("/").pop()]]);
  } catch (error) { say(error.message, true); }
}

// ---------------------------------------------------------------- microphone

$("record").addEventListener("click", async () => {
  const text = $("record-text");
  if (stopRecording) {
    const stop = stopRecording;
    stopRecording = null;
    text.textContent = "Record";
    $("record").classList.remove("recording");
    $("live").hidden = true;
    const blob = await stop();
    const ending = blob.type.includes("mp4") ? "m4a" : blob.type.includes("ogg") ? "ogg" : "webm";
    add([[blob, `recording ${new Date().toLocaleTimeString("en-GB").replaceAll(":", ".")}.${ending}`]]);
    return;
  }
  try {
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("the browser gives pages the microphone over https or on localhost only");
    const began = performance.now(), values = [];
    stopRecording = await record({
      point: $("point").value,
      onLevel: (peak) => { $("live-level").style.width = `${Math.min(100, 100 * Math.sqrt(peak))}%`; $("live-time").textContent = clock((performance.now() - began) / 1000); },
      onVerdict: (v) => {
        values.push(v.fake_probability);
        liveCurve($("live-curve"), values);
        $("live-text").textContent = `So far: ${v.prediction === "uncertain" ? "cannot tell" : v.prediction}, P(fake) ${v.fake_probability.toFixed(2)}`;
      },
    });
    $("live-text").textContent = "Listening. Speak for a few seconds.";
    liveCurve($("live-curve"), []);
    text.textContent = "Stop and analyse";
    $("record").classList.add("recording");
    $("live").hidden = false;
  } catch (error) {
    say(`The microphone cannot be used: ${error.message}.`, true);
  }
});

// ---------------------------------------------------------------- results out

function render() { renderQueue(); renderTable(); }

function renderQueue() {
  const open = items.filter((item) => item.state !== "done");
  $("queue").hidden = open.length === 0;
  const list = $("queue").firstElementChild;
  const known = new Map([...list.children].map((node) => [node.item, node]));
  for (const [item, node] of known) if (!open.includes(item)) node.remove();
  for (const item of open) {
    let node = known.get(item);
    if (!node) { // kept while it lasts, so that the focus is not lost
      node = el("li", {}, el("span", { class: "name" }, item.name), el("button", { type: "button", class: "button quiet", "aria-label": `Cancel ${item.name}`, onclick: () => cancel(item) }, "Cancel"),
        el("progress", { max: 1, "aria-label": `Progress of ${item.name}` }), el("span", { class: "step" }));
      node.item = item;
      list.append(node);
    }
    const bar = node.querySelector("progress");
    if (item.progress === null) bar.removeAttribute("value"); else bar.value = item.progress;
    node.querySelector(".step").textContent = item.step + (item.progress === null ? "" : ` ${Math.round(100 * item.progress)} %`);
  }
}

function cancel(item) {
  item.state = "gone";
  item.abort.abort();
  if (item.id) api.endJob(item.id);
  URL.revokeObjectURL(item.url);
  items = items.filter((other) => other !== item);
  say(`${item.name} was cancelled.`);
  render();
}

const COLUMNS = [
  ["order", "No.", (e) => e.order, "n"], ["file", "File", (e) => e.row.file.toLowerCase(), ""], ["verdict", "Verdict", (e) => e.row.verdict, ""],
  ["p", "P(fake)", (e) => e.row.fake_probability ?? -1, "n"], ["length", "Length", (e) => e.row.duration_s ?? -1, "n"],
  ["windows", "Agree", (e) => e.row.agreeing_windows ?? -1, "n"], ["remarks", "Remarks", (e) => e.row.error ?? "", ""],
];

function entries() {
  return items.filter((item) => item.state === "done").flatMap((item) => item.rows.map((row, index) => ({ item, index, row }))).map((e, i) => ({ ...e, order: i + 1 }));
}

function renderTable() {
  const all = entries();
  $("all").hidden = all.length < 2;
  if (all.length < 2) return;
  const [, , value] = COLUMNS.find(([column]) => column === sort.column);
  all.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.order - b.order) * (sort.down ? -1 : 1));
  const focused = document.activeElement?.dataset?.column;
  const head = COLUMNS.map(([column, text, , kind]) => el("th", { scope: "col", class: kind, "aria-sort": sort.column === column ? (sort.down ? "descending" : "ascending") : null },
    el("button", { type: "button", "data-column": column, onclick: () => { sort = { column, down: sort.column === column && !sort.down }; renderTable(); } }, text)));
  const lines = all.map((e) => el("tr", { class: current?.item === e.item && current.index === e.index ? "current" : null },
    el("td", { class: "n" }, String(e.order)),
    el("td", {}, el("button", { type: "button", class: "link", onclick: () => { show(e.item, e.index); $("result").focus({ preventScroll: true }); $("result").scrollIntoView({ block: "start" }); } }, e.row.file + (e.row.channel === null ? "" : `, channel ${e.row.channel + 1}`))),
    el("td", {}, el("span", { class: `word ${e.row.verdict}` }, e.row.error && !e.row.error.startsWith("no_speech") ? "Failed" : WORDS[e.row.verdict])),
    el("td", { class: "n" }, e.row.fake_probability === null ? "" : e.row.fake_probability.toFixed(3)),
    el("td", { class: "n" }, e.row.duration_s === null ? "" : clock(e.row.duration_s)),
    el("td", { class: "n" }, e.row.agreeing_windows === null ? "" : `${Math.round(100 * e.row.agreeing_windows)} %`),
    el("td", {}, e.row.error ?? e.row.warnings.map((w) => w.code.replaceAll("_", " ")).join(", "))));
  $("table").tHead.replaceChildren(el("tr", {}, ...head));
  $("table").tBodies[0].replaceChildren(...lines);
  if (focused) $("table").querySelector(`[data-column="${focused}"]`)?.focus();
}

function show(item, index) {
  current = { item, index };
  showResult($("result"), item.rows[Math.min(index, item.rows.length - 1)], points, item.url, () => { $("files").focus(); window.scrollTo({ top: 0 }); });
  renderTable();
}

const plain = () => entries().map(({ row: { picture, ...rest } }) => rest);
$("all-csv").addEventListener("click", () => download("scores.csv", "text/csv", csv(plain())));
$("all-json").addEventListener("click", () => download("scores.json", "application/json", JSON.stringify(plain(), null, 1)));
$("clear").addEventListener("click", () => {
  for (const item of items) { if (item.id) api.endJob(item.id); URL.revokeObjectURL(item.url); item.state = "gone"; item.abort.abort(); }
  items = [];
  current = null;
  $("result").hidden = true;
  $("result").replaceChildren();
  render();
  say("Cleared.");
  $("files").focus();
});
addEventListener("pagehide", () => items.forEach((item) => item.id && api.endJob(item.id)));

loadModel();
