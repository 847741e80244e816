"use strict";
(() => {
  const table = document.querySelector("table");
  const body = document.querySelector("tbody");
  const rows = Array.from(body.rows);
  const headers = Array.from(document.querySelectorAll("thead th"));
  const filters = ["stream", "protocol", "track"].map((id) => document.getElementById(id));

  const show = () => {
    for (const row of [...rows, ...document.querySelectorAll("p.ties")]) {
      row.hidden = filters.some((filter) => filter.value && row.dataset[filter.id] !== filter.value);
    }
    const shown = rows.filter((row) => !row.hidden);
    const count = shown.length;
    for (const { id } of filters) {
      const values = new Set(shown.map((row) => row.dataset[id]));
      table.classList.toggle(`one-${id}`, values.size < 2);
    }
    document.getElementById("count").textContent = count === 1 ? "1 row" : `${count} rows`;
    document.getElementById("none").hidden = count > 0;
  };

  const sort = (index, descending) => {
    const number = headers[index].dataset.kind === "number";
    const value = (row) => row.cells[index].dataset.value;
    const order = (a, b) => (number ? value(a) - value(b) : value(a).localeCompare(value(b), "en"));
    const sorted = rows.slice().sort((a, b) => (descending ? order(b, a) : order(a, b)));
    body.append(...sorted);
    headers.forEach((header, place) => {
      if (place === index) header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
  };

  headers.forEach((header, index) => {
    rows.forEach((row) => { row.cells[index].dataset.label = header.textContent; });
    if (!header.dataset.kind) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const now = header.getAttribute("aria-sort");
      sort(index, now ? now === "ascending" : header.dataset.best === "high");
    });
  });

  let left = rows;
  for (const filter of filters.slice(0, 2)) {
    const share = (value) => left.filter((row) => row.dataset[filter.id] === value).length;
    const values = Array.from(filter.options, (option) => option.value);
    filter.value = values.reduce((best, value) => (share(value) > share(best) ? value : best));
    left = left.filter((row) => !filter.value || row.dataset[filter.id] === filter.value);
  }
  for (const filter of filters) filter.addEventListener("change", show);
  const form = document.getElementById("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
