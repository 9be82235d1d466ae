"use strict";

// --- what the page contains -----------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const totals = JSON.parse($("totals").textContent);
const faces = [];
const folders = []; // [shown, URL]
for (const block of document.querySelectorAll('script[type="application/json"]:not([id])')) {
  const more = JSON.parse(block.textContent);
  for (const folder of more.folders) folders.push(folder);
  for (const [age, low, high, taken, source, folder, name, url, problem] of more.faces) {
    faces.push({ age, low, high, years: Math.round(age), taken, source, folder, name, url, problem, number: faces.length });
  }
  block.remove();
}
const pictureBlocks = [...document.querySelectorAll('script[type="text/plain"]')];
const pictures = []; // by block, split when first needed
const PLACEHOLDER =
  "data:image/svg+xml," +
  encodeURIComponent(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" fill="none" stroke="#8a8d88" stroke-width="3">' +
      '<circle cx="48" cy="40" r="15"/><path d="M21 80c3-16 14-22 27-22s24 6 27 22M14 14l68 68"/></svg>',
  );

function picture(face) {
  const block = Math.floor(face.number / totals.block);
  if (!pictures[block]) {
    pictures[block] = pictureBlocks[block].textContent.split("\n");
    pictureBlocks[block].remove();
  }
  const encoded = pictures[block][face.number % totals.block];
  return encoded ? "data:image/webp;base64," + encoded : PLACEHOLDER;
}

const count = (number) => number.toLocaleString("en");
const some = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const day = (face) => face.taken.slice(0, 10);
const SOURCES = {
  exif: "in the photo's metadata",
  xmp: "in XMP, in the photo or beside it",
  takeout: "in Google Takeout",
  name: "in the file's name",
  folder: "in a folder's name",
  user: "given by hand",
  people: "by its people's ages",
};
const interval = (face) => `${Math.round(face.low)}\u2013${Math.round(face.high)}`;
const inside = (folder) => (folder.endsWith(totals.separator) ? folder : folder + totals.separator);
const path = (face) => inside(folders[face.folder][0]) + face.name;

// --- filter and order -----------------------------------------------------------------------

const BIN = 5; // years
const oldest = faces.reduce((most, face) => Math.max(most, face.years), 0);
const TOP = Math.max(20, Math.ceil((oldest + 1) / BIN) * BIN);
const days = faces.filter((face) => face.taken).map(day).sort();
const NOTHING = { low: 0, high: TOP, from: "", to: "", folder: "", order: "given" };
let wanted = { ...NOTHING };
let inFolder = null; // per folder, whether it is wanted; null for all
let shown = faces;
const ordered = { given: faces };

const ORDERS = {
  young: (a, b) => a.age - b.age,
  old: (a, b) => b.age - a.age,
  early: (a, b) => !a.taken - !b.taken || (a.taken < b.taken ? -1 : +(a.taken > b.taken)),
  late: (a, b) => !a.taken - !b.taken || (a.taken > b.taken ? -1 : +(a.taken < b.taken)),
  certain: (a, b) => a.high - a.low - (b.high - b.low),
};

/** Whether a face is wanted as to everything but its age. */
function matchesOtherFilters(face) {
  if (inFolder && !inFolder[face.folder]) return false;
  if (!wanted.from && !wanted.to) return true;
  if (face.taken === "") return false;
  // Of a date that is a year or a month, one of its days must be within.
  const after = !wanted.from || day(face) >= wanted.from || wanted.from.startsWith(day(face));
  return after && (!wanted.to || day(face) <= wanted.to);
}

function update(change) {
  wanted = { ...wanted, ...change };
  if ("folder" in change) inFolder = wanted.folder === "" ? null : folders.map(([name]) => isWithin(name, wanted.folder));
  ordered[wanted.order] ??= faces.toSorted(ORDERS[wanted.order]);
  const ages = { all: new Array(TOP / BIN).fill(0), chosen: new Array(TOP / BIN).fill(0) };
  shown = [];
  for (const face of ordered[wanted.order]) {
    if (!matchesOtherFilters(face)) continue;
    const bin = Math.floor(face.years / BIN);
    ages.all[bin]++;
    if (face.years < wanted.low || face.years > wanted.high) continue;
    ages.chosen[bin]++;
    shown.push(face);
  }
  showControls();
  showCounts();
  drawAges(ages);
  drawTime();
  showGallery();
}

const isWithin = (name, folder) => name === folder || name.startsWith(inside(folder));

// --- controls -------------------------------------------------------------------------------

let announcing = 0;

function showCounts() {
  const missing = shown.reduce((sum, face) => sum + (face.problem !== undefined), 0);
  $("count").textContent = count(shown.length);
  $("of").textContent =
    shown.length < faces.length ? `of ${some(faces.length, "face")}` : faces.length === 1 ? "face" : "faces";
  $("without").textContent = missing ? `${count(missing)} without a picture: the photo is gone or changed` : "";
  clearTimeout(announcing); // said once the hand rests
  announcing = setTimeout(() => ($("live").textContent = `${$("count").textContent} ${$("of").textContent}. ${$("without").textContent}`), 500);
}

function showControls() {
  for (const end of ["low", "high"]) {
    $(end).value = wanted[end];
    $(end).setAttribute("aria-valuetext", `${wanted[end]} years`);
    if (document.activeElement !== $(`${end}-number`)) $(`${end}-number`).value = wanted[end];
  }
  $("low").style.zIndex = wanted.low > TOP / 2 ? 2 : 1; // where both thumbs meet, the one that can move is on top
  $("high").style.zIndex = 1;
  const at = (age) => `calc(var(--thumb) / 2 + (100% - var(--thumb)) * ${age / TOP})`;
  $("span").style.left = at(wanted.low);
  $("span").style.right = `calc(100% - ${at(wanted.high)})`;
  for (const name of ["from", "to", "folder"]) if ($(name).value !== wanted[name] && document.activeElement !== $(name)) $(name).value = wanted[name];
  $("reset").disabled = Object.keys(NOTHING).every((key) => key === "order" || wanted[key] === NOTHING[key]);
}

/** Set one end of the age range; past the other end, it stops or pushes that along. */
function setAge(end, value, push) {
  const age = Math.min(TOP, Math.max(0, Math.round(value)));
  const [low, high] = end === "low" ? [age, wanted.high] : [wanted.low, age];
  if (low <= high) update({ low, high });
  else if (push) update({ low: age, high: age });
  else update({ [end]: end === "low" ? wanted.high : wanted.low });
}

function takeNumber(end, finished) {
  const field = $(`${end}-number`);
  const typed = field.value !== "" && field.validity.valid ? field.valueAsNumber : NaN;
  // Of 35 the 3 is typed first, which is no reason yet to move the other end.
  const early = end === "low" ? typed > wanted.high : typed < wanted.low;
  if (!isNaN(typed) && (finished || !early)) setAge(end, typed, true);
  if (finished) field.value = wanted[end];
}

function listFolders() {
  const sizes = new Map();
  for (const face of faces) {
    for (let name = folders[face.folder][0]; name; name = name.slice(0, Math.max(0, name.lastIndexOf(totals.separator)))) {
      sizes.set(name, (sizes.get(name) ?? 0) + 1);
    }
  }
  // Folders that hold every face tell nothing: names begin after the innermost of them.
  const parts = [...sizes].filter(([, size]) => size < faces.length);
  const largest = parts.sort((a, b) => b[1] - a[1]).slice(0, 500).sort(([a], [b]) => (a < b ? -1 : 1));
  const common = [...sizes].filter(([, size]) => size === faces.length).reduce((a, [b]) => (b.length > a.length ? b : a), "");
  for (const [name, size] of largest) {
    const told = name.slice(common.length && inside(common).length);
    $("folder").add(new Option(`${told} (${count(size)})`, name));
  }
  $("folder").disabled = largest.length === 0;
}

function begin() {
  const range = days.length ? `, taken ${[...new Set([days[0].slice(0, 4), days.at(-1).slice(0, 4)])].join("\u2013")}` : "";
  $("summary").textContent =
    `${some(faces.length, "face")} in ${some(totals.photos, "photo")}${range}` + (totals.filter ? `. Only: ${totals.filter}` : "");
  $("made").textContent =
    `Made on ${totals.made} by photoage ${totals.version}. Detector: ${totals.detector.join(", ")}. ` +
    `Age model: ${totals.checkpoint.join(", ")}.`;
  $("order").options[0].text = totals.order === "path" ? "By folder and name" : `By ${totals.order}, as asked for`;
  for (const end of ["low", "high"]) {
    $(end).max = $(`${end}-number`).max = TOP;
    $(end).addEventListener("input", () => setAge(end, $(end).valueAsNumber, false));
    for (const kind of ["input", "change"]) $(`${end}-number`).addEventListener(kind, () => takeNumber(end, kind === "change"));
  }
  for (const end of ["from", "to"]) {
    $(end).min = days[0] ?? "";
    $(end).max = days.at(-1) ?? "";
    $(end).addEventListener("input", () => update({ [end]: $(end).value }));
  }
  $("dates").hidden = $("time-section").hidden = !days.length;
  listFolders();
  $("folder").addEventListener("input", () => update({ folder: $("folder").value }));
  $("order").addEventListener("input", () => update({ order: $("order").value }));
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  $("reset").addEventListener("click", () => update({ ...NOTHING, order: wanted.order }));
  showTheme(matchMedia("(prefers-color-scheme: dark)").matches);
  $("theme").addEventListener("click", () => showTheme($("theme").textContent === "Dark", true));
  beginGallery();
  update({});
}

/** The button offers the colours that are not in use. */
function showTheme(dark, chosen) {
  $("theme").textContent = dark ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `${$("theme").textContent} colours`);
  if (chosen) document.documentElement.dataset.theme = dark ? "dark" : "light";
}
