"use strict";
// Sorting, filtering, drilling down and tooltips.  The page is whole without it; it makes no element of any text.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement;
  root.classList.add("js");

  // Colours
  const themes = ["", "light", "dark"];
  byId("theme").addEventListener("click", (event) => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "") + 1) % themes.length];
    if (next) root.dataset.theme = next; else delete root.dataset.theme;
    event.target.textContent = `Colours: ${next || "as the system"}`;
  });

  // Sorting: bodies of the layer table, rows of the others.
  const unitsOf = (table) => table.classList.contains("layers") ? all("tbody.layer", table) : [...table.tBodies[0].rows];
  const keyOf = (unit, column) => {
    const cell = (unit.rows ? unit.rows[0] : unit).cells[column];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = cell.textContent.trim();
    const number = Number(text.replace(/[,%±]/g, ""));
    return text && cell.classList.contains("n") ? number : text.toLowerCase();
  };
  const compare = (one, other) => {
    const missing = Number(Number.isNaN(one)) - Number(Number.isNaN(other));
    if (missing || Number.isNaN(one)) return { missing };
    return { order: typeof one === "string" ? one.localeCompare(String(other), undefined, { numeric: true })
      : one - other };
  };
  for (const table of all("table.sortable")) {
    const original = unitsOf(table);
    all("thead th:not(.unsorted)", table).forEach((heading) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const first = heading.classList.contains("n") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = heading.getAttribute("aria-sort");
        const next = now === first ? second : now === second ? null : first;
        all("thead th", table).forEach((each) => each.removeAttribute("aria-sort"));
        if (next) heading.setAttribute("aria-sort", next);
        const sign = next === "descending" ? -1 : 1;
        const keys = new Map(original.map((unit) => [unit, keyOf(unit, heading.cellIndex)]));
        const sorted = next ? [...original].sort((one, other) => {
          const { missing, order } = compare(keys.get(one), keys.get(other));
          return missing ?? sign * order;
        }) : original;
        const parent = original[0]?.parentNode;
        parent?.append(...sorted);
      });
    });
  }

  // Drilling down: from the total to layers, from a layer to its operations, from an operation to all its figures.
  const twist = (row, opened) => {
    const heading = row.cells[0];
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => opened(button.getAttribute("aria-expanded") !== "true"));
    return (open) => button.setAttribute("aria-expanded", String(open));
  };
  const layers = new Map();
  for (const body of all("tbody.layer")) {
    const operations = all("tr.op", body).map((row) => {
      const details = row.nextElementSibling;
      details.querySelector("details").open = true;
      const texts = [...row.cells].map((cell) => cell.textContent.trim().toLowerCase());
      const operation = { row, name: texts[0], bound: texts.at(-1), shown: true, open: false };
      const said = twist(row, (open) => operation.toggle(open));
      operation.toggle = (open) => { operation.open = open; said(open); layer.show(); };
      operation.show = (visible) => { row.hidden = !visible; details.hidden = !(visible && operation.open); };
      return operation;
    });
    const layer = { open: false, operations };
    const said = twist(body.rows[0], (open) => layer.toggle(open));
    layer.show = () => operations.forEach((each) => each.show(layer.open && each.shown));
    layer.toggle = (open) => { layer.open = open; said(open); layer.show(); };
    layer.show();
    layers.set(body, layer);
  }
  const reveal = (id) => {
    const row = byId(id);
    const table = row?.closest("table");
    if (!table) return;
    all(`[data-filters="${table.id}"], [data-operation="${table.id}"], [data-bound="${table.id}"]`)
      .forEach((each) => { each.value = ""; });
    filter(table);
    const layer = layers.get(row.parentNode);
    layer?.toggle(true);
    layer?.operations.find((each) => each.row === row)?.toggle(true);
    row.scrollIntoView({ block: "center" });
    if (!layer) row.tabIndex = -1;
    (layer ? row.querySelector("button") : row).focus({ preventScroll: true });
  };

  // Filtering
  const chosen = (kind, table) => document.querySelector(`[data-${kind}="${table.id}"]`)?.value.toLowerCase() ?? "";
  const filter = (table) => {
    const text = chosen("filters", table).trim();
    const operation = chosen("operation", table), bound = chosen("bound", table);
    const units = unitsOf(table);
    let shown = 0;
    for (const unit of units) {
      const layer = layers.get(unit);
      let visible = (layer ? unit.rows[0].cells[0] : unit).textContent.toLowerCase().includes(text);
      if (layer) {
        for (const each of layer.operations) {
          each.shown = (!operation || each.name === operation) && (!bound || each.bound === bound);
        }
        visible &&= layer.operations.some((each) => each.shown);
        layer.show();
      }
      unit.hidden = !visible;
      shown += Number(visible);
    }
    const counts = document.querySelector(`[data-counts="${table.id}"]`);
    if (counts) counts.textContent = `${shown} of ${units.length} shown`;
  };
  for (const kind of ["filters", "operation", "bound"]) {
    for (const control of all(`input[data-${kind}], select[data-${kind}]`)) {
      control.addEventListener("input", () => filter(byId(control.dataset[kind])));
    }
  }
  for (const button of all("[data-opens]")) {
    button.addEventListener("click", () => {
      const bodies = all("tbody.layer", byId(button.dataset.opens));
      const open = !bodies.some((body) => layers.get(body).open);
      bodies.forEach((body) => layers.get(body).toggle(open));
      button.textContent = open ? "Close all layers" : "Open all layers";
    });
  }

  // Tooltips: with the mouse, with a finger, and with the arrow keys.
  const tip = byId("tip"), said = byId("said");
  const texts = new Map();
  for (const mark of all(".mark")) {
    const title = mark.querySelector("title");
    if (title) { texts.set(mark, title.textContent); title.remove(); }
  }
  for (const mini of all("svg.mini")) texts.set(mini, mini.getAttribute("aria-label"));
  const place = (x, y) => {
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + 16 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 10 : y + 16}px`;
  };
  const point = (mark, x, y) => {
    tip.textContent = texts.get(mark) ?? "";
    tip.hidden = !tip.textContent;
    place(x, y);
  };
  document.addEventListener("pointermove", (event) => {
    const mark = event.target.closest?.(".mark, svg.mini");
    if (mark && texts.has(mark)) point(mark, event.clientX, event.clientY); else tip.hidden = true;
  });
  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("[data-row]")?.dataset.row;
    if (row) reveal(row);
  });
  for (const chart of all("svg.chart")) {
    const marks = all(".mark", chart).filter((mark) => texts.has(mark));
    if (!marks.length) continue;
    let at = -1;
    const leave = () => { marks[at]?.classList.remove("here"); tip.hidden = true; };
    chart.setAttribute("tabindex", "0");
    chart.setAttribute("aria-describedby", "chart-help");
    chart.addEventListener("blur", leave);
    chart.addEventListener("keydown", (event) => {
      const last = marks.length - 1;
      const next = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
      if (event.key === "Enter" && marks[at]?.dataset.row) {
        event.preventDefault(); // else the button that is focused now is pressed as well
        reveal(marks[at].dataset.row);
        return;
      }
      if (event.key === "Escape") { leave(); return; }
      if (!(event.key in next)) return;
      event.preventDefault();
      marks[at]?.classList.remove("here");
      at = Math.max(0, Math.min(last, next[event.key]));
      marks[at].classList.add("here");
      const box = marks[at].getBoundingClientRect();
      point(marks[at], box.left + box.width / 2, box.top + box.height / 2);
      said.textContent = tip.textContent;
    });
  }
})();
