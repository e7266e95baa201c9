"use strict";
const make = (name, attributes, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};

// ---- tables that sort and filter
const UNITS = {k: 1e3, M: 1e6, G: 1e9};
const number = text => { const found = parseFloat(text); return Number.isNaN(found) ? -1 : found * (UNITS[text.slice(-1)] || 1); };

for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  heads.forEach((head, column) => {
    const button = make("button", {type: "button"}, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const isNumber = head.dataset.kind === "number", has = head.getAttribute("aria-sort");
      const up = has ? has === "descending" : !isNumber;
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keys = new Map(rows.map(row => [row, row.cells[column].textContent]));
      const order = isNumber ? (a, b) => number(keys.get(a)) - number(keys.get(b))
        : (a, b) => keys.get(a).localeCompare(keys.get(b), "en", {numeric: true});
      body.append(...rows.sort((a, b) => (up ? 1 : -1) * order(a, b)));
    });
  });
  if (rows.length < 2) continue;
  const input = make("input", {type: "search", autocomplete: "off"}), select = make("select", {}, make("option", {value: ""}, "all"));
  const said = make("output", {class: "soft"}), column = heads.findIndex(head => head.dataset.kind === "word");
  const words = new Set(column < 0 ? [] : rows.map(row => row.cells[column].textContent));
  for (const word of words) select.append(make("option", {}, word));
  const filter = () => {
    const text = input.value.trim().toLowerCase(), word = select.value;
    let shown = 0;
    for (const row of rows) {
      const fits = (!word || row.cells[column].textContent === word) && (!text || row.textContent.toLowerCase().includes(text));
      row.hidden = !fits;
      shown += fits;
    }
    said.value = text || word ? `${shown} of ${rows.length} rows` : "";
  };
  input.addEventListener("input", filter);
  select.addEventListener("change", filter);
  const tools = make("div", {class: "tools"}, make("label", {}, "Filter", input));
  if (words.size > 1) tools.append(make("label", {}, heads[column].textContent, select));
  tools.append(said);
  table.parentElement.before(tools);
}

// ---- errors over time, closer
const data = document.getElementById("bins"), bars = document.getElementById("bars");
if (data && bars) {
  const {first, last, count, kinds, bins} = JSON.parse(data.textContent), svg = bars.ownerSVGElement;
  const left = 46, top = 12, bottom = 166, width = 720, texts = svg.querySelectorAll(":scope > text");
  let range = [0, count];
  const draw = () => {
    const [from, to] = range, columns = Math.min(120, to - from), sums = Array.from({length: columns}, () => kinds.map(() => 0));
    for (const [bin, ...numbers] of bins) {
      if (bin < from || bin >= to) continue;
      const place = Math.floor((bin - from) * columns / (to - from));
      numbers.forEach((each, kind) => { sums[place][kind] += each; });
    }
    const most = Math.max(1, ...sums.map(each => each.reduce((a, b) => a + b, 0))), wide = (width - left) / columns;
    bars.replaceChildren();
    sums.forEach((numbers, place) => {
      let y = bottom;
      numbers.forEach((each, kind) => {
        if (!each) return;
        const tall = each * (bottom - top) / most, bar = document.createElementNS(svg.namespaceURI, "rect");
        y -= tall;
        for (const [key, value] of Object.entries({x: left + place * wide, y, width: Math.max(wide - 0.7, 0.8), height: tall,
          class: kinds[kind]})) bar.setAttribute(key, value);
        const title = document.createElementNS(svg.namespaceURI, "title");
        title.textContent = `${each} ${kinds[kind]}`;
        bar.append(title);
        bars.append(bar);
      });
    });
    const time = part => new Date(first + (last - first) * part / count).toISOString().slice(0, 23).replace("T", " ") + " UTC";
    texts[0].textContent = most;
    texts[2].textContent = time(from);
    texts[3].textContent = time(to);
  };
  const zoom = (from, to) => {
    from = Math.max(0, Math.round(from)); to = Math.min(count, Math.round(to));
    if (to - from >= 8) { range = [from, to]; draw(); }
  };
  const by = factor => () => { const middle = (range[0] + range[1]) / 2, half = (range[1] - range[0]) / 2 * factor; zoom(middle - half, middle + half); };
  const shift = share => () => {
    const size = range[1] - range[0], from = Math.min(Math.max(range[0] + size * share, 0), count - size);
    zoom(from, from + size);
  };
  const tools = make("div", {class: "tools"});
  for (const [text, act] of [["Zoom in", by(0.5)], ["Zoom out", by(2)], ["Earlier", shift(-0.5)], ["Later", shift(0.5)],
    ["All", () => zoom(0, count)]]) {
    const button = make("button", {type: "button"}, text);
    button.addEventListener("click", act);
    tools.append(button);
  }
  svg.closest(".scroll").before(tools);
  const place = event => {
    const rect = svg.getBoundingClientRect(), x = (event.clientX - rect.left) * width / rect.width;
    return range[0] + Math.min(Math.max((x - left) / (width - left), 0), 1) * (range[1] - range[0]);
  };
  let start = null;
  svg.addEventListener("pointerdown", event => { if (event.pointerType === "mouse") { start = place(event); event.preventDefault(); } });
  svg.addEventListener("pointerup", event => {
    if (start === null) return;
    const end = place(event);
    zoom(Math.min(start, end), Math.max(start, end));
    start = null;
  });
}
