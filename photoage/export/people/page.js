"use strict";
// Everything shown comes from the embedded JSON and is put on the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const pictures = $("pictures").textContent.split("\n");
const DATE = /^\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$/;
const changes = new Map(); // person's number -> { name, birth, same, apart: Set of face ids }
const byNumber = new Map(data.persons.map((person) => [person.id, person]));
let saved = true;

/** What the user changed of a person; made when `make` is set. */
function changeOf(person, make = false) {
  if (!changes.has(person.id) && make) changes.set(person.id, { apart: new Set() });
  return changes.get(person.id) ?? { apart: new Set() };
}

/** The person that a name or number such as #12 means, or undefined. */
function personCalled(text) {
  const number = /^#?(\d+)$/.exec(text.trim());
  if (number) return byNumber.get(Number(number[1]));
  const wanted = text.trim().toLowerCase();
  return wanted ? data.persons.find((person) => nameOf(person).toLowerCase() === wanted) : undefined;
}

const nameOf = (person) => changeOf(person).name ?? person.name ?? "";

// --- rows: filled while they are near the window -------------------------------------------------

const rows = data.persons.map((person) => {
  const row = document.createElement("section");
  row.className = "person";
  row.id = `person-${person.id}`;
  row.dataset.number = person.id;
  $("persons").append(row);
  return row;
});
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting && !target.firstChild) fill(target, byNumber.get(Number(target.dataset.number)));
    else if (!isIntersecting && !target.contains(document.activeElement)) target.replaceChildren();
  }
}, { rootMargin: "900px 0px" });
rows.forEach((row) => near.observe(row));

function fill(row, person) {
  const change = changeOf(person);
  row.setAttribute("aria-label", `Person ${person.id}${nameOf(person) ? `, ${nameOf(person)}` : ""}`);
  const fields = element("div", { className: "fields" });
  fields.append(
    element("span", { className: "number", textContent: `#${person.id}` }),
    field("Name", "name", nameOf(person), (input) => set(person, "name", input.value.trim(), person.name ?? "")),
    field("Born", "birth", change.birth ?? person.birth ?? "", (input) => {
      const value = input.value.trim();
      input.setCustomValidity(value === "" || isDate(value) ? "" : "A date such as 1950, 1950-06 or 1950-06-01");
      if (input.reportValidity()) set(person, "birth", value, person.birth ?? "");
    }),
    field("Same as", "same", change.same ?? "", (input) => {
      const other = personCalled(input.value);
      const fits = input.value.trim() === "" || (other !== undefined && other !== person);
      input.setCustomValidity(fits ? "" : "Nobody else on this page has this name or number");
      if (input.reportValidity()) set(person, "same", other === undefined ? "" : `#${other.id}`, "");
    }),
    element("span", { className: "told", textContent: told(person) }),
  );
  const strip = element("div", { className: "strip", role: "group", ariaLabel: "Faces, earliest first" });
  strip.append(...person.shown.map((face) => faceButton(person, face)));
  strip.addEventListener("keydown", moveByKey);
  row.replaceChildren(fields, strip);
  row.classList.toggle("changed", changes.has(person.id));
}

function field(label, name, value, changed) {
  const input = element("input", { className: name, value, spellcheck: false });
  if (name === "same") input.setAttribute("list", "names");
  if (name === "birth") input.placeholder = "1950-06-01";
  input.addEventListener("change", () => changed(input));
  const wrap = element("label", { textContent: `${label} ` });
  wrap.append(input);
  return wrap;
}

function faceButton(person, face) {
  const button = element("button", { className: "face", type: "button", title: face.path });
  button.setAttribute("role", "checkbox");
  const picture = pictures[face.picture];
  button.append(picture
    ? element("img", { src: `data:image/webp;base64,${picture}`, alt: "", width: 68, height: 68, loading: "lazy" })
    : element("span", { className: "blank" }));
  button.append(element("span", { textContent: [face.date || "undated", `age ${face.age}`].join("\n") }));
  const show = () => button.setAttribute("aria-checked", String(changeOf(person).apart.has(face.id)));
  button.addEventListener("click", () => {
    const apart = changeOf(person, true).apart;
    if (!apart.delete(face.id)) apart.add(face.id);
    show();
    noted(person);
  });
  show();
  return button;
}

function told(person) {
  const faces = person.faces === 1 ? "1 face" : `${person.faces} faces`;
  const hidden = person.faces > person.shown.length ? `, ${person.shown.length} shown` : "";
  return `${faces}${hidden}${person.fitted ? `; by the photos' dates born ${person.fitted}` : ""}`;
}

/** Left, Right, Home and End go along the faces; Up and Down to the next person's. */
function moveByKey(event) {
  const faces = [...event.currentTarget.children];
  const at = faces.indexOf(document.activeElement);
  const target = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: faces.length - 1 }[event.key];
  if (target !== undefined) faces[target]?.focus();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const visible = rows.filter((row) => !row.hidden);
    const next = visible[visible.indexOf(event.currentTarget.parentElement) + (event.key === "ArrowDown" ? 1 : -1)];
    next?.scrollIntoView({ block: "nearest" });
    if (next && !next.firstChild) fill(next, byNumber.get(Number(next.dataset.number)));
    next?.querySelector(".face")?.focus();
  } else return;
  event.preventDefault();
}

// --- changes --------------------------------------------------------------------------------------

function set(person, key, value, before) {
  const change = changeOf(person, true);
  if (value === before) delete change[key];
  else change[key] = value;
  noted(person);
  if (key === "name") listNames();
}

function noted(person) {
  const change = changes.get(person.id);
  if (change && change.apart.size === 0 && Object.keys(change).length === 1) changes.delete(person.id);
  $(`person-${person.id}`).classList.toggle("changed", changes.has(person.id));
  const number = lines().length;
  $("changes").textContent = number === 0 ? "no changes" : number === 1 ? "1 change" : `${number} changes`;
  $("save").disabled = number === 0;
  saved = number === 0;
}

/** The lines of the file: what to do, with whom (its number and one of its faces), and what with. */
function lines() {
  const found = [];
  for (const [number, change] of changes) {
    const person = byNumber.get(number);
    const who = [number, person.shown[0].id];
    if (change.name !== undefined) found.push(["name", ...who, change.name, ""]);
    if (change.birth !== undefined) found.push(["birth", ...who, change.birth, ""]);
    for (const face of change.apart) found.push(["apart", ...who, "", face]);
    if (change.same) {
      const other = personCalled(change.same);
      found.push(["same", ...who, other.id, other.shown[0].id]);
    }
  }
  return found;
}

function save(event) {
  event.preventDefault();
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const table = [["action", "person", "face", "value", "other_face"], ...lines()];
  const text = table.map((line) => line.map((value) => quoted(String(value))).join(",")).join("\n");
  const link = element("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })) });
  link.download = "people.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  saved = true;
}

// --- finding --------------------------------------------------------------------------------------

function narrow() {
  const wanted = $("find").value.trim().toLowerCase();
  let number = 0;
  for (const row of rows) {
    const person = byNumber.get(Number(row.dataset.number));
    const name = nameOf(person);
    const fits = wanted === "" || name.toLowerCase().includes(wanted) || `#${person.id}`.startsWith(wanted) || String(person.id) === wanted;
    row.hidden = !fits || ($("unnamed").checked && name !== "");
    number += !row.hidden;
  }
  $("count").textContent = number === rows.length ? "" : `${number} of ${rows.length} persons`;
}

function listNames() {
  const named = data.persons.filter(nameOf);
  $("names").replaceChildren(...named.map((person) => element("option", { value: nameOf(person), label: `#${person.id}` })));
}

function isDate(text) {
  if (!DATE.test(text)) return false;
  const [year, month = 1, day = 1] = text.split("-").map(Number);
  const date = new Date(Date.UTC(year, month - 1, day));
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function element(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}

$("bar").addEventListener("submit", save);
$("find").addEventListener("input", narrow);
$("find").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
$("unnamed").addEventListener("change", narrow);
addEventListener("beforeunload", (event) => { if (!saved) event.preventDefault(); });
listNames();
$("summary").textContent = data.summary;
