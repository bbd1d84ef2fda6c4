// One recording's result.

import { gauge, timeline } from "./draw.js";
import { WORDS, clock, csv, download, el, says, title, two, wrong } from "./words.js";

const ICONS = {
  fake: "M12 3 2.5 20h19zM12 10v4.5M12 17.5v.01",
  real: "M4 12.5l5 5L20 6.5",
  cannot_tell: "M8.5 9a3.5 3.5 0 1 1 5 3.2c-1 .6-1.5 1.2-1.5 2.3M12 18.5v.01",
};

const MOST_PASSAGES = 40;

function badge(row) {
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[row.verdict]);
  icon.append(path);
  return el("span", { class: `badge ${row.verdict}` }, icon, WORDS[row.verdict]);
}

function facts(row) {
  const agreeing = row.agreeing_windows === null ? null : `${Math.round(row.agreeing_windows * row.windows)} of ${row.windows}`;
  const pairs = [
    ["P(fake)", row.fake_probability === null ? null : row.fake_probability.toFixed(3)],
    ["Threshold", row.threshold.toFixed(3)],
    ["Length", row.duration_s === null ? null : clock(row.duration_s, true)],
    ["Speech", row.speech_s === null ? null : clock(row.speech_s, true)],
    ["Windows agree", agreeing],
    ["Highest window", row.max_window === null ? null : row.max_window.toFixed(3)],
  ];
  return el("dl", { class: "facts" }, ...pairs.filter(([, value]) => value !== null).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function windowTable(row) {
  if (!row.window_scores.length) return null;
  const lines = row.window_scores.map((w, i) => el("tr", {},
    el("td", { class: "n" }, String(i + 1)), el("td", { class: "n" }, clock(w.start_s, true)), el("td", { class: "n" }, clock(w.stop_s, true)),
    el("td", { class: "n" }, w.fake_probability.toFixed(3)),
    el("td", {}, side(w.fake_probability, row))));
  const head = ["window", "from", "to", "P(fake)"].map((name) => el("th", { scope: "col", class: "n" }, name));
  return el("details", {}, el("summary", {}, `Windows (${row.window_scores.length})`),
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Windows" },
      el("table", {}, el("thead", {}, el("tr", {}, ...head, el("th", { scope: "col" }, "threshold"))), el("tbody", {}, ...lines))));
}

function side(value, row) {
  const [kind, text] = value >= row.threshold ? ["fake", "reached"] : value < row.operating_point.real_below ? ["real", "below"] : ["cannot_tell", "between"];
  return el("span", { class: `word ${kind}` }, text);
}

// The timeline is a slider: arrows move, Enter or the space bar plays.
function timelinePart(row, audio) {
  const canvas = el("canvas", { "aria-hidden": "true" });
  const cursor = el("div", { class: "cursor" });
  const slider = el("div", {
    class: "timeline", role: "slider", tabindex: 0, "aria-label": "Position in the recording",
    "aria-valuemin": 0, "aria-valuemax": row.duration_s.toFixed(1),
  }, canvas, cursor);
  const show = () => {
    const now = Math.min(audio.currentTime, row.duration_s);
    const value = row.picture.fake_probability[Math.min(row.picture.peaks.length - 1, Math.floor(now / row.picture.column_s))];
    cursor.style.left = `${100 * now / row.duration_s}%`;
    slider.setAttribute("aria-valuenow", now.toFixed(1));
    slider.setAttribute("aria-valuetext", `${clock(now, true)}, ${value === null || value === undefined ? "no speech" : `P(fake) ${two(value)}`}`);
  };
  const seek = (seconds) => { audio.currentTime = Math.max(0, Math.min(seconds, row.duration_s)); show(); };
  slider.addEventListener("click", (event) => {
    const box = slider.getBoundingClientRect();
    seek((event.clientX - box.left) / box.width * row.duration_s);
    audio.play().catch(() => {});
  });
  slider.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (event.key in steps) seek(audio.currentTime + steps[event.key]);
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(row.duration_s);
    else if (event.key === " " || event.key === "Enter") audio.paused ? audio.play().catch(() => {}) : audio.pause();
    else return;
    event.preventDefault();
  });
  for (const kind of ["timeupdate", "seeked"]) audio.addEventListener(kind, show);
  const draw = () => canvas.isConnected && canvas.clientWidth && timeline(canvas, row);
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  show();
  const swatch = (name, text) => el("span", {}, el("i", { style: `background:var(--${name})` }), text);
  return el("section", { "aria-label": "Timeline" },
    el("h3", {}, "Where in the recording"),
    slider,
    el("div", { class: "axis", "aria-hidden": "true" }, ...[0, 0.25, 0.5, 0.75, 1].map((share) => el("span", {}, clock(share * row.duration_s, row.duration_s < 20)))),
    el("p", { class: "key" }, swatch("fake", "threshold reached"), swatch("real", "below it"), row.operating_point.real_below < row.threshold ? swatch("unsure", "between the bounds") : "", swatch("silent", "no speech"),
      el("span", {}, "Waveform; P(fake) over half a second, threshold dashed; spectrogram to 8 kHz. Click, or use the arrow keys and the space bar, to listen.")));
}

function passagesPart(row, audio) {
  if (!row.segments.length) return null;
  let stop = null;
  audio.addEventListener("timeupdate", () => { if (stop !== null && audio.currentTime >= stop) { audio.pause(); stop = null; } });
  audio.addEventListener("seeking", () => { if (stop !== null && audio.currentTime > stop + 0.5) stop = null; });
  const ranked = [...row.segments].sort((a, b) => b.fake_probability - a.fake_probability).slice(0, MOST_PASSAGES).sort((a, b) => a.start_s - b.start_s);
  const buttons = ranked.map((s) => el("li", {}, el("button", {
    type: "button", class: `button quiet ${s.label}`,
    onclick: () => { audio.currentTime = s.start_s; stop = s.stop_s; audio.play().catch(() => {}); },
  }, `▶ ${clock(s.start_s, true)}–${clock(s.stop_s, true)} · ${s.label} ${two(s.fake_probability)}`)));
  const more = row.segments.length > MOST_PASSAGES ? ` The ${MOST_PASSAGES} highest of ${row.segments.length}.` : "";
  return el("section", { "aria-label": "Passages" }, el("h3", {}, "Passages to listen to"),
    el("p", { class: "small muted" }, `Single passages are judged far less surely than whole recordings.${more}`),
    el("ul", { class: "passages" }, ...buttons));
}

async function report(article, row) {
  const copy = article.cloneNode(true);
  const drawn = article.querySelector(".timeline canvas"), place = copy.querySelector(".timeline");
  if (drawn && place) place.replaceWith(el("img", { src: drawn.toDataURL("image/png"), alt: "Waveform, P(fake) over time and spectrogram", style: "width:100%" }));
  copy.querySelectorAll("audio, .actions, .player-note").forEach((node) => node.remove());
  copy.querySelectorAll("details").forEach((node) => node.setAttribute("open", ""));
  copy.querySelectorAll("button").forEach((node) => node.replaceWith(el("span", { class: node.className }, node.textContent.replace("▶ ", ""))));
  const style = await (await fetch("/static/app.css")).text();
  const page = el("html", { lang: "en" }, el("head", {}, el("meta", { charset: "utf-8" }), el("title", {}, `Report: ${row.file}`), el("style", {}, style)),
    el("body", {}, el("main", {}, el("h1", {}, "Speech deepfake detection"), el("p", { class: "muted" }, new Date().toISOString()), copy,
      el("p", { class: "small muted" }, "A score is evidence, not proof. Do not accuse anybody on the strength of it."))));
  download(`${row.file}.report.html`, "text/html", `<!doctype html>${page.outerHTML}`);
}

// Fills `article` with a row; `url` plays its sound, `again` goes back to the start.
export function showResult(article, row, points, url, again) {
  const point = row.operating_point, channel = row.channel === null ? "" : `, channel ${row.channel + 1}`;
  const audio = el("audio", { controls: true, preload: "metadata", src: url, "aria-label": `Listen to ${row.file}` });
  const note = el("p", { class: "small muted player-note", hidden: true }, "This browser cannot play the file's format; its score is not affected.");
  audio.addEventListener("error", () => { note.hidden = false; });
  const { picture, ...plain } = row;
  const scored = row.error === null && picture;
  article.replaceChildren(...[
    el("h2", { id: "result-name" }, row.file + channel),
    el("div", { class: "verdict" },
      el("div", {}, badge(row), el("p", { class: "says" }, says(row)),
        el("p", { class: "wrong" }, el("b", {}, title(point)), ". ", wrong(point)),
        row.error === null ? el("p", { class: "small muted" }, row.sentence) : null),
      row.error === null ? el("div", { class: "gauge" }, gauge(row.fake_probability, point, points)) : null),
    row.warnings.length ? el("ul", { class: "warnings", "aria-label": "Warnings about the sound" }, ...row.warnings.map((w) => el("li", {}, w.text))) : null,
    facts(row),
    scored ? timelinePart(row, audio) : null,
    audio, note,
    scored ? passagesPart(row, audio) : null,
    windowTable(row),
    el("p", { class: "actions" },
      el("button", { type: "button", class: "button", onclick: () => download(`${row.file}.json`, "application/json", JSON.stringify(plain, null, 1)) }, "Download JSON"),
      el("button", { type: "button", class: "button", onclick: () => download(`${row.file}.csv`, "text/csv", csv([row])) }, "Download CSV"),
      el("button", { type: "button", class: "button", onclick: () => report(article, row) }, "Download report"),
      el("button", { type: "button", class: "button", onclick: again }, "Analyse another")),
  ].filter(Boolean));
  article.hidden = false;
}
