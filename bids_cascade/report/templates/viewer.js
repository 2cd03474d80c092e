"use strict";
// Three planes through a volume: scroll, click, drag or use the arrow keys. Radiological: the patient's right is left.

const X = 0, Y = 1, Z = 2;
const PLANES = [
  { name: "Axial", across: X, down: Y, through: Z, sides: ["R", "L", "A", "P"] },
  { name: "Coronal", across: X, down: Z, through: Y, sides: ["R", "L", "S", "I"] },
  { name: "Sagittal", across: Y, down: Z, through: X, sides: ["A", "P", "S", "I"] },
];
const PIXELS_PER_MM = 3;
const ZOOM_STEP = 1.5, MOST_ZOOM = 1.5 ** 5;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const multiply = (matrix, point) =>
  matrix.slice(0, 3).map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);

// From blue-violet for what is unlikely over red to yellow for what is certain.
const heat = (share) => [255 * clamp(0.35 + 1.3 * share, 0, 1), 255 * clamp(1.6 * share - 0.6, 0, 1), 150 * (1 - share)];
// The uncertainty is a standard deviation of probabilities, at most a half.
const doubt = (share) => heat(2 * share);
const LESION = [255, 59, 59];
const LAYER_COLOURS = { mask: () => LESION, probability: heat, candidates: heat, uncertainty: doubt };
const LARGEST = { probability: 1, candidates: 1, uncertainty: 0.5 };

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
    this.controls = Object.fromEntries([...document.querySelectorAll("[name]")].map((one) => [one.name, one]));
    this.panels = PLANES.map((plane) => this.makePanel(plane));
    document.querySelector(".panels").style.gridTemplateColumns = PLANES.map(
      (plane) => `${this.extent(plane.across)}fr`
    ).join(" ");
    for (const control of Object.values(this.controls)) control.addEventListener("input", () => this.draw());
    this.lesion = -1; // place in the table of the lesion under the crosshair, or -1
    this.latest = -1; // that of the latest one that was
    document.querySelector("#previous").addEventListener("click", () => this.step(-1));
    document.querySelector("#next").addEventListener("click", () => this.step(1));
    window.addEventListener("hashchange", () => this.follow());
    this.at = this.shape.map((length) => Math.floor(length / 2));
    this.zoom = 1;
    this.middle = [...this.at]; // of what is shown when zoomed in
    document.querySelector("#smaller").addEventListener("click", () => this.magnify(1 / ZOOM_STEP));
    document.querySelector("#larger").addEventListener("click", () => this.magnify(ZOOM_STEP));
    this.draw();
    if (this.lesions.length) this.show(0);
    this.follow();
  }

  extent(axis) {
    return this.shape[axis] * this.sizes_mm[axis];
  }

  // The voxels of an axis that are shown: the first, which may be a fraction, and how many.
  shown(axis) {
    const count = this.shape[axis] / this.zoom;
    return [clamp(this.middle[axis] + 0.5 - count / 2, 0, this.shape[axis] - count), count];
  }

  magnify(factor) {
    this.zoom = clamp(this.zoom * factor, 1, MOST_ZOOM);
    this.middle = [...this.at];
    this.draw();
  }

  makePanel(plane) {
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(this.extent(plane.across) * PIXELS_PER_MM);
    canvas.height = Math.round(this.extent(plane.down) * PIXELS_PER_MM);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${plane.name} slice`);
    const slice = document.createElement("canvas");
    [slice.width, slice.height] = [this.shape[plane.across], this.shape[plane.down]];
    const panel = { ...plane, canvas, slice, wheel: 0 };
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

  // One slice for a click of a mouse wheel, and a few for a long stroke over a touchpad. In a frame without the focus the
  // wheel scrolls the page around it.
  scroll(panel, event) {
    if (parent !== window && !document.hasFocus()) return;
    event.preventDefault();
    if (event.ctrlKey) return this.magnify(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP);
    panel.wheel += Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100);
    const steps = Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) : Math.trunc(panel.wheel / 30);
    if (steps) panel.wheel = 0;
    this.move(panel.through, -steps);
  }

  press(panel, event) {
    if ("+-".includes(event.key)) return this.magnify(event.key === "+" ? ZOOM_STEP : 1 / ZOOM_STEP);
    const moves = {
      ArrowLeft: [panel.across, 1], ArrowRight: [panel.across, -1],
      ArrowUp: [panel.down, 1], ArrowDown: [panel.down, -1],
      PageUp: [panel.through, 1], PageDown: [panel.through, -1],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.move(...moves[event.key]);
  }

  point(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    const share = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const at = [...this.at];
    [panel.across, panel.down].forEach((axis, index) => {
      const [first, count] = this.shown(axis);
      at[axis] = Math.floor(first + (1 - share[index]) * count);
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
      const [first, count] = this.shown(axis);
      if (asked >= 0 || value + 0.5 < first || value + 0.5 > first + count) this.middle[axis] = value;
    });
    this.lesion = asked >= 0 ? asked : this.find(this.numbers[this.offset(...this.at)]);
    if (this.lesion >= 0) this.latest = this.lesion;
    this.draw();
  }

  step(steps) {
    const count = this.lesions.length;
    if (count) this.show(this.latest < 0 && steps < 0 ? count - 1 : (this.latest + steps + count) % count);
  }

  show(place) {
    this.go(multiply(this.from_world, this.lesions[place].centre), place);
  }

  find(index) {
    return this.lesions.findIndex((lesion) => lesion.index === index);
  }

  // Go to the lesion that the address names, as in viewer.html#lesion-3.
  follow() {
    const index = Number(/^#lesion-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
    const place = this.find(index);
    if (place >= 0) this.show(place);
  }

  draw() {
    for (const panel of this.panels) this.drawPanel(panel);
    const world = multiply(this.to_world, this.at);
    const side = (value, low, high) => `${Math.abs(value).toFixed(1)} ${value < 0 ? low : high}`;
    const place = [side(world[X], "L", "R"), side(world[Y], "P", "A"), side(world[Z], "I", "S")].join(", ");
    const offset = this.offset(...this.at);
    const { axis, per_voxel, first, count } = this.slices;
    const likely = (name) => (this.volumes[name][offset] / 255).toFixed(2);
    document.querySelector("#place").textContent = `${place} mm`;
    document.querySelector("#slice").textContent =
      `slice ${Math.round((this.at[axis] + 0.5) * per_voxel - 0.5) + first} of ${count}`;
    document.querySelector("#value").textContent =
      `probability ${likely("probability")} (stage 1: ${likely("candidates")})` +
      (this.volumes.uncertainty ? `, uncertainty ${likely("uncertainty")}` : "");
    document.querySelector("#lesion").textContent = this.nameOfLesion(offset);
    document.querySelector("#factor").textContent = `${Number(this.zoom.toPrecision(2))}×`;
    this.drawScale();
  }

  // The colours of the layer, if they stand for numbers.
  drawScale() {
    const layer = this.controls.layer.value, largest = LARGEST[layer];
    const scale = document.querySelector(".scale");
    scale.hidden = !largest;
    if (!largest) return;
    document.querySelector("#largest").textContent = largest;
    const canvas = scale.querySelector("canvas"), context = canvas.getContext("2d");
    for (let x = 0; x < canvas.width; x++) {
      context.fillStyle = `rgb(${LAYER_COLOURS[layer]((largest * x) / (canvas.width - 1)).join(" ")})`;
      context.fillRect(x, 0, 1, canvas.height);
    }
  }

  nameOfLesion(offset) {
    if (this.lesion >= 0) return `lesion ${this.lesions[this.lesion].index}`;
    return this.volumes.mask[offset] ? "lesion on this image's grid alone, not in the table" : "no lesion here";
  }

  offset(x, y, z) {
    return (z * this.shape[Y] + y) * this.shape[X] + x;
  }

  drawPanel(panel) {
    const { canvas, slice } = panel;
    slice.getContext("2d").putImageData(this.pixels(panel), 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const axes = [panel.across, panel.down];
    const [[left0, width0], [top0, height0]] = axes.map((axis) => {
      const [first, count] = this.shown(axis);
      return [this.shape[axis] - first - count, count];
    });
    context.drawImage(slice, left0, top0, width0, height0, 0, 0, canvas.width, canvas.height);
    if (this.controls.layer.value === "outline") this.drawOutlines(panel);
    const [x, y] = axes.map((axis, index) => Math.round(this.pixelOf(panel, index, this.at[axis] + 0.5)) + 0.5);
    context.strokeStyle = "rgba(90, 200, 255, 0.55)";
    context.beginPath();
    for (const [from, to] of [[0, -24], [24, Infinity]]) {
      context.moveTo(x + (from ? from : -x), y);
      context.lineTo(to === Infinity ? canvas.width : x + to, y);
      context.moveTo(x, y + (from ? from : -y));
      context.lineTo(x, to === Infinity ? canvas.height : y + to);
    }
    context.stroke();
    this.nameSides(panel);
  }

  // The sides of the patient, legible on bright and on dark.
  nameSides({ canvas, sides: [left, right, top, bottom] }) {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    context.font = "22px system-ui, sans-serif";
    context.fillStyle = "#e6e9ec";
    context.strokeStyle = "#000";
    context.lineWidth = 3;
    context.textBaseline = "middle";
    for (const [name, x, y] of [
      [left, 8, height / 2], [right, width - 24, height / 2], [top, width / 2 - 7, 17], [bottom, width / 2 - 7, height - 17],
    ]) {
      context.strokeText(name, x, y);
      context.fillText(name, x, y);
    }
    context.lineWidth = 1;
  }

  // Where on a panel's canvas a place along its axis `across` (0) or `down` (1) is, in voxels from the axis's beginning.
  pixelOf(panel, index, place) {
    const [first, count] = this.shown(index ? panel.down : panel.across);
    return (1 - (place - first) / count) * (index ? panel.canvas.height : panel.canvas.width);
  }

  // Lines along the faces between voxels of which one is lesion.
  drawOutlines(panel) {
    const { canvas, across, down, through } = panel;
    const context = canvas.getContext("2d"), mask = this.volumes.mask;
    const strides = [1, this.shape[X], this.shape[X] * this.shape[Y]];
    const start = this.at[through] * strides[through];
    const isLesion = (i, j) =>
      i >= 0 && j >= 0 && i < this.shape[across] && j < this.shape[down] &&
      mask[start + i * strides[across] + j * strides[down]] > 0;
    const [px, py] = [0, 1].map((index) => (place) => this.pixelOf(panel, index, place));
    context.beginPath();
    for (let j = 0; j <= this.shape[down]; j++) {
      for (let i = 0; i <= this.shape[across]; i++) {
        const here = isLesion(i, j);
        if (here !== isLesion(i - 1, j)) {
          context.moveTo(px(i), py(j));
          context.lineTo(px(i), py(j + 1));
        }
        if (here !== isLesion(i, j - 1)) {
          context.moveTo(px(i), py(j));
          context.lineTo(px(i + 1), py(j));
        }
      }
    }
    context.strokeStyle = `rgb(${LESION.join(" ")})`;
    context.lineWidth = (1.5 * canvas.width) / (canvas.clientWidth || canvas.width);
    context.stroke();
    context.lineWidth = 1;
  }

  // The colours of a slice, from its top left corner, which is the far end of both axes.
  pixels(panel) {
    const [width, height] = [this.shape[panel.across], this.shape[panel.down]];
    const strides = [1, this.shape[X], this.shape[X] * this.shape[Y]];
    const layer = this.controls.layer.value;
    const overlay = this.volumes[layer];
    const background = this.volumes[this.controls.background?.value ?? "image"];
    const opacity = Number(this.controls.opacity.value) / 100;
    const centre = 255 - Number(this.controls.brightness.value);
    const gain = 2 ** (Number(this.controls.contrast.value) / 50);
    const colourOf = LAYER_COLOURS[layer];
    const image = new ImageData(width, height);
    let at = 0;
    for (let row = height - 1; row >= 0; row--) {
      let voxel = this.at[panel.through] * strides[panel.through] + row * strides[panel.down];
      voxel += (width - 1) * strides[panel.across];
      for (let column = 0; column < width; column++, voxel -= strides[panel.across], at += 4) {
        const grey = (background[voxel] - centre) * gain + 127.5;
        image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
        image.data[at + 3] = 255;
        if (!overlay || !overlay[voxel]) continue;
        const share = overlay[voxel] / 255;
        const alpha = layer === "mask" ? opacity : opacity * Math.min(1, 0.25 + share);
        colourOf(share).forEach((value, index) => {
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
