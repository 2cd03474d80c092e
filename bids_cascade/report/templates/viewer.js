"use strict";
// Slices through volumes with lesions: three planes of one visit, or one plane of two. Scroll, click, drag or use the
// arrow keys. Radiological: the patient's right is left.

const X = 0, Y = 1, Z = 2;
// By the axis that they are perpendicular to.
const PLANES = [
  { across: Y, down: Z, through: X, sides: ["A", "P", "S", "I"] },
  { across: X, down: Z, through: Y, sides: ["R", "L", "S", "I"] },
  { across: X, down: Y, through: Z, sides: ["R", "L", "A", "P"] },
];
const PIXELS_PER_MM = 3;
const ZOOM_STEP = 1.5, MOST_ZOOM = 1.5 ** 5;
const TURN_MS = 900;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const multiply = (matrix, point) =>
  matrix.slice(0, 3).map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);

// From blue-violet for what is unlikely over red to yellow for what is certain.
const heat = (fraction) =>
  [255 * clamp(0.35 + 1.3 * fraction, 0, 1), 255 * clamp(1.6 * fraction - 0.6, 0, 1), 150 * (1 - fraction)];
// The uncertainty is a standard deviation of probabilities, at most a half.
const MAPS = {
  probability: { largest: 1, colour: heat },
  candidates: { largest: 1, colour: heat },
  uncertainty: { largest: 0.5, colour: (fraction) => heat(2 * fraction) },
};
const rgb = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class Viewer {
  // content is what viewer.py writes; bytes are the volumes one after the other, X running fastest, of one byte a voxel,
  // but for the last, which holds the numbers of the lesions in four.
  constructor(content, bytes) {
    Object.assign(this, content);
    const length = this.shape[X] * this.shape[Y] * this.shape[Z];
    this.volumes = Object.fromEntries(
      this.names.map((name, index) => [name, bytes.subarray(index * length, (index + 1) * length)])
    );
    this.numbers = new Uint32Array(bytes.slice(this.names.length * length).buffer);
    this.colours = Object.fromEntries(this.kinds);
    this.places = new Map(this.lesions.map((lesion, place) => [lesion.number, place]));
    this.controls = Object.fromEntries([...document.querySelectorAll("[name]")].map((control) => [control.name, control]));
    this.at = this.shape.map((length) => Math.floor(length / 2));
    this.zoom = 1;
    this.middle = [...this.at]; // of what is shown when zoomed in
    this.lesion = -1; // place in the table of the lesion under the crosshair, or -1
    this.latest = -1; // that of the latest one that was
    this.turn = 0; // which panel is shown, where they take turns
    this.panels = this.panels.map((panel) => this.makePanel(panel));
    this.makeLegend();
    this.listen();
    this.lay();
    if (this.lesions.length) this.show(0);
    this.follow();
  }

  listen() {
    for (const control of Object.values(this.controls)) control.addEventListener("input", () => this.lay());
    const onClick = (id, act) => document.querySelector(id).addEventListener("click", act);
    onClick("#previous", () => this.step(-1));
    onClick("#next", () => this.step(1));
    onClick("#smaller", () => this.magnify(1 / ZOOM_STEP));
    onClick("#larger", () => this.magnify(ZOOM_STEP));
    window.addEventListener("hashchange", () => this.follow());
    if (this.controls.view) setInterval(() => this.takeTurns(), TURN_MS);
  }

  get inTurn() {
    return this.controls.view?.value === "turn";
  }

  get byKind() {
    return this.kinds.length > 0 && (this.controls.kinds?.checked ?? true);
  }

  // What a panel's plane runs along and through.
  planeOf(panel) {
    return PLANES[panel.axis ?? Number(this.controls.axis.value)];
  }

  takeTurns() {
    if (!this.inTurn) return;
    this.turn = (this.turn + 1) % this.panels.length;
    this.draw();
  }

  extent(axis) {
    return this.shape[axis] * this.sizes_mm[axis];
  }

  // The voxels of an axis in view: the first, which may be a fraction, and how many.
  view(axis) {
    const count = this.shape[axis] / this.zoom;
    return [clamp(this.middle[axis] + 0.5 - count / 2, 0, this.shape[axis] - count), count];
  }

  magnify(factor) {
    this.zoom = clamp(this.zoom * factor, 1, MOST_ZOOM);
    this.middle = [...this.at];
    this.draw();
  }

  makePanel(content) {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${content.name} slice`);
    const panel = { ...content, canvas, slice: document.createElement("canvas"), wheel: 0 };
    canvas.addEventListener("wheel", (event) => this.scroll(panel, event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.press(panel, event));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.point(panel, event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.point(panel, event));
    document.querySelector(".panels").append(canvas);
    return panel;
  }

  // Kinds of lesions with their colours and numbers, and a button for each lesion where the page has room for them.
  makeLegend() {
    const legend = document.querySelector(".legend"), list = document.querySelector("#list");
    for (const [kind, colour] of this.kinds) {
      const count = this.lesions.filter((lesion) => lesion.kind === kind).length;
      const item = document.createElement("span");
      item.textContent = `${kind} ${count}`;
      item.style.setProperty("--colour", colour);
      legend.append(item);
    }
    if (!list) return;
    this.lesions.forEach((lesion, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.style.borderColor = this.colours[lesion.kind];
      button.textContent = `${lesion.number} ${lesion.kind}`;
      button.title = lesion.details;
      button.addEventListener("click", () => this.show(place));
      list.append(button);
    });
  }

  // Give each canvas the shape of its plane; of panels that take turns, the first canvas shows all.
  lay() {
    const seen = this.inTurn ? this.panels.slice(0, 1) : this.panels;
    for (const panel of this.panels) {
      const { canvas, slice } = panel, axes = [this.planeOf(panel).across, this.planeOf(panel).down];
      canvas.hidden = !seen.includes(panel);
      [slice.width, slice.height] = axes.map((axis) => this.shape[axis]);
      [canvas.width, canvas.height] = axes.map((axis) => Math.round(this.extent(axis) * PIXELS_PER_MM));
    }
    document.querySelector(".panels").style.gridTemplateColumns = this.inTurn
      ? "minmax(0, 60%)"
      : seen.map((panel) => `${this.extent(this.planeOf(panel).across)}fr`).join(" ");
    document.querySelector(".legend").hidden = !this.byKind;
    this.draw();
  }

  // One slice for a click of a mouse wheel, and a few for a long stroke over a touchpad. In a frame without the focus the
  // wheel scrolls the page around it.
  scroll(panel, event) {
    if (parent !== window && !document.hasFocus()) return;
    event.preventDefault();
    if (event.ctrlKey) return this.magnify(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP);
    panel.wheel += Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100);
    const steps = Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) : Math.trunc(panel.wheel / 30);
    if (steps) panel.wheel = 0;
    this.move(this.planeOf(panel).through, -steps);
  }

  press(panel, event) {
    if ("+-".includes(event.key)) return this.magnify(event.key === "+" ? ZOOM_STEP : 1 / ZOOM_STEP);
    const { across, down, through } = this.planeOf(panel);
    const moves = {
      ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1],
      PageUp: [through, 1], PageDown: [through, -1],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.move(...moves[event.key]);
  }

  point(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    const fraction = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const at = [...this.at], { across, down } = this.planeOf(panel);
    [across, down].forEach((axis, index) => {
      const [first, count] = this.view(axis);
      at[axis] = Math.floor(first + (1 - fraction[index]) * count);
    });
    this.go(at);
  }

  move(axis, steps) {
    const at = [...this.at];
    at[axis] += steps;
    this.go(at);
  }

  // Two lesions may have their centres in one voxel, which has one number: the lesion that was asked for is named.
  go(at, asked = -1) {
    this.at = at.map((value, axis) => clamp(Math.round(value), 0, this.shape[axis] - 1));
    this.at.forEach((value, axis) => {
      const [first, count] = this.view(axis);
      if (asked >= 0 || value + 0.5 < first || value + 0.5 > first + count) this.middle[axis] = value;
    });
    this.lesion = asked >= 0 ? asked : this.placeOf(this.numbers[this.offset(...this.at)]);
    if (this.lesion >= 0) this.latest = this.lesion;
    this.draw();
  }

  // Go to the next or previous of those lesions that the buttons go through.
  step(steps) {
    const count = this.n_stops;
    if (!count) return;
    const isStop = this.latest >= 0 && this.latest < count;
    this.show(isStop ? (this.latest + steps + count) % count : steps < 0 ? count - 1 : 0);
  }

  show(place) {
    this.go(multiply(this.from_world, this.lesions[place].centre_mm), place);
  }

  placeOf(number) {
    return this.places.get(number) ?? -1;
  }

  // Go to the lesion that the address names, as in viewer.html#lesion-3.
  follow() {
    const place = this.placeOf(Number(/^#lesion-(\d+)$/.exec(location.hash)?.[1] ?? NaN));
    if (place >= 0) this.show(place);
  }

  draw() {
    this.panels.forEach((panel, index) => {
      if (!this.inTurn) this.drawPanel(panel, panel);
      else if (index === 0) this.drawPanel(panel, this.panels[this.turn]);
    });
    const world = multiply(this.to_world, this.at);
    const side = (value, low, high) => `${Math.abs(value).toFixed(1)} ${value < 0 ? low : high}`;
    const place = [side(world[X], "L", "R"), side(world[Y], "P", "A"), side(world[Z], "I", "S")].join(", ");
    const offset = this.offset(...this.at);
    document.querySelector("#place").textContent = `${place} mm`;
    document.querySelector("#slice").textContent = this.slices ? this.sliceNumber() : "";
    document.querySelector("#value").textContent = this.volumes.probability ? this.readMaps(offset) : "";
    document.querySelector("#lesion").textContent = this.nameOfLesion(offset);
    document.querySelector("#factor").textContent = `${Number(this.zoom.toPrecision(2))}×`;
    this.drawScale();
  }

  sliceNumber() {
    const { axis, per_voxel, first, count } = this.slices;
    return `slice ${Math.round((this.at[axis] + 0.5) * per_voxel - 0.5) + first} of ${count}`;
  }

  readMaps(offset) {
    const read = (name) => (this.volumes[name][offset] / 255).toFixed(2);
    const uncertainty = this.volumes.uncertainty ? `, uncertainty ${read("uncertainty")}` : "";
    return `probability ${read("probability")} (stage 1: ${read("candidates")})${uncertainty}`;
  }

  // The colours of the layer, if they stand for numbers.
  drawScale() {
    const map = MAPS[this.controls.layer.value];
    const scale = document.querySelector(".scale");
    scale.hidden = !map;
    if (!map) return;
    document.querySelector("#largest").textContent = map.largest;
    const canvas = scale.querySelector("canvas"), context = canvas.getContext("2d");
    for (let x = 0; x < canvas.width; x++) {
      context.fillStyle = `rgb(${map.colour((map.largest * x) / (canvas.width - 1)).join(" ")})`;
      context.fillRect(x, 0, 1, canvas.height);
    }
  }

  nameOfLesion(offset) {
    if (this.lesion < 0) {
      const isLesion = this.panels.some((panel) => this.volumes[panel.mask][offset]);
      return isLesion ? "lesion on this image's grid alone, not in the table" : "no lesion here";
    }
    const { number, kind, details } = this.lesions[this.lesion];
    return [`lesion ${number}`, kind, details].filter(Boolean).join(", ");
  }

  offset(x, y, z) {
    return (z * this.shape[Y] + y) * this.shape[X] + x;
  }

  // Draw what a panel shows, which may be another one's turn.
  drawPanel({ canvas, slice }, panel) {
    slice.getContext("2d").putImageData(this.pixels(panel), 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const { across, down, sides } = this.planeOf(panel);
    const [[left, width], [top, height]] = [across, down].map((axis) => {
      const [first, count] = this.view(axis);
      return [this.shape[axis] - first - count, count];
    });
    context.drawImage(slice, left, top, width, height, 0, 0, canvas.width, canvas.height);
    if (this.controls.layer.value === "outline") this.drawOutlines(canvas, panel);
    this.drawCrosshair(canvas, panel);
    this.write(canvas, panel.image ? [...sides, panel.name] : sides);
  }

  drawCrosshair(canvas, panel) {
    const context = canvas.getContext("2d"), { across, down } = this.planeOf(panel);
    const [x, y] = [across, down].map((axis, index) =>
      Math.round(this.pixelOf(canvas, panel, index, this.at[axis] + 0.5)) + 0.5
    );
    context.strokeStyle = "rgba(90, 200, 255, 0.55)";
    context.beginPath();
    for (const [from, to] of [[0, -24], [24, Infinity]]) {
      context.moveTo(x + (from ? from : -x), y);
      context.lineTo(to === Infinity ? canvas.width : x + to, y);
      context.moveTo(x, y + (from ? from : -y));
      context.lineTo(x, to === Infinity ? canvas.height : y + to);
    }
    context.stroke();
  }

  // The sides of the patient and the panel's name, legible on bright and on dark.
  write(canvas, [left, right, top, bottom, name = ""]) {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    context.font = "22px system-ui, sans-serif";
    context.fillStyle = "#e6e9ec";
    context.strokeStyle = "#000";
    context.lineWidth = 3;
    context.textBaseline = "middle";
    for (const [text, x, y] of [
      [left, 8, height / 2], [right, width - 24, height / 2], [top, width / 2 - 7, 17], [bottom, width / 2 - 7, height - 17],
      [name, 10, 20],
    ]) {
      context.strokeText(text, x, y);
      context.fillText(text, x, y);
    }
    context.lineWidth = 1;
  }

  // Where on a panel's canvas a place along its axis `across` (0) or `down` (1) is, in voxels from the axis's beginning.
  pixelOf(canvas, panel, index, place) {
    const { across, down } = this.planeOf(panel);
    const [first, count] = this.view(index ? down : across);
    return (1 - (place - first) / count) * (index ? canvas.height : canvas.width);
  }

  // Red, green and blue of the lesion in a voxel.
  colourAt(voxel) {
    const lesion = this.byKind ? this.lesions[this.placeOf(this.numbers[voxel])] : null;
    return rgb(this.colours[lesion?.kind] ?? this.one_colour);
  }

  // Lines along the faces between voxels of which one is lesion, in its colour.
  drawOutlines(canvas, panel) {
    const { across, down, through } = this.planeOf(panel);
    const context = canvas.getContext("2d"), mask = this.volumes[panel.mask];
    const strides = [1, this.shape[X], this.shape[X] * this.shape[Y]];
    const voxelAt = (i, j) => this.at[through] * strides[through] + i * strides[across] + j * strides[down];
    const isLesion = (i, j) =>
      i >= 0 && j >= 0 && i < this.shape[across] && j < this.shape[down] && mask[voxelAt(i, j)] > 0;
    const [px, py] = [0, 1].map((index) => (place) => this.pixelOf(canvas, panel, index, place));
    const paths = new Map();
    const line = (lesion, from, to) => {
      const colour = this.colourAt(voxelAt(...lesion)).join(" ");
      if (!paths.has(colour)) paths.set(colour, new Path2D());
      paths.get(colour).moveTo(px(from[0]), py(from[1]));
      paths.get(colour).lineTo(px(to[0]), py(to[1]));
    };
    for (let j = 0; j <= this.shape[down]; j++) {
      for (let i = 0; i <= this.shape[across]; i++) {
        const here = isLesion(i, j);
        if (here !== isLesion(i - 1, j)) line(here ? [i, j] : [i - 1, j], [i, j], [i, j + 1]);
        if (here !== isLesion(i, j - 1)) line(here ? [i, j] : [i, j - 1], [i, j], [i + 1, j]);
      }
    }
    context.lineWidth = (1.5 * canvas.width) / (canvas.clientWidth || canvas.width);
    for (const [colour, path] of paths) {
      context.strokeStyle = `rgb(${colour})`;
      context.stroke(path);
    }
    context.lineWidth = 1;
  }

  // The colours of a slice, from its top left corner, which is the far end of both axes.
  pixels(panel) {
    const { across, down, through } = this.planeOf(panel);
    const [width, height] = [this.shape[across], this.shape[down]];
    const strides = [1, this.shape[X], this.shape[X] * this.shape[Y]];
    const layer = this.controls.layer.value;
    const overlay = this.volumes[layer === "mask" ? panel.mask : layer];
    const background = this.volumes[panel.image ?? this.controls.background?.value ?? "image"];
    const opacity = Number(this.controls.opacity.value) / 100;
    const centre = 255 - Number(this.controls.brightness.value);
    const gain = 2 ** (Number(this.controls.contrast.value) / 50);
    const image = new ImageData(width, height);
    let at = 0;
    for (let row = height - 1; row >= 0; row--) {
      let voxel = this.at[through] * strides[through] + row * strides[down] + (width - 1) * strides[across];
      for (let column = 0; column < width; column++, voxel -= strides[across], at += 4) {
        const grey = (background[voxel] - centre) * gain + 127.5;
        image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
        image.data[at + 3] = 255;
        if (!overlay || !overlay[voxel]) continue;
        const fraction = overlay[voxel] / 255;
        const alpha = layer === "mask" ? opacity : opacity * Math.min(1, 0.25 + fraction);
        const colour = layer === "mask" ? this.colourAt(voxel) : MAPS[layer].colour(fraction);
        colour.forEach((value, index) => {
          image.data[at + index] += alpha * (value - image.data[at + index]);
        });
      }
    }
    return image;
  }
}

// A page that shows this one in a frame is told how tall it is.
function tellHeight() {
  const tell = () => parent.postMessage({ height: document.body.getBoundingClientRect().height }, "*");
  if (parent !== window) new ResizeObserver(tell).observe(document.body);
}

const content = JSON.parse(document.querySelector("#content").textContent);
unpack(content.volumes)
  .then((bytes) => { window.viewer = new Viewer(content, bytes); })
  .catch((error) => {
    document.querySelector("#place").textContent = `This browser can't show the volume (${error.message}).`;
  })
  .finally(tellHeight);
