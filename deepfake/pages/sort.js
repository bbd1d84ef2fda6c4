// Tables with a head are sorted by a click on a column's name: numbers by size, the rest as text.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!table.tHead || !body || body.rows.length < 3) continue;
  const value = (row, column) => row.cells[column]?.innerText.trim() ?? "";
  const number = (text) => parseFloat(text.replace(/,/g, "").replace("−", "-"));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.innerText.trim()) return;
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      const counted = rows.every(([text]) => !text || text === "–" || !Number.isNaN(number(text)));
      rows.sort(([a], [b]) => {
        if (!counted) return a.localeCompare(b);
        const [x, y] = [number(a), number(b)];
        return Number.isNaN(x) - Number.isNaN(y) || x - y;
      });
      if (down) rows.reverse();
      body.append(...rows.map(([, row]) => row));
    });
  });
}
