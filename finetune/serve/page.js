// The page: asks the server for predictions and shows them. It keeps one answer, and what was drawn on its start.

import {chart} from "./charts.js";
import {decode, encode, paint, placeOf, ramp, scaleOf, short} from "./drawing.js";

const $ = (id) => document.getElementById(id);
const state = {cards: [], data: [], file: null, answer: null, start: null, drawn: false, sensors: [], asked: 0};
const mode = () => document.querySelector("input[name=mode]:checked").value;
const card = () => state.cards.find((c) => c.name === $("checkpoint").value) || {};
const dataset = () => state.data.find((d) => d.name === $("dataset").value);
const named = (units, name) => (units[name] && units[name] !== "1" ? `${name} [${units[name]}]` : name);
const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").className = wrong ? "error" : "";
}

async function ask(address, options) {
  const response = await fetch(address, options);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error || `the server answered ${response.status}`);
  return found;
}

// ---------------------------------------------------------------- what is offered

async function begin() {
  say("Opening checkpoints …");
  const [cards, data] = await Promise.all([ask("/api/checkpoints"), ask("/api/datasets")]);
  state.cards = cards.checkpoints.filter((c) => !c.error);
  state.data = data.datasets.filter((d) => !d.error);
  const broken = [...cards.checkpoints, ...data.datasets].filter((x) => x.error);
  fill($("checkpoint"), state.cards.map((c) => c.name));
  if (!state.cards.length) return say(broken[0]?.error || "No checkpoint is served.", true);
  const link = new URLSearchParams(location.hash.slice(1));
  if (state.cards.some((c) => c.name === link.get("checkpoint"))) $("checkpoint").value = link.get("checkpoint");
  chooseCheckpoint(link);
  if (broken.length) say(`${broken[0].name}: ${broken[0].error}`, true);
}

function fill(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
}

// The address keeps what was asked, so that it can be kept and shared.
const LINKED = ["checkpoint", "dataset", "trajectory", "frame", "steps", "members"];

function follow(link) {
  for (const id of LINKED.slice(1)) if (link.has(id)) $(id).value = link.get(id);
  const radio = document.querySelector(`input[name=mode][value="${CSS.escape(link.get("mode") || "forecast")}"]`);
  if (radio && !(radio.value === "sensors" && !card().assimilates)) radio.checked = true;
  const places = (link.get("sensors") || "").split(";").filter(Boolean).map((x) => x.split(",").map(Number));
  return places.filter((place) => place.length === card().axes.length && place.every(Number.isFinite));
}

function keepLink() {
  const link = new URLSearchParams({mode: mode()});
  for (const id of LINKED) if ($(id).value !== "") link.set(id, $(id).value);
  if (state.sensors.length) link.set("sensors", state.sensors.map((x) => x.map(short).join(",")).join(";"));
  history.replaceState(null, "", `#${link}`);
}

function chooseCheckpoint(link) {
  const c = card(), needed = neededBy(c);
  const fitting = state.data.filter((d) => d.axes.length === c.axes.length &&
    d.steady === (c.inputs.length > 0) && known(c).some((name) => offered(d, c).includes(name)) &&
    [...needed, ...c.prescribed].every((name) => [...d.fields, ...d.constant_fields, ...d.prescribed].includes(name)));
  const lacks = (d) => c.parameters.filter((name) => !d.parameters.includes(name)).length +
    (c.datasets.includes(d.name) ? 0 : 0.5); // those of its training come first
  fill($("dataset"), fitting.sort((d, e) => lacks(d) - lacks(e)).map((d) => d.name));
  const units = listed(c, c.fields);
  $("card").textContent = `${c.operator}, ${c.weights.toLocaleString()} weights; ` +
    `${c.inputs.length ? `${c.inputs.join(", ")} → ` : ""}${units}` +
    (c.prescribed.length ? `, driven by ${listed(c, c.prescribed)}` : "") + (c.summary ? `. ${c.summary}` : "");
  $("needs").textContent = needs(c, needed);
  $("more").open = false;
  $("sensorschoice").hidden = !c.assimilates;
  if (!c.assimilates && mode() === "sensors") document.querySelector("input[value=forecast]").checked = true;
  $("parameters").replaceChildren(...c.parameters.map((name) => {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, {type: "number", step: "any", placeholder: "as in the data"});
    input.dataset.parameter = name;
    label.append(`${named(c.units, name)} `, input);
    return label;
  }));
  const sensors = follow(link instanceof URLSearchParams ? link : new URLSearchParams({mode: mode()}));
  renew(sensors);
}

const known = (c) => (c.inputs.length ? c.inputs : c.fields);
const neededBy = (c) => known(c).filter((name) => !c.filled.includes(name)); // a value stands for the others

const offered = (d, c) => (c.inputs.length ? [...d.fields, ...d.constant_fields] : d.fields);

const listed = (c, names) => names.map((name) => named(c.units, name)).join(", ");

// What a file must hold.
function needs(c, needed) {
  const some = c.filled.length ? `some of ${listed(c, c.filled)}` : "";
  const fields = [...needed, ...c.constant_fields, ...c.parameters];
  const along = c.prescribed.length ? `, and at all times of the forecast ${listed(c, c.prescribed)}: ` +
    "along the same time (give an earlier initial time), or along times of its own" : "";
  return `A file needs ${[listed(c, fields), some].filter(Boolean).join(", and ")}${along}.`;
}

async function showCard() {
  if (!$("more").open) return;
  const found = await ask(`/api/checkpoint?name=${encodeURIComponent(card().name)}`);
  $("text").textContent = found.text || JSON.stringify({trained: found.trained, provenance: found.provenance}, null, 1);
}

// ---------------------------------------------------------------- asking

function renew(sensors) { // another start: nothing is drawn on it
  Object.assign(state, {drawn: false, start: null, sensors: Array.isArray(sensors) ? sensors : []});
  const d = dataset();
  if (d) $("trajectory").max = d.trajectories - 1;
  showMode();
  if (state.file || d) predict();
  else say(`No ${card().inputs.length ? "steady dataset" : "dataset in time"} that is served has ${[...neededBy(card()), ...card().prescribed].join(", ") ||
    `any of ${card().filled.join(", ")}`}: drop a file.`);
}

function showMode() {
  $("drawing").hidden = mode() !== "draw";
  $("sensing").hidden = mode() !== "sensors";
  $("sensorcount").textContent = `${state.sensors.length || "no"} sensor${state.sensors.length === 1 ? "" : "s"}`;
  $("go").textContent = mode() === "sensors" ? "Estimate" : "Predict";
}

function parametersGiven() {
  const inputs = [...document.querySelectorAll("[data-parameter]")].filter((x) => x.value !== "");
  return Object.fromEntries(inputs.map((x) => [x.dataset.parameter, Number(x.value)]));
}

function request() {
  const answer = {encoding: "base64", compare: true}, checkpoint = card().name, steps = number("steps");
  const sample = {dataset: $("dataset").value, trajectory: number("trajectory") || 0, frame: number("frame")};
  const members = number("members") || 1;
  if (mode() === "sensors" && state.sensors.length) {
    const network = {positions: state.sensors, noise: number("noise") ?? 0.05, times: number("readings") || 10};
    return ["/api/assimilate", {checkpoint, sample, cold: $("cold").checked, network, members,
      forecast: steps || 10, answer}];
  }
  const forecast = {steps, members: members > 1 ? members : undefined, parameters: parametersGiven()};
  const fields = state.drawn ? Object.fromEntries(Object.entries(state.start).map(([k, v]) => [k, encode(v)])) : {};
  if (state.drawn && !steps && state.answer) forecast.steps = state.answer.lead_times.length || undefined;
  return ["/api/predict", {checkpoint, sample, fields, forecast, answer}];
}

function fromFile() {
  const query = new URLSearchParams({checkpoint: card().name, sample: number("trajectory") || 0, compare: true,
    encoding: "base64", parameters: JSON.stringify(parametersGiven()), steps: number("steps") || 10});
  if ((number("members") || 1) > 1) query.set("members", number("members"));
  if ($("start").value !== "") query.set("start", $("start").value);
  return ask(`/api/predict/file?${query}`, {method: "POST", body: state.file});
}

async function predict() {
  keepLink();
  if (mode() === "sensors" && !state.sensors.length && state.start) return say("Place sensors on the start first.");
  const asked = ++state.asked;
  $("go").disabled = true;
  say("Computing …");
  try {
    let found;
    if (state.file && mode() !== "sensors" && !state.drawn) found = await fromFile();
    else {
      const [address, body] = request();
      found = await ask(address, {method: "POST", body: JSON.stringify(body)});
    }
    if (asked === state.asked) take(found);
  } catch (error) {
    if (asked === state.asked) say(error.message, true);
  } finally {
    if (asked === state.asked) $("go").disabled = false;
  }
}

function take(found) {
  for (const part of ["fields", "truth", "given", "spread"]) {
    for (const [name, values] of Object.entries(found[part] || {})) found[part][name] = decode(values);
  }
  const before = state.answer && Object.keys(state.answer.fields).join();
  state.answer = found;
  if (!state.drawn) state.start = found.given;
  if (before !== Object.keys(found.fields).join()) fill($("field"), Object.keys(found.fields));
  const last = Math.max(found.lead_times.length - 1, 0);
  $("lead").max = last;
  $("lead").value = Math.min(Number($("lead").value), last);
  $("leadlabel").hidden = $("play").hidden = last === 0;
  const shape = space();
  $("slicelabel").hidden = shape.length < 3;
  if (shape.length === 3 && Number($("slice").max) !== shape[2] - 1) {
    $("slice").max = shape[2] - 1;
    $("slice").value = Math.floor(shape[2] / 2);
  }
  $("view").hidden = false;
  showVerdict();
  draw();
  const seconds = found.seconds === undefined ? "" : ` in ${found.seconds.toFixed(2)} s`;
  say(found.warnings.length ? found.warnings[0] : `Computed${seconds}.`);
}

// ---------------------------------------------------------------- showing

const axes = () => state.answer.dims.slice(-card().axes.length);
const space = () => state.answer.fields[$("field").value].shape.slice(-card().axes.length);
const size = () => space().reduce((a, b) => a * b, 1);
const right = () => (["y", "lat", "latitude"].includes(axes()[0]) ? 1 : 0); // which axis goes to the right

// Frame `lead` of an array (…, *S); with several samples the first.
function frame(array, lead) {
  if (!array) return null;
  const n = size(), count = Math.max(state.answer.lead_times.length, 1);
  const at = array.values.length / n >= count ? lead : 0;
  return array.values.subarray(at * n, (at + 1) * n);
}

const startFrame = (name) => {
  const array = state.start?.[name];
  return array ? array.values.subarray(array.values.length - size()) : null; // the last given one
};

// How a frame is indexed with i to the right and j upwards.
function indexing() {
  const shape = space(), k = Number($("slice").value);
  if (shape.length === 1) return {nx: shape[0], ny: 1, index: (i) => i};
  const [n0, n1] = shape, deep = shape.length === 3 ? shape[2] : 1, cut = deep > 1 ? k : 0;
  if (right() === 0) return {nx: n0, ny: n1, index: (i, j) => (i * n1 + j) * deep + cut};
  return {nx: n1, ny: n0, index: (i, j) => (j * n1 + i) * deep + cut};
}

function panel(title, values, scale, note = "") {
  const figure = document.createElement("figure"), heading = document.createElement("h3");
  const canvas = document.createElement("canvas"), {nx, ny, index} = indexing();
  heading.textContent = title;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title}: ${short(scale.low)} to ${short(scale.high)}`);
  paint(canvas, nx, ny, (i, j) => values[index(i, j)], scale);
  figure.append(heading, canvas, ramp(scale));
  if (note) figure.append(Object.assign(document.createElement("figcaption"), {textContent: note}));
  return {figure, canvas};
}

// Of one axis of space: it to the right, time upwards.
function spacetime(title, array, scale, lead) {
  const figure = document.createElement("figure"), heading = document.createElement("h3");
  const canvas = document.createElement("canvas"), [nx] = space(), ny = state.answer.lead_times.length;
  heading.textContent = title;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title} over space and lead time`);
  paint(canvas, nx, ny, (i, j) => array.values[j * nx + i], scale);
  canvas.style.aspectRatio = "1.6";
  const caption = Object.assign(document.createElement("figcaption"), {textContent: "lead time upwards"});
  figure.append(heading, canvas, ramp(scale), caption);
  return figure;
}

function draw() {
  const a = state.answer, name = $("field").value, lead = Number($("lead").value);
  const values = frame(a.fields[name], lead), truth = frame(a.truth?.[name], lead);
  const unit = named(a.units, name).slice(name.length), score = a.scores?.[name]?.vrmse?.[lead];
  $("leadtext").textContent = a.lead_times.length ? `Lead time ${short(a.lead_times[lead])}` +
    (a.measured ? (a.measured[lead] ? ", estimate" : ", forecast") : "") : "";
  const known = truth && truth.some(Number.isFinite);
  const error = known ? values.map((v, i) => v - truth[i]) : null;
  $("panels").replaceChildren(...(space().length === 1 ? lines(a, name, lead, unit) : images()));
  $("charts").replaceChildren(...charts(a, name, lead));

  function images() {
    const start = startFrame(name), scale = scaleOf([values, known ? truth : [], start || []]);
    const found = [];
    if (start) found.push(editable(panel(`Start${unit}`, start, scale)));
    found.push(panel(`${a.measured ? "Estimate" : "Prediction"}${unit}`, values, scale).figure);
    if (known) found.push(panel(`Truth${unit}`, truth, scale).figure,
      panel(`Error${unit}`, error, scaleOf([error]), score == null ? "" : `VRMSE ${short(score)}`).figure);
    if (a.spread?.[name]) {
      const spread = frame(a.spread[name], lead);
      found.push(panel(`Spread${unit}`, spread, scaleOf([spread])).figure);
    }
    return found;
  }
}

function lines(a, name, lead, unit) {
  const x = a.axes[axes()[0]] || [...Array(space()[0]).keys()], found = [], start = startFrame(name);
  const at = (array) => frame(array, lead), xlabel = axes()[0];
  const everything = scaleOf([a.fields[name].values, a.truth?.[name]?.values || [], start || []]);
  const range = [everything.low, everything.high];
  if (start) found.push(editableLine(chart([{label: "start", x, y: start}], {title: `Start${unit}`, xlabel, range}), x));
  const series = [{label: a.measured ? "estimate" : "prediction", x, y: at(a.fields[name])}];
  if (a.truth?.[name]) series.push({label: "truth", x, y: at(a.truth[name])});
  found.push(chart(series, {title: `At this lead time${unit}`, xlabel, range}).figure);
  if (a.lead_times.length > 1) {
    found.push(spacetime(`Prediction${unit}`, a.fields[name], everything, lead));
    if (a.truth?.[name]) {
      const error = {values: a.fields[name].values.map((v, i) => v - a.truth[name].values[i])};
      found.push(spacetime(`Truth${unit}`, a.truth[name], everything, lead),
        spacetime(`Error${unit}`, error, scaleOf([error.values]), lead));
    }
  }
  return found;
}

function charts(a, name, lead) {
  const found = [], time = a.lead_times[lead];
  const scores = a.scores?.[name];
  if (scores && a.lead_times.length > 1) {
    const series = [{label: "VRMSE", x: a.lead_times, y: scores.vrmse}];
    found.push(chart(series, {title: "Error in standard deviations", xlabel: "lead time", now: time, zero: true}).figure);
  }
  const spectra = a.spectra?.[name], series = [];
  for (const [label, key] of [["prediction", 0], ["truth", 1]]) {
    const y = spectra?.[label]?.[lead];
    if (y) series.push({label, x: y.map((_, k) => k), y, key});
  }
  if (series.length) found.push(chart(series, {title: "Energy spectrum", xlabel: "periods per domain",
    logx: true, logy: true}).figure);
  return found;
}

function showVerdict() {
  const verdict = state.answer.verdict, box = $("verdict");
  box.hidden = !verdict;
  if (!verdict) return;
  box.className = verdict.status;
  const heading = document.createElement("h2"), scroll = document.createElement("div");
  heading.textContent = verdict.status === "unknown" ? "It is not known whether this is inside of what was trained"
    : `This is ${verdict.status} of what was trained`;
  const table = document.createElement("table");
  const order = {outside: 0, unknown: 1, inside: 2};
  for (const f of [...verdict.findings].sort((x, y) => order[x.status] - order[y.status])) {
    const row = table.insertRow();
    for (const text of [f.status, f.quantity, f.text]) row.insertCell().textContent = text;
  }
  const details = document.createElement("details");
  details.append(Object.assign(document.createElement("summary"), {textContent: `${verdict.findings.length} findings`}));
  details.open = verdict.status === "outside";
  scroll.className = "scroll";
  scroll.append(table);
  details.append(scroll);
  box.replaceChildren(heading, details);
}

// ---------------------------------------------------------------- drawing on the start, placing sensors

function editable({figure, canvas}) { // of two or three axes
  if (mode() === "forecast") return figure;
  canvas.classList.add("edited");
  const {nx, ny, index} = indexing(), a = axes(), r = right();
  const points = [a[r], a[1 - r]].map((name, k) => state.answer.axes[name] || [...Array(k ? ny : nx).keys()]);
  if (mode() === "sensors") {
    const context = canvas.getContext("2d");
    for (const place of state.sensors) {
      const cell = (k, axis) => points[k].findIndex((v) => v >= place[axis] - 1e-12);
      context.fillStyle = "#ff7f0e";
      const [i, j] = [cell(0, r), cell(1, 1 - r)], w = Math.max(1, nx / 40);
      context.fillRect(i - w / 2 + 0.5, ny - 1 - j - w / 2 + 0.5, w, w);
    }
    canvas.onclick = (event) => {
      const [u, v] = placeOf(event, canvas), place = [];
      place[r] = points[0][Math.floor(u * nx)];
      place[1 - r] = points[1][Math.floor(v * ny)];
      if (space().length === 3) place[2] = state.answer.axes[axes()[2]][Number($("slice").value)];
      addSensor(place);
    };
    return figure;
  }
  canvas.onpointermove = canvas.onpointerdown = (event) => {
    if (!event.buttons) return;
    canvas.setPointerCapture(event.pointerId);
    const [u, v] = placeOf(event, canvas), sign = event.shiftKey ? -1 : 1;
    brush(u * nx, v * ny, sign * 0.25);
    const name = $("field").value, start = startFrame(name), scale = scaleOf([start]);
    paint(canvas, nx, ny, (i, j) => start[index(i, j)], scale);
  };
  canvas.onpointerup = predict;
  return figure;
}

function editableLine({figure, svg, toAxes, mark}, x) { // of one axis
  if (mode() === "forecast") return figure;
  svg.classList.add("edited");
  const name = $("field").value, nearest = (place) => x.reduce((best, v, i) =>
    (Math.abs(v - place) < Math.abs(x[best] - place) ? i : best), 0);
  if (mode() === "sensors") {
    const start = startFrame(name);
    for (const [place] of state.sensors) mark(place, start[nearest(place)]);
    svg.onclick = (event) => addSensor([x[nearest(toAxes(placeOf(event, svg))[0])]]);
    return figure;
  }
  svg.onpointermove = svg.onpointerdown = (event) => {
    if (!event.buttons) return;
    svg.setPointerCapture(event.pointerId);
    const [place, value] = toAxes(placeOf(event, svg)), i = nearest(place);
    change((k) => Math.exp(-(((k - i) / (Number($("width").value) / 100 * x.length)) ** 2)),
      (old, weight, start) => old + weight * (value - start[i]));
    mark(x[i], value);
  };
  svg.onpointerup = predict;
  return figure;
}

function brush(x, y, share) { // adds a bump around a place of the image
  const {nx, ny} = indexing(), shape = space(), deep = shape.length === 3 ? shape[2] : 1, n1 = shape[1] || 1;
  const wide = (Number($("width").value) / 100) * Math.max(nx, ny);
  const start = startFrame($("field").value), strength = share * Number($("strength").value) * deviation(start);
  const cut = Number($("slice").value);
  change((k) => {
    const first = Math.floor(k / deep / n1), second = Math.floor(k / deep) % n1;
    const [i, j] = right() === 0 ? [first, second] : [second, first];
    const z = deep > 1 ? k % deep - cut : 0;
    return Math.exp(-((i + 0.5 - x) ** 2 + (j + 0.5 - y) ** 2 + z ** 2) / wide ** 2);
  }, (old, weight) => old + strength * weight);
}

function deviation(values) {
  const there = [...values].filter(Number.isFinite), mean = there.reduce((a, b) => a + b, 0) / there.length;
  return Math.sqrt(there.reduce((a, b) => a + (b - mean) ** 2, 0) / there.length) || 1;
}

// Changes the field in every given frame.
function change(weight, next) {
  const array = state.start[$("field").value], n = size(), before = startFrame($("field").value).slice();
  for (let k = 0; k < n; k++) {
    const w = weight(k);
    if (w < 1e-4) continue;
    for (let f = k; f < array.values.length; f += n) array.values[f] = next(array.values[f], w, before);
  }
  state.drawn = true;
}

function addSensor(place) {
  state.sensors.push(place);
  showMode();
  predict();
}

function scatter() {
  const points = axes().map((name) => state.answer.axes[name]);
  for (let k = 0; k < 10; k++) state.sensors.push(points.map((x) => x[Math.floor(Math.random() * x.length)]));
  showMode();
  predict();
}

// ---------------------------------------------------------------- controls

function chooseFile(file) {
  state.file = file || null;
  $("nofile").hidden = $("startlabel").hidden = !state.file;
  $("start").value = "";
  if (state.file) document.querySelector("input[value=forecast]").checked = true;
  renew();
}

let playing = null;
function play() {
  if (playing) clearInterval(playing), (playing = null);
  else playing = setInterval(() => {
    $("lead").value = (Number($("lead").value) + 1) % (Number($("lead").max) + 1);
    draw();
  }, 150);
  $("play").textContent = playing ? "Pause" : "Play";
  $("play").setAttribute("aria-pressed", String(Boolean(playing)));
}

$("checkpoint").onchange = chooseCheckpoint;
$("more").ontoggle = () => showCard().catch((error) => say(error.message, true));
for (const id of ["dataset", "trajectory", "frame", "start"]) $(id).onchange = renew;
for (const id of ["field", "slice", "lead"]) $(id).oninput = draw;
for (const radio of document.querySelectorAll("input[name=mode]")) radio.onchange = () => {
  showMode();
  if (state.answer) draw();
  if (mode() === "sensors") predict();
};
$("file").onchange = () => chooseFile($("file").files[0]);
$("nofile").onclick = () => { $("file").value = ""; chooseFile(null); };
$("bump").onclick = () => { const {nx, ny} = indexing(); brush(Math.random() * nx, Math.random() * ny, 1); predict(); };
$("reset").onclick = renew;
$("scatter").onclick = scatter;
$("clear").onclick = () => { state.sensors = []; showMode(); draw(); };
$("play").onclick = play;
$("controls").onsubmit = (event) => { event.preventDefault(); predict(); };
for (const kind of ["dragover", "dragleave", "drop"]) $("drop").addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.toggle("over", kind === "dragover");
  if (kind === "drop") chooseFile(event.dataTransfer.files[0]);
});
begin().catch((error) => say(error.message, true));
