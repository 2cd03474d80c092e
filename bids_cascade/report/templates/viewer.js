"use strict";
// Three planes through a volume: scroll, click, drag or use the arrow keys. Radiological: the patient's right is left.

const X = 0, Y = 1, Z = 2;
const PLANES = [
  { name: "Axial", across: X, down: Y, through: Z, sides: ["R", "L", "A", "P"] },
  { name: "Coronal", across: X, down: Z, through: Y, sides: ["R", "L", "S", "I"] },
  { name: "Sagittal", across: Y, down: Z, through: X, sides: ["A", "P", "S", "I"] },
];
const PIXELS_PER_MM = 3;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const multiply = (matrix, point) =>
  matrix.slice(0, 3).map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);

// From blue-violet for what is unlikely over red to yellow for what is certain.
const heat = (share) => [255 * clamp(0.35 + 1.3 * share, 0, 1), 255 * clamp(1.6 * share - 0.6, 0, 1), 150 * (1 - share)];
// The uncertainty is a standard deviation of probabilities, at most a half.
const doubt = (share) => heat(2 * share);
const LAYER_COLOURS = { mask: () => [255, 59, 59], probability: heat, candidates: heat, uncertainty: doubt };

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
    this.draw();
    if (this.lesions.length) this.show(0);
    this.follow();
  }

  extent(axis) {
    return this.shape[axis] * this.sizes_mm[axis];
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
    panel.wheel += Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100);
    const steps = Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) : Math.trunc(panel.wheel / 30);
    if (steps) panel.wheel = 0;
    this.move(panel.through, -steps);
  }

  press(panel, event) {
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
      at[axis] = Math.floor((1 - share[index]) * this.shape[axis]);
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
    context.drawImage(slice, 0, 0, canvas.width, canvas.height);
    const [x, y] = [panel.across, panel.down].map((axis, index) => {
      const length = index ? canvas.height : canvas.width;
      return Math.round((1 - (this.at[axis] + 0.5) / this.shape[axis]) * length) + 0.5;
    });
    context.strokeStyle = "rgba(90, 200, 255, 0.55)";
    context.beginPath();
    for (const [from, to] of [[0, -24], [24, Infinity]]) {
      context.moveTo(x + (from ? from : -x), y);
      context.lineTo(to === Infinity ? canvas.width : x + to, y);
      context.moveTo(x, y + (from ? from : -y));
      context.lineTo(x, to === Infinity ? canvas.height : y + to);
    }
    context.stroke();
    context.fillStyle = "#cfd3d8";
    context.font = "22px system-ui, sans-serif";
    const [left, right, top, bottom] = panel.sides;
    context.textBaseline = "middle";
    context.fillText(left, 8, canvas.height / 2);
    context.fillText(right, canvas.width - 24, canvas.height / 2);
    context.textBaseline = "alphabetic";
    context.fillText(top, canvas.width / 2 - 7, 24);
    context.fillText(bottom, canvas.width / 2 - 7, canvas.height - 10);
  }

  // The colours of a slice, from its top left corner, which is the far end of both axes.
  pixels(panel) {
    const [width, height] = [this.shape[panel.across], this.shape[panel.down]];
    const strides = [1, this.shape[X], this.shape[X] * this.shape[Y]];
    const layer = this.controls.layer.value;
    const overlay = this.volumes[layer];
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
        const grey = (this.volumes.image[voxel] - centre) * gain + 127.5;
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
