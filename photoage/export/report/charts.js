// --- charts: drawn at the size they have, with a table that says the same ---------------------

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const text = (x, y, anchor, content) => svg("text", { x, y, "text-anchor": anchor }, content);
const bar = (kind, x, y, width, height, said) =>
  svg("rect", { class: kind, x, y, width, height, rx: Math.min(1.5, width / 2) }, svg("title", {}, said));

/** Faces by age, above the slider and to its scale: all that match otherwise, and those in the range. */
function drawAges({ all, chosen }) {
  const width = $("ages").clientWidth;
  const [top, base, edge] = [16, 92, 9]; // edge: half a thumb of the slider
  const step = (width - 2 * edge) / all.length;
  const most = Math.max(...all, 1);
  const at = (age) => edge + (step * age) / BIN;
  const chart = svg("svg", { height: base + 18, role: "img" });
  chart.setAttribute("aria-label", `Histogram: ${agesInWords(chosen)}`);
  chart.append(
    svg("line", { class: "rule", x1: edge, x2: width - edge, y1: top - 0.5, y2: top - 0.5 }),
    text(width - edge, top - 4, "end", count(Math.max(...all))),
  );
  all.forEach((number, bin) => {
    const said = `${agesOf(bin)}: ${some(chosen[bin], "face")}`;
    for (const [kind, value] of [["all", number], ["chosen", chosen[bin]]]) {
      const height = value && Math.max(1, ((base - top) * value) / most);
      if (height) chart.append(bar(kind, at(bin * BIN) + 0.75, base - height, step - 1.5, height, said));
    }
  });
  chart.append(svg("line", { class: "rule", x1: edge, x2: width - edge, y1: base + 0.5, y2: base + 0.5 }));
  for (let age = 0; age <= TOP; age += 20) chart.append(text(at(age), base + 14, "middle", age));
  $("ages").replaceChildren(chart);
}

const agesOf = (bin) => `${bin * BIN} to ${bin * BIN + BIN - 1} years`;
const agesInWords = (bins) =>
  bins.map((number, bin) => (number ? `${agesOf(bin)}, ${count(number)}` : "")).filter(Boolean).join("; ") || "no faces";

/** Where a date is in time, in months. */
const month = (date) => Number(date.slice(0, 4)) * 12 + Number(date.slice(5, 7) || 1) - 1;
const PERIODS = [1, 3, 6, 12, 24, 60, 120, 240, 600]; // months

function periodName(start, months) {
  const year = Math.floor(start / 12);
  if (months < 12) return `${year}-${String((start % 12) + 1).padStart(2, "0")}`;
  return months === 12 ? `${year}` : `${year}\u2013${year + months / 12 - 1}`;
}

/** How many faces of which age were photographed when. */
function drawTime() {
  if (!days.length) return;
  const width = $("time").clientWidth;
  const [left, top, height] = [30, 6, 170];
  const [first, last] = [month(days[0]), month(days.at(-1))];
  const shortest = last - first < 36 ? 1 : 12; // parts of years tell something of a few years only
  const most = Math.max(4, (width - left) / 18);
  const months = PERIODS.find((length) => length >= shortest && (last - first) / length < most) ?? PERIODS.at(-1);
  const start = Math.floor(first / months) * months;
  const columns = Math.floor((last - start) / months) + 1;
  const rows = TOP / BIN;
  const cells = Array.from({ length: columns }, () => new Array(rows).fill(0));
  const ages = Array.from({ length: columns }, () => []);
  let undated = 0;
  for (const face of shown) {
    if (!face.taken || (months < 12 && face.taken.length === 4)) { undated++; continue; }
    const column = Math.floor((month(face.taken) - start) / months);
    cells[column][Math.floor(face.years / BIN)]++;
    ages[column].push(face.age);
  }
  const peak = Math.max(1, ...cells.map((column) => Math.max(...column)));
  const [cellWidth, cellHeight] = [Math.min(48, (width - left) / columns), height / rows];
  const [x, y] = [(column) => left + column * cellWidth, (age) => top + height - (age / BIN) * cellHeight];
  const chart = svg("svg", { height: top + height + 20, role: "img", "aria-labelledby": "time-title time-note" });
  for (let age = 0; age <= TOP; age += 20) {
    chart.append(
      svg("line", { class: "rule", x1: left, x2: x(columns), y1: y(age), y2: y(age) }),
      text(left - 8, y(age) + 4, "end", age),
    );
  }
  cells.forEach((column, i) => column.forEach((number, bin) => {
    if (!number) return;
    const said = `${periodName(start + i * months, months)}, ${agesOf(bin)}: ${some(number, "face")}`;
    const cell = bar("cell", x(i) + 0.5, y(bin * BIN + BIN) + 0.5, cellWidth - 1, cellHeight - 1, said);
    cell.setAttribute("fill-opacity", (0.18 + 0.82 * Math.sqrt(number / peak)).toFixed(2));
    chart.append(cell);
  }));
  const label = months < 12 ? 54 : months === 12 ? 40 : 72; // pixels
  const every = Math.max(1, Math.ceil(label / cellWidth));
  for (let i = 0; i < columns && x(i) + label <= width + 12; i += every) {
    chart.append(text(x(i) + 1, top + height + 16, "start", periodName(start + i * months, months)));
  }
  $("time").replaceChildren(chart);
  $("time-note").textContent =
    `Across: when a photo was taken; upwards: estimated age. The stronger the colour, the more faces, up to ${count(peak)}.` +
    (undated ? ` ${some(undated, "face")} without ${months < 12 ? "a month" : "a date"} ${undated === 1 ? "is" : "are"} not in it.` : "");
  // Sorting all ages takes a while when there are many: not before somebody looks.
  $("time-table").ontoggle = () => $("time-table").open && timeTable(ages, (i) => periodName(start + i * months, months));
  $("time-table").ontoggle();
}

function timeTable(ages, name) {
  const table = document.createElement("table");
  const cells = (row, kind, scope, contents) => contents.forEach((content, i) => {
    const cell = row.appendChild(document.createElement(i ? kind : "th"));
    cell.textContent = content;
    if (i === 0 || scope === "col") cell.scope = i === 0 && scope !== "col" ? "row" : "col";
  });
  cells(table.createTHead().insertRow(), "th", "col", ["Taken", "Faces", "Youngest", "Median age", "Oldest"]);
  const body = table.createTBody();
  ages.forEach((all, i) => {
    if (!all.length) return;
    const sorted = all.toSorted((a, b) => a - b).map(Math.round);
    cells(body.insertRow(), "td", "row", [name(i), count(all.length), sorted[0], sorted[sorted.length >> 1], sorted.at(-1)]);
  });
  $("time-table").lastElementChild.replaceChildren(table);
}
