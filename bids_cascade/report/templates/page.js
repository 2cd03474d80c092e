"use strict";
// Tables that can be sorted, searched, leafed through and downloaded, and whose columns can be chosen. A page without scripts shows their first rows.

const isMissing = (text) => text === "n/a" || text === "";

class DataTable {
  static ROWS_AT_ONCE = 200;

  constructor(element) {
    this.fileName = element.dataset.fileName;
    this.body = element.querySelector("tbody");
    this.headings = [...element.querySelectorAll("thead th")];
    this.columns = this.headings.map((heading) => heading.textContent);
    this.isNumber = this.headings.map((heading) => heading.classList.contains("number"));
    this.rows = [...this.body.rows].map((row) => ({
      cells: [...row.cells].map((cell) => cell.textContent),
      link: row.querySelector("a")?.getAttribute("href") ?? "",
      element: row,
    }));
    const rest = element.querySelector("script");
    if (rest) {
      const { rows, links } = JSON.parse(rest.textContent);
      rows.forEach((cells, index) => this.rows.push({ cells, link: links[index] ?? "", element: null }));
      rest.remove();
    }
    this.id = element.id;
    this.hidden = this.emptyColumns();
    this.order = [...this.rows.keys()];
    this.shown = this.order;
    this.first = 0;
    this.makeSortable();
    element.prepend(this.makeTools());
    this.show();
  }

  makeSortable() {
    this.headings.forEach((heading, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      button.addEventListener("click", () => this.sort(index));
      heading.replaceChildren(button);
      heading.setAttribute("aria-sort", "none");
    });
  }

  makeTools() {
    const tools = document.createElement("div");
    tools.className = "table-tools";
    if (this.rows.length > 10) {
      const label = document.createElement("label");
      this.search = document.createElement("input");
      this.search.type = "search";
      this.search.addEventListener("input", () => this.find());
      label.append("Find ", this.search);
      tools.append(label);
    }
    this.count = document.createElement("span");
    this.count.className = "count";
    this.count.setAttribute("aria-live", "polite");
    tools.append(this.count);
    if (this.rows.length > DataTable.ROWS_AT_ONCE) {
      const leaf = document.createElement("span");
      leaf.className = "leaf";
      this.back = this.makeButton("Previous", () => this.leaf(-1));
      this.forth = this.makeButton("Next", () => this.leaf(1));
      leaf.append(this.back, this.forth);
      tools.append(leaf);
    }
    if (this.columns.length > 12 || this.hidden.size) tools.append(this.makePicker());
    const download = this.makeButton("Download TSV", () => this.download());
    download.classList.add("download");
    tools.append(download);
    return tools;
  }

  emptyColumns() {
    const isEmpty = (index) => this.rows.length > 0 && this.rows.every((row) => isMissing(row.cells[index]));
    return new Set([...this.columns.keys()].filter(isEmpty));
  }

  // A list of all columns to choose from; those without a value are hidden at first.
  makePicker() {
    const picker = document.createElement("details");
    picker.className = "picker";
    const summary = document.createElement("summary");
    const list = document.createElement("div");
    this.style = document.createElement("style");
    const boxes = this.columns.map((name, index) => {
      const box = document.createElement("input");
      box.type = "checkbox";
      box.addEventListener("change", () => {
        this.hidden[box.checked ? "delete" : "add"](index);
        update();
      });
      const label = document.createElement("label");
      label.append(box, ` ${name}`);
      list.append(label);
      return box;
    });
    const update = () => {
      boxes.forEach((box, index) => (box.checked = !this.hidden.has(index)));
      const cells = [...this.hidden].map((index) => `#${this.id} tr > :nth-child(${index + 1})`);
      this.style.textContent = cells.length ? `${cells.join(",")} { display: none; }` : "";
      summary.textContent = `Columns (${this.columns.length - this.hidden.size} of ${this.columns.length})`;
    };
    const choose = (text, hidden) =>
      this.makeButton(text, () => {
        this.hidden = hidden();
        update();
      });
    const all = choose("All", () => new Set());
    const filled = choose("Those with a value", () => this.emptyColumns());
    list.prepend(all, filled);
    picker.append(summary, list, this.style);
    update();
    return picker;
  }

  makeButton(text, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", action);
    return button;
  }

  // Sort by a column, upwards first; what is missing comes last either way, and equals keep the file's order.
  sort(index) {
    const direction = this.headings[index].getAttribute("aria-sort") === "ascending" ? -1 : 1;
    this.headings.forEach((heading, other) => {
      heading.setAttribute("aria-sort", other !== index ? "none" : direction === 1 ? "ascending" : "descending");
    });
    const collator = new Intl.Collator("en", { numeric: true });
    const compare = this.isNumber[index] ? (a, b) => a - b : collator.compare;
    const texts = this.rows.map((row) => row.cells[index]);
    const keys = this.isNumber[index] ? texts.map(Number) : texts;
    const missing = texts.map(isMissing);
    this.order = [...this.rows.keys()].sort((a, b) => {
      if (missing[a] || missing[b]) return missing[a] - missing[b] || a - b;
      return direction * compare(keys[a], keys[b]) || a - b;
    });
    this.find();
  }

  find() {
    const wanted = (this.search?.value ?? "").trim().toLowerCase();
    const matches = (row) => row.cells.some((cell) => cell.toLowerCase().includes(wanted));
    this.shown = wanted ? this.order.filter((index) => matches(this.rows[index])) : this.order;
    this.first = 0;
    this.show();
  }

  leaf(step) {
    this.first += step * DataTable.ROWS_AT_ONCE;
    this.show();
    this.body.closest(".table-scroll").scrollTop = 0;
  }

  show() {
    const last = Math.min(this.first + DataTable.ROWS_AT_ONCE, this.shown.length);
    this.body.replaceChildren(...this.shown.slice(this.first, last).map((index) => this.element(this.rows[index])));
    const total = this.rows.length;
    const all = last - this.first === total;
    const matching = this.shown.length === total ? `${total}` : `${this.shown.length} (of ${total} in all)`;
    this.count.textContent = all
      ? `${total} row${total === 1 ? "" : "s"}`
      : `rows ${this.shown.length ? this.first + 1 : 0} to ${last} of ${matching}`;
    if (this.back) {
      this.back.disabled = this.first === 0;
      this.forth.disabled = last === this.shown.length;
    }
  }

  element(row) {
    if (row.element) return row.element;
    row.element = document.createElement("tr");
    row.cells.forEach((text, index) => {
      const cell = row.element.insertCell();
      if (this.isNumber[index]) cell.className = "number";
      if (isMissing(text)) cell.dataset.missing = "";
      if (index === 0 && row.link) {
        const link = document.createElement("a");
        link.setAttribute("href", row.link);
        link.textContent = text;
        cell.append(link);
      } else {
        cell.textContent = text;
      }
    });
    return row.element;
  }

  download() {
    const lines = [this.columns, ...this.rows.map((row) => row.cells)].map((cells) => cells.join("\t"));
    const url = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/tab-separated-values" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = this.fileName;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }
}

// By id, for a page's other scripts.
const dataTables = Object.fromEntries(
  [...document.querySelectorAll(".table")].map((element) => [element.id, new DataTable(element)])
);
