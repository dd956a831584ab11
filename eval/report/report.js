"use strict";
(() => {
  const exports = JSON.parse(document.getElementById("exports").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- tables: sort, filter, export
  const shownRows = (section) => all("tbody tr", section).filter((row) => !row.hidden);
  const words = (cell) => cell.textContent.trim().replace(/\s+/g, " ");

  function compare(a, b) {
    // Empty cells come last in either direction; numbers are compared by their full precision.
    const [x, y] = [a.dataset.sort, b.dataset.sort];
    if (x !== undefined && y !== undefined) return Number(x) - Number(y);
    return words(a).localeCompare(words(b));
  }

  function sort(section, column, descending) {
    const body = section.querySelector("tbody");
    const isEmpty = (row) => {
      const cell = row.cells[column];
      return cell.classList.contains("number") ? cell.dataset.sort === undefined : words(cell) === "";
    };
    const rows = all("tr", body).sort((a, b) => {
      if (isEmpty(a) !== isEmpty(b)) return isEmpty(a) ? 1 : -1;
      const order = compare(a.cells[column], b.cells[column]);
      return (descending ? -order : order) || a.dataset.row - b.dataset.row;
    });
    body.append(...rows);
    all("thead th", section).forEach((heading, index) => {
      if (index === column) heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
  }

  function quote(field) {
    return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
  }

  const latexCharacters = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
  };
  const latex = (text) => text.replace(/[\\~^&%$#_{}]/g, (character) => latexCharacters[character]);
  const markdown = (text) => text.replace(/[\\|<>`*\[\]]/g, (character) => `\\${character}`);

  const writers = {
    CSV(section) {
      const table = exports[section.dataset.table];
      const rows = shownRows(section).map((row) => table.rows[row.dataset.row]);
      return [table.header, ...rows].map((fields) => fields.map(quote).join(",") + "\n").join("");
    },
    Markdown(section) {
      const line = (fields) => `| ${fields.join(" | ")} |\n`;
      const headings = all("thead th", section);
      const first = section.querySelector("tbody tr");
      const rule = headings.map((_, index) => (first.cells[index].classList.contains("number") ? "---:" : "---"));
      const rows = shownRows(section).map((row) => [...row.cells].map((cell) => markdown(words(cell))));
      return [headings.map((cell) => markdown(words(cell))), rule, ...rows].map(line).join("");
    },
    LaTeX(section) {
      const headings = all("thead th", section);
      const first = section.querySelector("tbody tr");
      const columns = headings.map((_, index) => (first.cells[index].classList.contains("number") ? "r" : "l")).join("");
      // Braces keep a bracket after a line's end from being read as an optional argument.
      const line = (cells) => cells.map((cell) => latex(words(cell))).join(" & ").replace(/^\[/, "{[}") + " \\\\\n";
      const rows = shownRows(section).map((row) => line([...row.cells])).join("");
      return `\\begin{tabular}{${columns}}\n\\hline\n${line(headings)}\\hline\n${rows}\\hline\n\\end{tabular}\n`;
    },
  };

  async function copy(section, kind) {
    const box = section.querySelector(".export");
    const area = box.querySelector("textarea");
    area.value = writers[kind](section);
    box.hidden = false;
    area.select();
    let copied = false;
    try {
      await navigator.clipboard.writeText(area.value);
      copied = true;
    } catch {
      copied = document.execCommand("copy");
    }
    const told = copied ? `Copied ${shownRows(section).length} rows as ${kind}.` : `${kind} is selected in the box below the table.`;
    section.querySelector(".said").textContent = told;
  }

  for (const section of all("section.table")) {
    all("thead th", section).forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => sort(section, column, heading.getAttribute("aria-sort") === "ascending"));
    });
    section.querySelector(".tools").hidden = false;
    section.querySelector(".filter").addEventListener("input", (event) => {
      const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = all("tbody tr", section);
      for (const row of rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
      section.querySelector(".said").textContent = `${shownRows(section).length} of ${rows.length} rows shown.`;
    });
    all("[data-copy]", section).forEach((button) => button.addEventListener("click", () => copy(section, button.dataset.copy)));
  }

  // ---- pictures: two of them on one stage
  const box = document.querySelector(".compare");
  if (box) {
    const part = (name) => box.querySelector(name);
    const [which, left, right] = [part(".which"), part(".left"), part(".right")];
    const picture = (row, column) => document.querySelector(`.picture[data-row="${row}"][data-column="${column}"] img`);
    const put = (image, found) => {
      image.hidden = !found;
      if (found) [image.src, image.alt] = [found.src, found.alt];
    };
    const show = () => {
      const [a, b] = [picture(which.value, left.value), picture(which.value, right.value)];
      const [under, over, stage] = [part(".under"), part(".over"), part(".stage")];
      put(over, a);
      put(under, b);
      const difference = part(".difference").checked;
      over.style.clipPath = difference ? "" : `inset(0 ${100 - part(".boundary").value}% 0 0)`;
      over.style.mixBlendMode = difference ? "difference" : "";
      // Half a difference is meaningless: without both pictures there is nothing to subtract.
      stage.style.filter = difference ? `brightness(${part(".gain").value})` : "";
      part(".boundary").disabled = difference;
      part(".gain").disabled = !difference;
      const name = (select) => select.selectedOptions[0].textContent;
      const absent = [[a, left], [b, right]].filter(([found]) => !found).map(([, select]) => name(select));
      part(".said").textContent = absent.length
        ? `No picture of ${absent.join(" and ")} for this prompt.`
        : difference ? `Difference of ${name(left)} and ${name(right)}, ${part(".gain").value} times.` : `${name(left)} on the left, ${name(right)} on the right.`;
      all(".picture").forEach((button) => {
        const chosen = button.dataset.row === which.value && [left.value, right.value].includes(button.dataset.column);
        button.setAttribute("aria-pressed", String(chosen));
      });
    };
    all("select, input", box).forEach((control) => control.addEventListener("input", show));
    all(".picture").forEach((button) => button.addEventListener("click", () => {
      which.value = button.dataset.row;
      if (left.value === button.dataset.column) left.value = "0";
      right.value = button.dataset.column;
      show();
      box.scrollIntoView({ block: "nearest" });
    }));
    right.selectedIndex = right.options.length - 1;
    box.hidden = false;
    show();
  }

  // ---- a link to a run opens its details
  const open = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let parent = target.parentElement; parent; parent = parent.parentElement) if (parent.tagName === "DETAILS") parent.open = true;
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", open);
  document.addEventListener("click", (event) => {
    // The same link twice changes no hash, but the reader may have closed the details in between.
    if (event.target.closest?.('a[href^="#run-"]')) setTimeout(open);
  });
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details.failed:not([open]), details.invalid:not([open])");
    closed.forEach((details) => (details.open = true));
  });
  window.addEventListener("afterprint", () => closed.forEach((details) => (details.open = false)));
  if (location.hash) open();
})();
