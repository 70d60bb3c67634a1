"use strict";
// The table of subjects: sorted by a heading, filtered, and a page of it shown at a time.
(() => {
  const PAGE = 50;
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const search = document.getElementById("search");
  const metric = document.getElementById("metric");
  const split = document.getElementById("split");
  const flagged = document.getElementById("flagged");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const letters = new Intl.Collator(undefined, { numeric: true });
  const rows = [...body.rows].map((row) => ({
    row,
    text: [...row.querySelectorAll(":scope > :not([data-values])")].map((cell) => cell.textContent).join(" ").toLowerCase(),
    split: row.dataset.split,
    flags: Number(row.lastElementChild.dataset.key),
    cells: [...row.cells],
    values: [...row.cells].map((cell) => cell.dataset.values?.split(";").map((pair) => pair.split("|"))),
  }));
  let limit = PAGE;

  function keyOf(item, column) {
    const values = item.values[column];
    return values ? values[metric.selectedIndex][1] : item.cells[column].dataset.key ?? item.cells[column].textContent;
  }

  function sort() {
    const column = headings.findIndex((th) => ["ascending", "descending"].includes(th.ariaSort));
    const sign = headings[column].ariaSort === "ascending" ? 1 : -1;
    const isNumber = headings[column].dataset.kind === "number";
    const compare = isNumber ? (a, b) => a - b : letters.compare;
    rows.sort((a, b) => {
      const [first, second] = [keyOf(a, column), keyOf(b, column)];
      // What is missing stands last, whichever way the table is sorted.
      if (isNumber && (first === "" || second === "")) return (first === "") - (second === "");
      return sign * compare(first, second);
    });
    body.append(...rows.map((item) => item.row));
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const item of rows) {
      const matches =
        words.every((word) => item.text.includes(word)) &&
        (!split?.value || item.split === split.value) &&
        (!flagged.checked || item.flags > 0);
      item.row.hidden = !matches || ++found > limit;
    }
    const all = `${rows.length} subject${rows.length === 1 ? "" : "s"}`;
    count.textContent = found === rows.length ? all : `${found} of ${all}`;
    more.hidden = found <= limit;
    more.textContent = `Show all ${found}`;
  }

  function showMetric() {
    for (const item of rows)
      item.values.forEach((values, column) => {
        if (values) item.cells[column].textContent = values[metric.selectedIndex][0];
      });
  }

  for (const heading of headings)
    heading.querySelector("button")?.addEventListener("click", () => {
      const next = heading.ariaSort === "ascending" ? "descending" : "ascending";
      for (const other of headings) if (other.hasAttribute("aria-sort")) other.ariaSort = "none";
      heading.ariaSort = next;
      sort();
      filter();
    });
  for (const control of [search, split, flagged])
    control?.addEventListener("input", () => {
      limit = PAGE;
      filter();
    });
  metric.addEventListener("input", () => {
    showMetric();
    sort();
    filter();
  });
  more.addEventListener("click", () => {
    limit = Infinity;
    filter();
  });
  search.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
