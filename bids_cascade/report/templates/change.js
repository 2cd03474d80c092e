"use strict";
// Two visits on one grid, locked together. Radiological: the patient's right is left.

const PLANES = [
  { across: 1, down: 2, left: "A", right: "P" },
  { across: 0, down: 2, left: "R", right: "L" },
  { across: 0, down: 1, left: "R", right: "L" },
];
const PIXELS_PER_VOXEL = 3;
const EARLIER = 1, LATER = 2;
const TURN_MS = 900;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rgb = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

class ChangeViewer {
  // content is what change_viewer.py writes; bytes are both visits, where lesions are, and their labels in two bytes.
  constructor(content, bytes) {
    Object.assign(this, content);
    const length = this.shape.reduce((product, one) => product * one, 1);
    [this.earlier, this.later, this.places] = [0, 1, 2].map((n) => bytes.subarray(n * length, (n + 1) * length));
    this.labels = new Uint16Array(bytes.slice(3 * length).buffer);
    this.byLabel = new Map(this.lesions.map((lesion) => [lesion.label, lesion]));
    this.controls = Object.fromEntries([...document.querySelectorAll("[name]")].map((one) => [one.name, one]));
    this.panels = [EARLIER, LATER].map((when, index) => this.makePanel(when, this.names[index]));
    this.at = this.shape.map((one) => Math.floor(one / 2));
    this.shown = EARLIER; // of both in turn
    for (const control of Object.values(this.controls)) control.addEventListener("input", () => this.lay());
    document.querySelector("#previous").addEventListener("click", () => this.step(-1));
    document.querySelector("#next").addEventListener("click", () => this.step(1));
    window.addEventListener("hashchange", () => this.follow());
    this.changes = this.lesions.filter((lesion) => lesion.kind !== "stable");
    this.listLesions();
    setInterval(() => this.turn(), TURN_MS);
    this.lay();
    if (this.lesions.length) this.show(this.lesions[0]);
    this.follow();
  }

  get plane() {
    return Number(this.controls.plane.value);
  }

  makePanel(when, name) {
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    const panel = { canvas, when, name, slice: document.createElement("canvas") };
    canvas.addEventListener("wheel", (event) => this.scroll(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.point(panel, event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.point(panel, event));
    document.querySelector(".panels").append(canvas);
    return panel;
  }

  listLesions() {
    for (const lesion of this.lesions) {
      const button = document.createElement("button");
      button.type = "button";
      button.style.borderColor = this.colours[lesion.kind];
      button.textContent = `${lesion.number} ${lesion.kind}`;
      button.title = `${lesion.before} to ${lesion.after} mm³, z ${lesion.z}`;
      button.addEventListener("click", () => this.show(lesion));
      document.querySelector("#kinds").append(button);
    }
  }

  // In a frame without the focus the wheel scrolls the page around it.
  scroll(event) {
    if (parent !== window && !document.hasFocus()) return;
    event.preventDefault();
    this.move(this.plane, -Math.sign(event.deltaY));
  }

  press(event) {
    const { across, down } = PLANES[this.plane];
    const moves = {
      ArrowLeft: [across, 1], ArrowRight: [across, -1], ArrowUp: [down, 1], ArrowDown: [down, -1],
      PageUp: [this.plane, 1], PageDown: [this.plane, -1],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.move(...moves[event.key]);
  }

  point(panel, event) {
    const box = panel.canvas.getBoundingClientRect();
    const part = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const { across, down } = PLANES[this.plane];
    [across, down].forEach((axis, index) => {
      this.at[axis] = clamp(Math.floor((1 - part[index]) * this.shape[axis]), 0, this.shape[axis] - 1);
    });
    this.draw();
  }

  move(axis, steps) {
    this.at[axis] = clamp(this.at[axis] + steps, 0, this.shape[axis] - 1);
    this.draw();
  }

  step(steps) {
    const count = this.changes.length;
    if (!count) return;
    const now = this.changes.indexOf(this.latest);
    this.show(this.changes[now < 0 ? (steps > 0 ? 0 : count - 1) : (now + steps + count) % count]);
  }

  show(lesion) {
    this.latest = lesion;
    this.at = lesion.at.map((one, axis) => clamp(one, 0, this.shape[axis] - 1));
    this.draw();
  }

  // Go to the lesion that the address names, as in viewer.html#lesion-3.
  follow() {
    const number = Number(/^#lesion-(\d+)$/.exec(location.hash)?.[1] ?? NaN);
    const lesion = this.lesions.find((one) => one.number === number);
    if (lesion) this.show(lesion);
  }

  turn() {
    if (this.controls.view.value !== "turn") return;
    this.shown = this.shown === EARLIER ? LATER : EARLIER;
    this.draw();
  }

  lay() {
    const turns = this.controls.view.value === "turn";
    const { across, down } = PLANES[this.plane];
    document.querySelector(".panels").style.gridTemplateColumns = turns ? "minmax(0, 60%)" : "1fr 1fr";
    this.panels.forEach(({ canvas, slice }, index) => {
      canvas.hidden = turns && index > 0;
      canvas.style.display = canvas.hidden ? "none" : "";
      [slice.width, slice.height] = [this.shape[across], this.shape[down]];
      [canvas.width, canvas.height] = [this.shape[across] * PIXELS_PER_VOXEL, this.shape[down] * PIXELS_PER_VOXEL];
    });
    this.draw();
  }

  offset(x, y, z) {
    return (z * this.shape[1] + y) * this.shape[0] + x;
  }

  draw() {
    const turns = this.controls.view.value === "turn";
    this.panels.forEach((panel, index) => {
      if (!turns) this.drawPanel(panel, panel.when, panel.name);
      else if (index === 0) this.drawPanel(panel, this.shown, this.names[this.shown - 1]);
    });
    document.querySelector("#place").textContent = `voxel ${this.at.join(", ")} half-way between the visits`;
    const lesion = this.byLabel.get(this.labels[this.offset(...this.at)]);
    document.querySelector("#lesion").textContent = lesion
      ? `lesion ${lesion.number}: ${lesion.kind}, ${lesion.before} to ${lesion.after} mm³, z ${lesion.z}`
      : "no lesion here";
  }

  drawPanel({ canvas, slice }, when, name) {
    slice.getContext("2d").putImageData(this.pixels(when), 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(slice, 0, 0, canvas.width, canvas.height);
    const { across, down, left, right } = PLANES[this.plane];
    const x = (1 - (this.at[across] + 0.5) / this.shape[across]) * canvas.width;
    const y = (1 - (this.at[down] + 0.5) / this.shape[down]) * canvas.height;
    context.strokeStyle = "rgba(90, 200, 255, 0.55)";
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * 18, y + dy * 18);
      context.lineTo(x + dx * 44, y + dy * 44);
    }
    context.stroke();
    context.fillStyle = "#cfd3d8";
    context.font = "20px system-ui, sans-serif";
    context.fillText(name, 10, 26);
    context.fillText(left, 8, canvas.height / 2);
    context.fillText(right, canvas.width - 22, canvas.height / 2);
  }

  // The colours of a slice from its top left corner; a lesion has an outline in the colour of what became of it.
  pixels(when) {
    const { across, down } = PLANES[this.plane];
    const strides = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const [width, height] = [this.shape[across], this.shape[down]];
    const volume = when === EARLIER ? this.earlier : this.later;
    const gain = 2 ** (Number(this.controls.contrast.value) / 50);
    const outline = this.controls.outline.checked;
    const colours = Object.fromEntries(Object.entries(this.colours).map(([kind, colour]) => [kind, rgb(colour)]));
    const image = new ImageData(width, height);
    let to = 0;
    for (let row = height - 1; row >= 0; row--) {
      let voxel = this.at[this.plane] * strides[this.plane] + row * strides[down] + (width - 1) * strides[across];
      for (let column = width - 1; column >= 0; column--, voxel -= strides[across], to += 4) {
        const grey = (volume[voxel] - 115) * gain + 115;
        image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
        image.data[to + 3] = 255;
        if (!outline || !(this.places[voxel] & when)) continue;
        const edge = [strides[across], strides[down]].some(
          (stride) => !(this.places[voxel - stride] & when) || !(this.places[voxel + stride] & when)
        );
        if (!edge) continue;
        const colour = colours[this.byLabel.get(this.labels[voxel])?.kind ?? "stable"];
        colour.forEach((value, index) => { image.data[to + index] = value; });
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
  .then((bytes) => { window.viewer = new ChangeViewer(content, bytes); })
  .catch((error) => {
    document.querySelector("#place").textContent = `This browser can't show the volumes (${error.message}).`;
  })
  .finally(tellHeight);
