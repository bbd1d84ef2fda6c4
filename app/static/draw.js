// The gauge and the timeline.

import { el, two } from "./words.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A half circle from 0 to 1 whose bands change at the stored operating points; the chosen one has a mark.
export function gauge(value, point, points) {
  const [cx, cy, r] = [150, 140, 104];
  const at = (p, radius) => [cx - radius * Math.cos(Math.PI * p), cy - radius * Math.sin(Math.PI * p)];
  const edges = [...new Set(points.flatMap((p) => p.name === "abstain" ? [p.real_below, p.threshold] : [p.threshold]))]
    .filter((p) => p > 0 && p < 1).sort((a, b) => a - b);
  const bounds = [0, ...edges, 1];
  const parts = [];
  for (let i = 0; i + 1 < bounds.length; i++) {
    const [from, to] = [bounds[i] + 0.003, bounds[i + 1] - 0.003];
    if (to <= from) continue;
    const [x1, y1] = at(from, r), [x2, y2] = at(to, r);
    const share = bounds.length === 2 ? 0.5 : i / (bounds.length - 2);
    const mixed = `color-mix(in oklab, var(--fake) ${Math.round(100 * share)}%, var(--real))`;
    parts.push(svg("path", { d: `M${x1} ${y1}A${r} ${r} 0 0 1 ${x2} ${y2}`, style: `stroke:${mixed}`, "stroke-width": 22, fill: "none", opacity: 0.85 }));
  }
  for (const edge of [...new Set([point.real_below, point.threshold])]) {
    const [x1, y1] = at(edge, r - 15), [x2, y2] = at(edge, r + 16), [tx, ty] = at(edge, r + 25);
    const anchor = edge < 0.4 ? "end" : edge > 0.6 ? "start" : "middle";
    parts.push(svg("line", { x1, y1, x2, y2, style: "stroke:var(--ink)", "stroke-width": 2.5 }));
    const label = svg("text", { x: tx, y: ty + 3, "text-anchor": anchor, class: "here" });
    label.append(two(edge));
    parts.push(label);
  }
  if (value !== null) {
    const [nx, ny] = at(value, r - 24), [ax, ay] = at(value - 0.5, 5), [bx, by] = [2 * cx - ax, 2 * cy - ay];
    parts.push(svg("path", { d: `M${ax} ${ay}L${nx} ${ny}L${bx} ${by}Z`, style: "fill:var(--ink)" }), svg("circle", { cx, cy, r: 6, style: "fill:var(--ink)" }));
  }
  for (const [x, y, text, kind] of [[cx - r, cy + 18, "0 real", ""], [cx + r, cy + 18, "1 fake", ""], [cx, cy + 38, value === null ? "—" : two(value), "value"], [cx, cy + 55, "P(fake)", ""]]) {
    const node = svg("text", { x, y, "text-anchor": "middle", class: kind });
    node.append(text);
    parts.push(node);
  }
  const label = value === null ? "No score" : `P(fake) ${two(value)} on a scale from 0, real, to 1, fake; threshold ${two(point.threshold)}`;
  return svg("svg", { viewBox: "0 0 300 202", role: "img", "aria-label": label }, ...parts);
}

const STOPS = [[8, 10, 28], [70, 26, 110], [150, 44, 100], [225, 95, 50], [250, 170, 50], [250, 248, 180]];

function heat(level) {
  const place = Math.min(level / 255, 0.9999) * (STOPS.length - 1), low = Math.floor(place), share = place - low;
  return STOPS[low].map((from, i) => from + share * (STOPS[low + 1][i] - from));
}

function spectrogramImage(picture) {
  const bytes = Uint8Array.from(atob(picture.spectrogram), (c) => c.charCodeAt(0));
  const columns = bytes.length / picture.bands;
  if (!columns) return null;
  const image = new ImageData(columns, picture.bands);
  for (let column = 0; column < columns; column++) {
    for (let band = 0; band < picture.bands; band++) {
      const [red, green, blue] = heat(bytes[column * picture.bands + band]);
      image.data.set([red, green, blue, 255], 4 * ((picture.bands - 1 - band) * columns + column));
    }
  }
  const canvas = el("canvas", { width: columns, height: picture.bands });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Waveform coloured by the decision, the curve of P(fake) with its threshold, and the spectrogram.
export function timeline(canvas, row) {
  const picture = row.picture, count = picture.peaks.length;
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const [wave, curve] = [height * 0.3, height * 0.3], spectrum = height - wave - curve;
  const loudest = Math.max(...picture.peaks, 1e-3), middle = wave / 2;
  const tone = (p) => p === null ? colour("silent") : p >= row.threshold ? colour("fake") : p < row.operating_point.real_below ? colour("real") : colour("unsure");
  for (let x = 0; x < width; x++) {
    const from = Math.floor(x / width * count), to = Math.max(from + 1, Math.floor((x + 1) / width * count));
    const reach = Math.max(0.5, Math.max(...picture.peaks.slice(from, to)) / loudest * (middle - 4));
    context.fillStyle = tone(picture.fake_probability[from]);
    context.fillRect(x, middle - reach, 1, 2 * reach);
  }
  const y = (p) => wave + 4 + (1 - p) * (curve - 8);
  context.strokeStyle = colour("line");
  context.beginPath(); context.moveTo(0, wave); context.lineTo(width, wave); context.stroke();
  context.setLineDash([5, 4]); context.strokeStyle = colour("muted");
  context.beginPath(); context.moveTo(0, y(row.threshold)); context.lineTo(width, y(row.threshold)); context.stroke(); context.setLineDash([]);
  context.lineWidth = 2;
  for (let i = 0; i + 1 < count; i++) {
    const [p, next] = [picture.fake_probability[i], picture.fake_probability[i + 1]];
    if (p === null || next === null) continue;
    context.strokeStyle = tone(p);
    context.beginPath(); context.moveTo(i / count * width, y(p)); context.lineTo((i + 1) / count * width, y(next)); context.stroke();
  }
  const image = spectrogramImage(picture);
  if (image) context.drawImage(image, 0, wave + curve, width, spectrum);
}

export function liveCurve(canvas, values) {
  const context = canvas.getContext("2d"), { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.strokeStyle = colour("accent");
  context.lineWidth = 3;
  context.beginPath();
  values.forEach((value, i) => context.lineTo(10 + i / Math.max(20, values.length) * (width - 20), 6 + (1 - value) * (height - 12)));
  context.stroke();
}
