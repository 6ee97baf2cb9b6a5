"use strict";

// Sort a table by a column: numbers by their size, words by the alphabet, empty cells last.
function sortKey(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace("\u2212", "-").replace(/^[<[(]\s*/, ""));
  return { text, number };
}

function compare(one, other, direction) {
  if (!one.text || !other.text) return Boolean(other.text) - Boolean(one.text) || 0;
  const areNumbers = !Number.isNaN(one.number) && !Number.isNaN(other.number);
  const order = areNumbers ? one.number - other.number : one.text.localeCompare(other.text, "en", { numeric: true });
  return direction * order;
}

function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = Array.from(table.tBodies[0].rows, (row) => [sortKey(row, column), row]);
  rows.sort(([one], [other]) => compare(one, other, ascending ? 1 : -1));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    header.append(button);
  });
}

// Paper has nothing to unfold.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
