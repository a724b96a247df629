// Fields as images: colour maps, orientation, and where a pointer is on the grid.

const UNSIGNED = [[0, 34, 78], [33, 58, 110], [77, 83, 109], [108, 110, 114], [142, 137, 120], [180, 167, 108],
  [219, 199, 82], [254, 232, 56]]; // cividis
const SIGNED = [[5, 48, 97], [33, 102, 172], [67, 147, 195], [146, 197, 222], [247, 247, 247], [244, 165, 130],
  [214, 96, 77], [178, 24, 43], [103, 0, 31]]; // RdBu, white at zero

function colour(map, share) {
  const place = Math.min(Math.max(share, 0), 1) * (map.length - 1);
  const low = Math.min(Math.floor(place), map.length - 2), part = place - low;
  return map[low].map((value, i) => value + part * (map[low + 1][i] - value));
}

export function scaleOf(arrays) {
  let low = Infinity, high = -Infinity;
  for (const values of arrays) for (const v of values) if (Number.isFinite(v)) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) return {low: 0, high: 1, map: UNSIGNED};
  if (low < 0 && high > 0) {
    const top = Math.max(-low, high);
    return {low: -top, high: top, map: SIGNED};
  }
  return {low, high: high > low ? high : low + 1e-12, map: UNSIGNED};
}

// An image of nx × ny numbers, at(i, j) with i to the right and j upwards.
export function paint(canvas, nx, ny, at, scale) {
  canvas.width = nx;
  canvas.height = ny;
  const context = canvas.getContext("2d"), image = context.createImageData(nx, ny);
  for (let j = 0; j < ny; j++) for (let i = 0; i < nx; i++) {
    const value = at(i, j), k = 4 * ((ny - 1 - j) * nx + i);
    if (!Number.isFinite(value)) continue; // transparent
    const [r, g, b] = colour(scale.map, (value - scale.low) / (scale.high - scale.low));
    image.data.set([r, g, b, 255], k);
  }
  context.putImageData(image, 0, 0);
}

export function ramp(scale) {
  const box = document.createElement("div"), canvas = document.createElement("canvas");
  box.className = "ramp";
  paint(canvas, 64, 1, (i) => scale.low + (i / 63) * (scale.high - scale.low), scale);
  box.append(short(scale.low), canvas, short(scale.high));
  return box;
}

export function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(+value.toPrecision(3));
}

export function decode(given) { // {shape, float32} -> {shape, values}
  const text = atob(given.float32), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return {shape: given.shape, values: new Float32Array(bytes.buffer)};
}

export function encode({shape, values}) {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return {shape, float32: btoa(text)};
}

// Where a pointer is on a canvas or drawing: shares of its width (right) and height (up).
export function placeOf(event, element) {
  const box = element.getBoundingClientRect();
  const inside = (x) => Math.min(Math.max(x, 0), 1 - 1e-9);
  return [inside((event.clientX - box.left) / box.width), inside(1 - (event.clientY - box.top) / box.height)];
}
