// Lines over an axis, as SVG.

import {short} from "./drawing.js";

const NS = "http://www.w3.org/2000/svg", W = 420, H = 240, LEFT = 68, BOTTOM = 36, TOP = 8, RIGHT = 10;

function add(parent, name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// series: [{label, x, y, key?}] (key: which colour and dash); options: {title, xlabel, logx, logy, now, range}.
export function chart(series, options) {
  const figure = document.createElement("figure"), svg = document.createElementNS(NS, "svg");
  const fx = options.logx ? Math.log10 : Number, fy = options.logy ? Math.log10 : Number;
  const fits = (value, log) => Number.isFinite(value) && (!log || value > 0);
  const points = series.map(({x, y}) => [...x].map((v, i) => [v, y[i]])
    .map(([a, b]) => (fits(a, options.logx) && b !== null && fits(b, options.logy) ? [fx(a), fy(b)] : null)));
  const within = (v) => Math.min(Math.max(v, y0), y1);
  const all = points.flat().filter(Boolean);
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", options.title);
  const extent = (k, given) => given || [Math.min(...all.map((p) => p[k])), Math.max(...all.map((p) => p[k]))];
  let [x0, x1] = all.length ? extent(0) : [0, 1], [y0, y1] = all.length ? extent(1, options.range) : [0, 1];
  if (options.zero && !options.logy) y0 = Math.min(0, y0);
  if (options.logy && y1 - y0 > 12) y0 = y1 - 12; // rounding, below
  if (x1 === x0) x1 = x0 + 1;
  if (y1 === y0) y1 = y0 + (Math.abs(y0) || 1);
  const sx = (v) => LEFT + ((v - x0) / (x1 - x0)) * (W - LEFT - RIGHT);
  const sy = (v) => H - BOTTOM - ((v - y0) / (y1 - y0)) * (H - BOTTOM - TOP);
  add(svg, "path", {class: "axis", d: `M${LEFT} ${TOP}V${H - BOTTOM}H${W - RIGHT}`});
  const back = (log) => (v) => short(log ? 10 ** v : v);
  for (const share of [0, 0.5, 1]) {
    const y = y0 + share * (y1 - y0), x = x0 + share * (x1 - x0);
    add(svg, "text", {x: LEFT - 5, y: sy(y) + 4, "text-anchor": "end"}, back(options.logy)(y));
    add(svg, "text", {x: sx(x), y: H - 19, "text-anchor": ["start", "middle", "end"][2 * share]},
      back(options.logx)(x));
  }
  add(svg, "text", {x: (LEFT + W) / 2, y: H - 4, "text-anchor": "middle"}, options.xlabel || "");
  points.forEach((line, s) => {
    let d = "", pen = false;
    for (const p of line) {
      if (p) d += `${pen ? "L" : "M"}${sx(p[0]).toFixed(1)} ${sy(within(p[1])).toFixed(1)}`;
      pen = Boolean(p);
    }
    add(svg, "path", {class: `line s${series[s].key ?? s}`, d});
  });
  if (options.now !== undefined && fits(options.now, options.logx)) {
    const x = sx(fx(options.now));
    add(svg, "path", {class: "now", d: `M${x} ${TOP}V${H - BOTTOM}`});
  }
  const title = document.createElement("h3"), caption = document.createElement("figcaption");
  title.textContent = options.title;
  for (const [s, {label, key}] of series.entries()) {
    const span = document.createElement("span");
    span.className = `key k${key ?? s}`;
    span.textContent = label;
    caption.append(span);
  }
  figure.append(title, svg, caption);
  // From shares of the drawing to the axes, for pointers on it.
  const toAxes = ([u, v]) => {
    const x = x0 + ((u * W - LEFT) / (W - LEFT - RIGHT)) * (x1 - x0);
    const y = y0 + ((v * H - BOTTOM) / (H - BOTTOM - TOP)) * (y1 - y0);
    return [Math.min(Math.max(x, x0), x1), y];
  };
  const mark = (x, y) => add(svg, "circle", {class: "sensor", r: 5, cx: sx(x), cy: sy(y)});
  return {figure, svg, toAxes, mark};
}
