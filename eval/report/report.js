"use strict";
(() => {
  const exports = JSON.parse(document.getElementById("exports").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- tables: sort, filter, choice of columns, export
  const shownRows = (section) => all("tbody tr", section).filter((row) => !row.hidden);
  const headings = (section) => all("thead .headings > th", section);
  const groups = (section) => all("thead .groups > th", section);
  const chosen = (section) => headings(section).flatMap((heading, index) => (heading.classList.contains("off") ? [] : [index]));
  const clean = (text) => text.trim().replace(/\s+/g, " ");
  const words = (cell) => clean(cell.textContent);
  // The value of a cell without its interval, its mark and the method's key.
  const value = (cell) => clean((cell.querySelector(".value") ?? cell).textContent);

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
    headings(section).forEach((heading, index) => {
      if (index === column) heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
  }

  // Show the columns whose boxes are checked; a group's heading spans those of its columns that are shown.
  function showColumns(section) {
    const boxes = all(".column", section);
    const every = boxes.every((box) => box.checked);
    boxes.forEach((box, index) => {
      for (const row of [headings(section), ...all("tbody tr", section).map((row) => row.cells)]) row[index].classList.toggle("off", !box.checked);
    });
    let start = 0;
    for (const group of groups(section)) {
      const width = Number((group.dataset.width ??= group.colSpan));
      const count = boxes.slice(start, start + width).filter((box) => box.checked).length;
      group.classList.toggle("off", !count);
      if (count) group.colSpan = count;
      start += width;
    }
    section.querySelector(".every").checked = every;
    section.classList.toggle("wide", boxes.filter((box) => box.checked).length > section.dataset.narrow);
  }

  function quote(field) {
    return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
  }

  const latexCharacters = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "↓": "$\\downarrow$", "↑": "$\\uparrow$", "−": "$-$", "×": "$\\times$", "∞": "$\\infty$", "†": "$^{\\dagger}$", "–": "--",
  };
  const latex = (text) => text.replace(/[\\~^&%$#_{}↓↑−×∞†–]/g, (character) => latexCharacters[character]);
  const markdown = (text) => text.replaceAll("−", "-").replace(/[\\|<>`*\[\]]/g, (character) => `\\${character}`);

  // A cell as {text, mark, interval, best}; the interval is empty where intervals are not shown.
  function parts(section, cell) {
    const part = (selector) => words(cell.querySelector(selector) ?? document.createElement("i"));
    const interval = section.classList.contains("plain") ? "" : part(".interval");
    return { text: value(cell), mark: part(".mark"), interval, best: cell.classList.contains("best") };
  }

  function latexCell(section, cell) {
    const { text, mark, interval, best } = parts(section, cell);
    const shown = best ? `\\textbf{${latex(text)}}` : latex(text);
    return shown + (mark ? "$^{*}$" : "") + (interval ? ` {\\scriptsize ${latex(interval)}}` : "");
  }

  function markdownCell(section, cell) {
    const { text, mark, interval, best } = parts(section, cell);
    const shown = best ? `**${markdown(text)}**` : markdown(text);
    return [shown + markdown(mark), markdown(interval)].filter(Boolean).join(" ");
  }

  // The groups over the columns chosen: {words, from, to}, counted from 1.
  function spans(section) {
    let from = 1;
    return groups(section).filter((group) => !group.classList.contains("off")).map((group) => {
      const span = { words: words(group), from, to: from + group.colSpan - 1 };
      from = span.to + 1;
      return span;
    });
  }

  const writers = {
    CSV(section) {
      const table = exports[section.dataset.table];
      const rows = shownRows(section).map((row) => table.rows[row.dataset.row]);
      return [table.header, ...rows].map((fields) => fields.map(quote).join(",") + "\n").join("");
    },
    Markdown(section) {
      const line = (fields) => `| ${fields.join(" | ")} |\n`;
      const columns = chosen(section);
      const over = spans(section).flatMap((span) => Array(span.to - span.from + 1).fill(span.words));
      const titles = columns.map((index, place) => {
        const group = over[place] && over[place] !== "Ours" ? `${over[place]}: ` : "";
        return markdown(group + words(headings(section)[index]));
      });
      const rule = columns.map((index) => (headings(section)[index].classList.contains("number") ? "---:" : "---"));
      const rows = shownRows(section).map((row) => columns.map((index) => markdownCell(section, row.cells[index])));
      return [titles, rule, ...rows].map(line).join("");
    },
    LaTeX(section) {
      const columns = chosen(section);
      const letters = columns.map((index) => (headings(section)[index].classList.contains("number") ? "r" : "l")).join("");
      // Braces keep a bracket after a line's end from being read as an optional argument.
      const line = (cells) => cells.join(" & ").replace(/^\[/, "{[}") + " \\\\\n";
      const over = spans(section);
      const multi = (span) => `\\multicolumn{${span.to - span.from + 1}}{c}{${latex(span.words)}}`;
      const rules = over.filter((span) => span.words).map((span) => `\\cmidrule(lr){${span.from}-${span.to}}`).join(" ");
      const top = rules ? line(over.map(multi)) + rules + "\n" : "";
      const titles = line(columns.map((index) => latex(words(headings(section)[index]))));
      const rows = shownRows(section).map((row) => line(columns.map((index) => latexCell(section, row.cells[index])))).join("");
      return `% \\usepackage{booktabs}\n\\begin{tabular}{${letters}}\n\\toprule\n${top}${titles}\\midrule\n${rows}\\bottomrule\n\\end{tabular}\n`;
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
    const message = copied ? `Copied ${shownRows(section).length} rows as ${kind}.` : `${kind} is selected in the box below.`;
    section.querySelector(".said").textContent = message;
  }

  for (const section of all("section.table")) {
    headings(section).forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => sort(section, column, heading.getAttribute("aria-sort") === "ascending"));
    });
    section.dataset.narrow = chosen(section).length;
    const standard = all(".column", section).map((box) => box.checked);
    section.querySelector(".tools").hidden = false;
    section.querySelector(".every").addEventListener("input", (event) => {
      all(".column", section).forEach((box, index) => (box.checked = event.target.checked || standard[index]));
      showColumns(section);
    });
    all(".column", section).forEach((box) => box.addEventListener("input", () => showColumns(section)));
    section.querySelector(".intervals").addEventListener("input", (event) => section.classList.toggle("plain", !event.target.checked));
    section.querySelector(".filter").addEventListener("input", (event) => {
      const wanted = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = all("tbody tr", section);
      for (const row of rows) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
      section.querySelector(".said").textContent = `${shownRows(section).length} of ${rows.length} rows shown.`;
    });
    all("[data-copy]", section).forEach((button) => button.addEventListener("click", () => copy(section, button.dataset.copy)));
    const choose = section.querySelector(".choose");
    choose.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      choose.open = false;
      choose.querySelector("summary").focus();
    });
  }

  // ---- images: two of them over each other, and their difference
  const box = document.querySelector(".compare");
  if (box) {
    const part = (name) => box.querySelector(name);
    const [which, left, right] = [part(".which"), part(".left"), part(".right")];
    const found = (column) => document.querySelector(`.image[data-row="${which.value}"][data-column="${column}"] img`);
    const put = (image, source) => {
      image.hidden = !source;
      if (source) [image.src, image.alt] = [source.src, source.alt];
      // Pixels of a small image are shown as they are.
      image.classList.toggle("pixels", Boolean(source) && source.naturalWidth <= 128);
    };
    const show = () => {
      const [a, b] = [found(left.value), found(right.value)];
      for (const stage of all(".stage", box)) {
        put(stage.querySelector(".over"), a);
        put(stage.querySelector(".under"), b);
      }
      part(".wipe .over").style.clipPath = `inset(0 ${100 - part(".boundary").value}% 0 0)`;
      part(".boundary-value").textContent = `${part(".boundary").value}%`;
      part(".gain-value").textContent = `${part(".gain").value}×`;
      // Half a difference is meaningless: without both images there is nothing to subtract.
      const stage = part(".subtract");
      all("img", stage).forEach((image) => (image.hidden = !a || !b));
      stage.style.setProperty("--gain", part(".gain").value);
      const name = (select) => select.selectedOptions[0].textContent;
      [part(".left-name").textContent, part(".right-name").textContent] = [name(left), name(right)];
      const absent = [[a, left], [b, right]].filter(([image]) => !image).map(([, select]) => name(select));
      part(".said").textContent = absent.length
        ? `No image of ${absent.join(" and ")} for this prompt.`
        : `${name(left)} on the left, ${name(right)} on the right; next to them their difference, ${part(".gain").value} times.`;
      all(".image").forEach((button) => {
        const pressed = button.dataset.row === which.value && [left.value, right.value].includes(button.dataset.column);
        button.setAttribute("aria-pressed", String(pressed));
      });
    };
    all("select, input", box).forEach((control) => control.addEventListener("input", show));
    all(".image").forEach((button) => button.addEventListener("click", () => {
      which.value = button.dataset.row;
      if (left.value === button.dataset.column) left.value = "0";
      right.value = button.dataset.column;
      show();
      box.scrollIntoView({ block: "nearest" });
    }));
    right.selectedIndex = Math.min(1, right.options.length - 1);
    box.hidden = false;
    const small = [...document.querySelectorAll(".image img")];
    const sharpen = (image) => image.classList.toggle("pixels", image.naturalWidth > 0 && image.naturalWidth <= 128);
    small.forEach((image) => (image.complete ? sharpen(image) : image.addEventListener("load", () => sharpen(image))));
    if (document.readyState === "complete") show();
    else window.addEventListener("load", show);
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
