"use strict";
// Plots of group_visits.tsv as the page's table holds it: each dot a visit, and a link to its participant's page.
{
  const table = dataTables["table-group_visits"];
  const columnOf = Object.fromEntries(table.columns.map((name, index) => [name, index]));
  const text = (row, name) => row.cells[columnOf[name]];
  const number = (row, name) => (isMissing(text(row, name)) ? NaN : Number(text(row, name)));
  const complete = table.rows.filter((row) => text(row, "status") === "complete");
  const nameOf = (row) => [text(row, "participant_id"), text(row, "session_id")].filter((part) => !isMissing(part)).join(" ");
  const isOutlier = (row) => text(row, "group_flags").includes("lesion_volume_outlier");
  const isOther = (row) => text(row, "processing") !== "1";
  const MARGIN = { top: 26, right: 16, bottom: 44, left: 58 };

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const format = (value) => String(Number(value.toPrecision(6)));
  const round = (cell) => (Number(cell) >= 100 ? Number(cell).toFixed(0) : format(Number(Number(cell).toPrecision(3))));

  // Scales: a function from value to pixel, with its ticks. A logarithmic one keeps a place apart for 0.
  const linearScale = (values, from, to) => {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (low === high) [low, high] = [low - 1, high + 1];
    const rough = (high - low) / 6;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    low -= 0.03 * (high - low);
    high += 0.03 * (high - low);
    const scale = (value) => from + ((value - low) / (high - low)) * (to - from);
    const first = Math.ceil(low / step);
    scale.ticks = Array.from({ length: Math.floor(high / step) - first + 1 }, (_, index) => (first + index) * step);
    return scale;
  };

  const logScale = (values, from, to) => {
    const positive = values.filter((value) => value > 0);
    const hasZero = positive.length < values.length;
    const ends = positive.length ? [Math.min(...positive), Math.max(...positive)].map(Math.log10) : [-1, 0];
    // However close the values are, room for two ticks.
    const margin = Math.max(0.06, (0.7 - (ends[1] - ends[0])) / 2);
    const [low, high] = [ends[0] - margin, ends[1] + margin];
    const start = hasZero ? from + Math.sign(to - from) * 34 : from;
    const zero = from + Math.sign(to - from) * 8;
    const scale = (value) => (value > 0 ? start + ((Math.log10(value) - low) / (high - low)) * (to - start) : zero);
    const factors = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    scale.ticks = hasZero ? [0] : [];
    for (let power = Math.floor(low); power <= high; power++) {
      for (const factor of factors) {
        const exponent = power + Math.log10(factor);
        if (exponent >= low && exponent <= high) scale.ticks.push(factor * 10 ** power);
      }
    }
    return scale;
  };

  const drawAxes = (svg, size, x, y, names) => {
    const bottom = size.height - MARGIN.bottom;
    for (const tick of x.ticks) {
      svg.append(make("line", { class: "grid", x1: x(tick), x2: x(tick), y1: MARGIN.top, y2: bottom }));
      svg.append(make("text", { x: x(tick), y: bottom + 17, "text-anchor": "middle" }, format(tick)));
    }
    for (const tick of y?.ticks ?? []) {
      svg.append(make("line", { class: "grid", x1: MARGIN.left, x2: size.width - MARGIN.right, y1: y(tick), y2: y(tick) }));
      svg.append(make("text", { x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
    }
    svg.append(make("line", { class: "axis", x1: MARGIN.left, x2: size.width - MARGIN.right, y1: bottom, y2: bottom }));
    svg.append(make("text", { class: "axis-name", x: MARGIN.left, y: size.height - 6 }, names.x));
    if (y) svg.append(make("text", { class: "axis-name", x: 2, y: 14 }, names.y));
  };

  const markOf = (x, y, radius, outlier, other) => {
    const kind = ["mark", outlier && "outlier", other && "other"].filter(Boolean).join(" ");
    if (!outlier) return make("circle", { class: kind, cx: x.toFixed(1), cy: y.toFixed(1), r: radius });
    const r = radius * 1.4;
    return make("path", { class: kind, d: `M${x.toFixed(1)} ${(y - r).toFixed(1)}l${r} ${r}l${-r} ${r}l${-r} ${-r}z` });
  };

  // Dots in the order in which arrow keys go through them: only one of them is on the way of the Tab key.
  const drawDots = (svg, points, radius) => {
    points.sort((a, b) => a.x - b.x || b.y - a.y);
    const group = make("g", points.length > CROWD ? { class: "crowd" } : {});
    points.forEach(({ row, x, y }, index) => {
      const dot = make(row.link ? "a" : "g", { class: "dot", tabindex: index ? -1 : 0, "data-row": index });
      if (row.link) dot.setAttribute("href", row.link);
      else dot.setAttribute("role", "img");
      dot.setAttribute("aria-label", sayOf(row).replaceAll("\n", ", "));
      dot.append(markOf(x, y, radius, isOutlier(row), isOther(row)));
      group.append(dot);
    });
    // Outliers on top of the crowd.
    for (const mark of [...group.querySelectorAll(".outlier")]) group.append(mark.parentNode);
    svg.append(group);
    return group;
  };

  const sayOf = (row) => {
    const lines = [nameOf(row), `${round(text(row, "lesion_volume_ml"))} ml, ${text(row, "n_lesions")} lesions`];
    for (const name of ["group_flags", "quality_flags"]) {
      if (!isMissing(text(row, name))) lines.push(text(row, name).replaceAll("_", " ").replaceAll(";", ", "));
    }
    return lines.join("\n");
  };

  const CROWD = 600;
  const radiusFor = (n) => (n > 5 * CROWD ? 2 : n > CROWD ? 3 : 5);

  const makeSvg = (holder, height, name) => {
    const size = { width: Math.max(holder.clientWidth, 280), height };
    const svg = make("svg", { viewBox: `0 0 ${size.width} ${height}`, width: size.width, height, role: "group", "aria-label": name });
    return [svg, size];
  };

  // A stack of dots in each column of pixels: the shape of a histogram, and no dot hidden while there is room.
  const drawDistribution = (holder) => {
    const { x: name, label } = holder.dataset;
    const rows = complete.filter((row) => !Number.isNaN(number(row, name)));
    const [svg, size] = makeSvg(holder, 210, `Distribution of ${label}; a table follows`);
    const x = logScale(rows.map((row) => number(row, name)), MARGIN.left, size.width - MARGIN.right);
    const radius = radiusFor(rows.length);
    const [top, bottom] = [MARGIN.top, size.height - MARGIN.bottom];
    drawBand(svg, name, x, top, bottom);
    drawAxes(svg, size, x, null, { x: label });
    const stacks = new Map();
    const points = [...rows]
      .sort((a, b) => number(a, name) - number(b, name))
      .map((row) => {
        const column = Math.round(x(number(row, name)) / (2 * radius));
        const place = stacks.get(column) ?? 0;
        stacks.set(column, place + 1);
        return { row, column, place };
      });
    const step = Math.min(2 * radius, (bottom - top - 2 * radius) / Math.max(...stacks.values()));
    for (const point of points) {
      point.x = x(number(point.row, name));
      point.y = bottom - radius - 2 - point.place * step;
    }
    return [svg, drawDots(svg, points, radius), points];
  };

  const drawBand = (svg, name, x, top, bottom) => {
    const summary = dataTables["table-group_summary"];
    const at = (column) => summary.columns.indexOf(column);
    const row = summary.rows.find(({ cells }) => cells[at("processing")] === "1" && cells[at("measure")] === name);
    if (!row) return;
    const [low, middle, high] = ["first_quartile", "median", "third_quartile"].map((column) => row.cells[at(column)]);
    const [from, to] = [x(Number(low)), x(Number(high))];
    svg.append(make("rect", { class: "band", x: from, y: top, width: Math.max(to - from, 1), height: bottom - top }));
    const centre = x(Number(middle));
    svg.append(make("line", { class: "median", x1: centre, x2: centre, y1: top - 6, y2: bottom }));
    const side = centre > 0.75 * svg.viewBox.baseVal.width ? { x: centre - 6, "text-anchor": "end" } : { x: centre + 6 };
    svg.append(make("text", { class: "median-name", y: top - 8, ...side }, `median ${round(middle)}`));
  };

  const drawRelation = (holder) => {
    const across = document.getElementById("relation-x").value;
    const up = document.getElementById("relation-y");
    const label = up.selectedOptions[0].dataset.label;
    const rows = complete.filter((row) => !Number.isNaN(number(row, across)) && !Number.isNaN(number(row, up.value)));
    const left = complete.length - rows.length;
    document.getElementById("relation-caption").textContent =
      `${rows.length} visit${rows.length === 1 ? "" : "s"}` + (left ? `; ${left} without a value are left out.` : ".");
    const [svg, size] = makeSvg(holder, 360, `${label} against ${across}; the table below has the numbers`);
    if (!rows.length) return [svg, null, []];
    const x = linearScale(rows.map((row) => number(row, across)), MARGIN.left, size.width - MARGIN.right);
    const y = logScale(rows.map((row) => number(row, up.value)), size.height - MARGIN.bottom, MARGIN.top);
    drawAxes(svg, size, x, y, { x: across, y: label });
    const points = rows.map((row) => ({ row, x: x(number(row, across)), y: y(number(row, up.value)) }));
    return [svg, drawDots(svg, points, radiusFor(rows.length)), points];
  };

  const drawCourse = (holder) => {
    const visits = new Map();
    for (const row of complete) {
      const name = text(row, "participant_id");
      visits.set(name, [...(visits.get(name) ?? []), row]);
    }
    const courses = [...visits.values()].filter((rows) => rows.length > 1);
    const rows = courses.flat();
    const dated = rows.every((row) => !isMissing(text(row, "days_since_first_visit")));
    const place = (row) => (dated ? number(row, "days_since_first_visit") / 365.25 : number(row, "visit_number"));
    const volume = (row) => number(row, "lesion_volume_ml");
    const [svg, size] = makeSvg(holder, 360, "Lesion volume by visit; the table below has the numbers");
    const x = linearScale(rows.map(place), MARGIN.left, size.width - MARGIN.right);
    if (!dated) x.ticks = x.ticks.filter(Number.isInteger);
    const y = logScale(rows.map(volume), size.height - MARGIN.bottom, MARGIN.top);
    drawAxes(svg, size, x, y, { x: dated ? "years since first visit" : "visit", y: holder.dataset.label });
    const lines = [];
    for (const course of courses) {
      course.sort((a, b) => number(a, "visit_number") - number(b, "visit_number"));
      for (const [index, row] of course.entries()) {
        const before = course[index - 1];
        if (!before || text(before, "processing") !== text(row, "processing")) continue;
        const ends = [before, row].map((visit) => `${x(place(visit)).toFixed(1)} ${y(volume(visit)).toFixed(1)}`);
        lines.push(`M${ends.join("L")}`);
      }
    }
    const opacity = Math.min(0.35, 0.35 * Math.sqrt(30 / lines.length)).toFixed(3);
    svg.append(make("path", { class: "line", d: lines.join(""), "stroke-opacity": opacity }));
    const points = rows.map((row) => ({ row, x: x(place(row)), y: y(volume(row)) }));
    return [svg, drawDots(svg, points, radiusFor(rows.length)), points];
  };

  const drawings = { distribution: drawDistribution, relation: drawRelation, course: drawCourse };
  const draw = (holder) => {
    const [svg, group, points] = drawings[holder.dataset.plot](holder);
    const tooltip = document.createElement("div");
    tooltip.className = "tooltip";
    tooltip.hidden = true;
    holder.replaceChildren(svg, tooltip);
    if (!group) return;
    const dots = new Map([...group.children].map((dot) => [Number(dot.dataset.row), dot]));
    const show = (event) => {
      const dot = event.target.closest(".dot");
      tooltip.hidden = !dot;
      if (!dot) return;
      const { row, x, y } = points[Number(dot.dataset.row)];
      tooltip.textContent = sayOf(row);
      const scale = svg.clientWidth / svg.viewBox.baseVal.width;
      tooltip.style.left = `${Math.max(0, Math.min(x * scale + 12, holder.clientWidth - tooltip.offsetWidth))}px`;
      tooltip.style.top = `${y * scale + 12}px`;
    };
    for (const kind of ["mouseover", "focusin"]) group.addEventListener(kind, show);
    for (const kind of ["mouseout", "focusout"]) group.addEventListener(kind, () => (tooltip.hidden = true));
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const dot = event.target.closest(".dot");
      const next = step && dots.get(Number(dot.dataset.row) + step);
      if (!next) return;
      event.preventDefault();
      dot.setAttribute("tabindex", -1);
      next.setAttribute("tabindex", 0);
      next.focus();
    });
  };

  const drawLegend = () => {
    const kinds = [
      ["a visit", (row) => !isOutlier(row) && !isOther(row), false, false],
      ["lesion volume far from the others’", (row) => isOutlier(row) && !isOther(row), true, false],
      ["not made like most", (row) => !isOutlier(row) && isOther(row), false, true],
      ["far from the others of its kind", (row) => isOutlier(row) && isOther(row), true, true],
    ];
    const list = document.createElement("ul");
    for (const [name, matches, outlier, other] of kinds) {
      if (!complete.some(matches)) continue;
      const item = document.createElement("li");
      item.append(make("svg", { viewBox: "0 0 16 16", "aria-hidden": true }, markOf(8, 8, 5, outlier, other)), name);
      list.append(item);
    }
    document.getElementById("legend").replaceChildren(list);
  };

  const holders = [...document.querySelectorAll(".plot")];
  if (holders.length) {
    drawLegend();
    holders.forEach(draw);
    for (const select of document.querySelectorAll(".choice select")) {
      select.addEventListener("change", () => draw(document.querySelector("[data-plot=relation]")));
    }
    let width = holders[0].clientWidth;
    let waiting;
    window.addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        if (holders[0].clientWidth === width) return;
        width = holders[0].clientWidth;
        holders.forEach(draw);
      }, 150);
    });
  }
}
