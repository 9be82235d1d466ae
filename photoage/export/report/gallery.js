// --- gallery: only the rows near the window exist --------------------------------------------

const AHEAD = 3; // rows beyond each edge of the window
const rows = new Map(); // index -> element
let columns = 1;
let rowHeight = 1;

function beginGallery() {
  let waiting = false;
  const soon = () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; showRows(); });
    waiting = true;
  };
  addEventListener("scroll", soon, { passive: true });
  let width = $("grid").clientWidth;
  new ResizeObserver(() => {
    if ($("grid").clientWidth === width) return soon();
    width = $("grid").clientWidth;
    const first = Math.max(0, Math.floor(-$("grid").getBoundingClientRect().top / rowHeight) * columns);
    update({});
    if (first) scrollBy({ top: rowTop(first), behavior: "instant" });
  }).observe(document.body);
  $("grid").addEventListener("keydown", moveByKey);
}

/** Where in the window the row of a face begins. */
const rowTop = (position) => $("grid").getBoundingClientRect().top + Math.floor(position / columns) * rowHeight;

/** Lay out the faces that are shown now, from the first if they are other ones than before. */
function showGallery() {
  const style = getComputedStyle(document.documentElement);
  const card = parseFloat(style.getPropertyValue("--card"));
  const gap = innerWidth > 760 ? 14 : 10;
  const width = $("grid").clientWidth;
  columns = Math.max(2, Math.floor((width + gap) / (card + gap)));
  rowHeight = (width - gap * (columns - 1)) / columns + 26 + 2 * 16 + 18; // picture, age, date, name, space
  for (const row of rows.values()) row.remove();
  rows.clear();
  $("none").hidden = shown.length > 0;
  $("grid").style.height = `${Math.ceil(shown.length / columns) * rowHeight}px`;
  const top = $("gallery").getBoundingClientRect().top;
  if (top < 0) scrollBy({ top: top - 12, behavior: "instant" });
  showRows();
}

function showRows() {
  const top = $("grid").getBoundingClientRect().top;
  const last = Math.min(Math.ceil(shown.length / columns), Math.ceil((innerHeight - top) / rowHeight) + AHEAD) - 1;
  const first = Math.max(0, Math.floor(-top / rowHeight) - AHEAD);
  for (const [index, row] of rows) {
    // The row that has the focus stays, or the focus would be lost.
    if ((index < first || index > last) && !row.contains(document.activeElement)) {
      row.remove();
      rows.delete(index);
    }
  }
  for (let index = last; index >= first; index--) {
    if (rows.has(index)) continue;
    const next = [...rows.keys()].filter((other) => other > index);
    const row = makeRow(index);
    $("grid").insertBefore(row, next.length ? rows.get(Math.min(...next)) : null); // the order of Tab
    rows.set(index, row);
  }
}

function makeRow(index) {
  const row = make("div", "row");
  row.style.transform = `translateY(${index * rowHeight}px)`;
  row.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  shown.slice(index * columns, (index + 1) * columns).forEach((face, i) => row.append(makeCard(face, index * columns + i)));
  return row;
}

function make(name, kind, content = "") {
  const element = document.createElement(name);
  element.className = kind;
  element.textContent = content;
  return element;
}

function makeCard(face, position) {
  const card = make("div", "card");
  card.setAttribute("role", "listitem");
  card.setAttribute("aria-setsize", shown.length);
  card.setAttribute("aria-posinset", position + 1);
  card.title = path(face) + (face.problem ? `\nNo picture: ${face.problem}` : "");
  const link = card.appendChild(document.createElement("a"));
  link.href = folders[face.folder][1] + face.url;
  link.target = "_blank";
  link.rel = "noopener";
  link.dataset.position = position;
  const image = link.appendChild(document.createElement("img"));
  image.width = image.height = 96;
  image.decoding = "async";
  image.alt = `Face estimated ${face.years} years, ${interval(face)}, ${face.name}` + (face.problem ? `; no picture: ${face.problem}` : "");
  image.src = picture(face);
  // The picture's text says these already.
  for (const [kind, content] of [["age", face.years], ["interval", interval(face)], ["name", face.name]]) {
    link.append(make("span", kind, content), " ");
    link.lastElementChild.setAttribute("aria-hidden", "true");
  }
  const taken = make("span", "taken", day(face) || "no date");
  if (SOURCES[face.source]) taken.title = `The date is ${SOURCES[face.source]}`;
  link.lastElementChild.before(taken);
  return card;
}

/** Arrow keys go from face to face, beyond the rows that exist as well. */
function moveByKey(event) {
  const from = Number(event.target.closest("a")?.dataset.position);
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const to = { Home: 0, End: shown.length - 1 }[event.key] ?? from + by;
  if (!(to >= 0 && to < shown.length) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const top = rowTop(to);
  if (top < 0) scrollBy({ top: top - 12, behavior: "instant" });
  else if (top + rowHeight > innerHeight) scrollBy({ top: top + rowHeight - innerHeight, behavior: "instant" });
  showRows();
  $("grid").querySelector(`a[data-position="${to}"]`)?.focus({ preventScroll: true });
}

begin();
