// Numbers and verdicts in words.

export const NAMES = {
  stored: "the stored threshold", given: "the threshold this server was started with", default: "the detector’s own threshold", unfitted: "no threshold is stored, so one half", balanced_accuracy: "best balance of both errors", eer: "equal error rates",
  "fpr_0.05": "at most 5 % false alarms", "fpr_0.01": "at most 1 % false alarms", "fpr_0.001": "at most 0.1 % false alarms",
  bayes: "least expected cost", abstain: "may answer “cannot tell”",
};

export const WORDS = { fake: "Fake", real: "Real", cannot_tell: "Cannot tell" };

export const title = (point) => NAMES[point.name] ? `${point.name}: ${NAMES[point.name]}` : point.name;

export const two = (value) => value.toFixed(2);

export function clock(seconds, fine = false) {
  const tenths = fine ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const hours = Math.floor(tenths / 3600), minutes = Math.floor(tenths / 60) % 60, rest = tenths % 60;
  const last = fine ? rest.toFixed(1).padStart(4, "0") : String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${last}` : `${minutes}:${last}`;
}

const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;

const rate = (value, interval) =>
  percent(value) + (interval ? ` [${(100 * interval.low).toFixed(1)}, ${(100 * interval.high).toFixed(1)}]` : "");

// What an operating point gets wrong, to stand beside its answers.
export function wrong(point) {
  if (point.name === "abstain") return `It answers neither between ${two(point.real_below)} and ${two(point.threshold)}; ${point.rule}.` + (point.note ? ` ${point.note}.` : "");
  if (point.fpr === null || point.fnr === null) return "How often this threshold is wrong was not recorded with this detector.";
  const unsure = point.supported ? "" : ` Not enough recordings to promise this: ${point.note}.`;
  return `On validation recordings, it called ${rate(point.fpr, point.fpr_interval)} of the real ones fake and missed ${rate(point.fnr, point.fnr_interval)} of the fakes.${unsure}`;
}

export function says(row) {
  const point = row.operating_point;
  if (row.error) return row.error.startsWith("no_speech") ? "There is no speech in this recording to judge." : `This recording could not be scored: ${row.error}.`;
  const value = two(row.fake_probability);
  if (row.verdict === "cannot_tell" && row.prediction !== "uncertain") {
    return `There are only ${row.speech_s.toFixed(1)} s of speech: too little to say anything. P(fake) would be ${value}.`;
  }
  if (row.verdict === "cannot_tell") return `P(fake) ${value} lies between the bounds ${two(point.real_below)} and ${two(point.threshold)}, where neither answer is safe.`;
  if (row.verdict === "fake") return `It sounds AI-generated: P(fake) ${value} reaches the threshold ${two(row.threshold)}.`;
  const missed = point.fnr === null ? "some" : percent(point.fnr);
  return `It is not called fake: P(fake) ${value} is below the threshold ${two(point.real_below)}. That does not show it is human, as ${missed} of fakes are missed.`;
}

export function csv(rows) {
  const columns = ["path", "channel", "fake_probability", "prediction", "threshold", "operating_point", "duration_s", "windows", "max_window", "error"];
  const value = (row, column) => column === "path" ? row.file : column === "operating_point" ? row.operating_point.name : row[column];
  // A spreadsheet takes a text that begins with one of these for a formula.
  const safe = (text) => /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  const cell = (text) => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  return [columns.join(","), ...rows.map((row) => columns.map((c) => cell(safe(String(value(row, c) ?? "")))).join(","))].join("\r\n") + "\r\n";
}

export function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// el("p", {class: "x", onclick: f}, child, "text"): text is never taken for markup.
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
