"use strict";

// Okabe and Ito (2008), without black: told apart by readers with any colour vision.
const PALETTE = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2"];
const COLOURS_OF_UNCERTAINTY = "plasma";
const OVERLAYS = ["reference", "prediction", "uncertainty"];
const element = (id) => document.getElementById(id);

const viewer = new niivue.Niivue({
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.5, 0.7, 0.9, 0.35],
  crosshairWidth: 0.15,
  crosshairWidthUnit: "percent",
  crosshairGap: 12,
  dragAndDropEnabled: false,
  isRadiologicalConvention: true,
  multiplanarForceRender: false,
  multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
  logLevel: "error",
  loadingText: "",
  viewModeHotKey: "",
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
});
let study;
let rows = []; // items of the list, in its order
let current = -1; // position of the subject in study.subjects
let volumes = {}; // by name
let request = 0; // only the last one asked for may draw

const colourOf = (number) => PALETTE[number % PALETTE.length];
const number = (value, digits) =>
  value === null ? "–" : value === "inf" ? "∞" : value.toFixed(digits);

function say(text, isError = false) {
  element("message").textContent = text;
  element("message").classList.toggle("error", isError);
}

// --- the list ---------------------------------------------------------------------------------

function listSubjects() {
  const wanted = element("search").value.trim().toLowerCase();
  const order = element("order").value;
  const positions = [...study.subjects.keys()].filter((position) =>
    study.subjects[position].name.toLowerCase().includes(wanted),
  );
  const sign = { name: 0, worst: 1, best: -1 }[order];
  const dice = (position) => study.subjects[position].dice ?? Infinity * sign;
  const isTest = (position) => study.subjects[position].split === "test";
  positions.sort((a, b) => isTest(b) - isTest(a) || (sign ? sign * (dice(a) - dice(b)) : a - b));

  const headings = { test: "Test set, by the ensemble", val: "Out of fold" };
  const items = [];
  rows = [];
  let split = "";
  for (const position of positions) {
    const subject = study.subjects[position];
    if (subject.split !== split) {
      split = subject.split;
      items.push(Object.assign(document.createElement("li"), {
        className: "split", role: "presentation", textContent: headings[split],
      }));
    }
    const item = document.createElement("li");
    item.role = "option";
    item.id = `subject-${position}`;
    item.dataset.position = position;
    item.title = subject.name;
    item.append(document.createElement("span"), document.createElement("span"));
    item.firstChild.textContent = subject.name;
    item.lastChild.textContent = number(subject.dice, 3);
    rows.push(item);
    items.push(item);
  }
  element("subjects").replaceChildren(...items);
  markCurrent();
}

function markCurrent() {
  for (const row of rows) {
    const chosen = Number(row.dataset.position) === current;
    row.setAttribute("aria-selected", chosen);
    if (chosen) {
      element("subjects").setAttribute("aria-activedescendant", row.id);
      row.scrollIntoView({ block: "nearest" });
    }
  }
  const place = rows.findIndex((row) => Number(row.dataset.position) === current);
  element("previous").disabled = place <= 0;
  element("next").disabled = place === rows.length - 1;
}

function step(by) {
  const place = rows.findIndex((row) => Number(row.dataset.position) === current);
  const row = rows[Math.min(Math.max(place + by, 0), rows.length - 1)];
  if (row && Number(row.dataset.position) !== current) show(Number(row.dataset.position));
}

// --- the volumes ------------------------------------------------------------------------------

/** Label 1 has the first colour, and so on; label 0 none. */
function coloursOfLabels() {
  const colours = study.structures.map((_, i) => parseInt(colourOf(i).slice(1), 16));
  return {
    R: [0, ...colours.map((colour) => colour >> 16)],
    G: [0, ...colours.map((colour) => (colour >> 8) & 255)],
    B: [0, ...colours.map((colour) => colour & 255)],
    A: [0, ...colours.map(() => 255)],
    labels: ["", ...study.structures],
  };
}

/** The label of a voxel along right, anterior, superior, whatever the order in the file. */
function labelAt(volume, voxel) {
  let index = 0;
  for (let axis = 0; axis < 3; axis++) {
    const last = volume.dimsRAS[axis + 1] - 1;
    const place = Math.min(Math.max(Math.round(voxel[axis]), 0), last);
    index += volume.img2RASstart[axis] + place * volume.img2RASstep[axis];
  }
  return volume.labels[index];
}

/** Voxels at the edge of their label, within the planes in which the image was acquired. */
function outline(labels, dims, spacing) {
  const strides = [1, dims[0], dims[0] * dims[1]];
  const thick = spacing.lastIndexOf(Math.max(...spacing));
  const axes = [0, 1, 2].filter((axis) => axis !== thick);
  const edges = new labels.constructor(labels.length);
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    if (!label) continue;
    for (const axis of axes) {
      const place = Math.floor(i / strides[axis]) % dims[axis];
      if (
        place === 0 || labels[i - strides[axis]] !== label ||
        place === dims[axis] - 1 || labels[i + strides[axis]] !== label
      ) {
        edges[i] = label;
        break;
      }
    }
  }
  return edges;
}

async function load(position, name) {
  const url = `/volumes/${position}/${name}.nii.gz`;
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(await answer.text());
  // NiiVue takes the format from the end of the name.
  return niivue.NVImage.loadFromUrl({ url: await answer.arrayBuffer(), name: `${name}.nii.gz` });
}

async function show(position) {
  const mine = ++request;
  const subject = study.subjects[position];
  const image = `image-${element("image").selectedIndex}`;
  const names = [image, ...OVERLAYS].filter((name) => name !== "uncertainty" || subject.uncertainty);
  say("Loading");
  current = position;
  describe(subject);
  markCurrent();
  try {
    const loaded = await Promise.all(names.map((name) => load(position, name)));
    if (mine !== request) return;
    while (viewer.volumes.length) viewer.removeVolumeByIndex(0);
    volumes = Object.fromEntries(names.map((name, i) => [i ? name : "image", loaded[i]]));
    for (const volume of loaded) viewer.addVolume(volume);
    for (const name of ["reference", "prediction"]) {
      volumes[name].labels = volumes[name].img;
      volumes[name].hdr.intent_code = 0; // NiiVue would thin out lines of one voxel
      volumes[name].setColormapLabel(coloursOfLabels());
    }
    if (volumes.uncertainty) {
      Object.assign(volumes.uncertainty, { cal_min: 0.05, cal_max: 1 });
      volumes.uncertainty.setColormap(COLOURS_OF_UNCERTAINTY);
    }
    lookAtStructures();
    draw();
    say("");
    document.body.dataset.shown = subject.name;
  } catch (error) {
    if (mine === request) say(`${subject.name}: ${error.message}`, true);
  }
}

/** Move the crosshair to the slices that cut most of the structures, small ones as well as large. */
function lookAtStructures() {
  const volume = volumes[volumes.reference.labels.some(Boolean) ? "reference" : "prediction"];
  const { labels, img2RASstep } = volume;
  const dims = volume.hdr.dims.slice(1, 4);
  const strides = [1, dims[0], dims[0] * dims[1]];
  const sizes = new Float64Array(study.structures.length + 1);
  for (const label of labels) sizes[label]++;
  const sums = dims.map((length) => new Float64Array(length));
  for (let i = 0; i < labels.length; i++) {
    if (!labels[i]) continue;
    const share = 1 / sizes[labels[i]];
    sums[0][i % dims[0]] += share;
    sums[1][Math.floor(i / strides[1]) % dims[1]] += share;
    sums[2][Math.floor(i / strides[2])] += share;
  }
  const most = sums.map((sum) => (sum.some(Boolean) ? sum.indexOf(Math.max(...sum)) : sum.length >> 1));
  // NiiVue counts voxels along right, anterior, superior, whatever their order in the file.
  const voxel = img2RASstep.map((step) => {
    const axis = strides.indexOf(Math.abs(step));
    return step > 0 ? most[axis] : dims[axis] - 1 - most[axis];
  });
  viewer.scene.crosshairPos = viewer.vox2frac(voxel, 0);
}

function draw() {
  for (const name of OVERLAYS) {
    const panel = document.querySelector(`[data-overlay="${name}"]`);
    panel.disabled = current >= 0 && !volumes[name];
    if (!volumes[name]) continue;
    const [shown, opacity] = panel.querySelectorAll("input");
    const style = panel.querySelector("select")?.value;
    const volume = volumes[name];
    if (style && volume.style !== style) {
      const spacing = volume.hdr.pixDims.slice(1, 4);
      volume.img = style === "line" ? outline(volume.labels, volume.hdr.dims.slice(1, 4), spacing) : volume.labels;
      volume.style = style;
    }
    volume.opacity = shown.checked ? opacity.value / 100 : 0;
  }
  viewer.updateGLVolume();
  viewer.createOnLocationChange();
}

// --- the words --------------------------------------------------------------------------------

function describe(subject) {
  element("subject").textContent = subject.name;
  element("subject").title = subject.name;
  element("origin").textContent =
    subject.split === "test" ? "test set, ensemble" : `out of fold, fold ${subject.fold}`;
  element("structures").replaceChildren(
    ...subject.structures.map((measured) => {
      const row = document.createElement("tr");
      const head = Object.assign(document.createElement("th"), { scope: "row" });
      const label = study.structures.indexOf(measured.structure);
      const mark = document.createElement("i");
      mark.style.background = label < 0 ? "transparent" : colourOf(label);
      head.append(mark, Object.assign(document.createElement("span"), { textContent: measured.structure }));
      const words = { missed: "missed", hallucinated: "invented", true_absent: "absent" };
      const cells = words[measured.state]
        ? [[words[measured.state], measured.state !== "true_absent"]]
        : [[number(measured.dice, 3)], [number(measured.nsd, 3)], [`${number(measured.hd95_mm, 1)} mm`]];
      row.append(head);
      for (const [text, failed] of cells) {
        const cell = document.createElement("td");
        cell.textContent = text;
        cell.classList.toggle("failed", Boolean(failed));
        if (cells.length === 1) cell.colSpan = 3;
        row.append(cell);
      }
      return row;
    }),
  );
}

function tellLocation(location) {
  if (!volumes.image) return;
  const structureAt = (name) =>
    study.structures[labelAt(volumes[name], volumes[name].mm2vox(location.mm)) - 1] ?? "none";
  const values = location.values.map((value) => value.value);
  const words = [
    `${["R", "A", "S"].map((axis, i) => `${axis} ${location.mm[i].toFixed(1)}`).join("  ")} mm`,
    `image ${Number(values[0]).toPrecision(4)}`,
    `reference ${structureAt("reference")}`,
    `prediction ${structureAt("prediction")}`,
  ];
  if (volumes.uncertainty) words.push(`uncertainty ${Number(values[3]).toFixed(2)}`);
  element("location").textContent = words.join(" \u2002|\u2002 ");
}

// --- the start --------------------------------------------------------------------------------

function showScaleOfUncertainty() {
  const { R, G, B, I } = niivue.cmapper.colormapFromKey(COLOURS_OF_UNCERTAINTY);
  const stops = I.map((place, i) => `rgb(${R[i]} ${G[i]} ${B[i]}) ${(100 * place) / 255}%`);
  document.querySelector(".scale i").style.background = `linear-gradient(90deg, ${stops})`;
}

function listen() {
  const views = {
    multiplanar: viewer.sliceTypeMultiplanar, axial: viewer.sliceTypeAxial,
    coronal: viewer.sliceTypeCoronal, sagittal: viewer.sliceTypeSagittal,
  };
  element("view").addEventListener("change", (event) => viewer.setSliceType(views[event.target.value]));
  element("image").addEventListener("change", () => show(current));
  element("reset").addEventListener("click", () => {
    viewer.scene.pan2Dxyzmm = [0, 0, 0, 1];
    Object.assign(volumes.image, { cal_min: volumes.image.robust_min, cal_max: volumes.image.robust_max });
    lookAtStructures();
    draw();
  });
  element("search").addEventListener("input", listSubjects);
  element("order").addEventListener("change", listSubjects);
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  element("subjects").addEventListener("click", (event) => {
    const position = event.target.closest("li")?.dataset.position;
    if (position !== undefined) show(Number(position));
  });
  element("subjects").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      step(by);
    }
  });
  for (const panel of document.querySelectorAll("[data-overlay]")) panel.addEventListener("input", draw);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "search") return;
    const overlay = OVERLAYS[Number(event.key) - 1];
    if (overlay) document.querySelector(`[data-overlay="${overlay}"] [type="checkbox"]`).click();
    else if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
  });
}

async function start() {
  const answer = await fetch("/subjects.json");
  study = await answer.json();
  document.title = `${study.run}: images and segmentations`;
  element("run").textContent = study.run;
  element("about").textContent = [
    study.description, `Dataset: ${study.dataset}`, study.synthetic ? "Synthetic data" : "",
  ].filter(Boolean).join("\n");
  element("note").textContent = study.note;
  element("note").hidden = !study.note;
  element("image").append(...study.images.map((name) => new Option(name)));
  element("channels").hidden = study.images.length < 2;
  await viewer.attachToCanvas(element("canvas"));
  viewer.onLocationChange = tellLocation;
  viewer.setInterpolation(true);
  showScaleOfUncertainty();
  listen();
  listSubjects();
  step(1);
}

start().catch((error) => say(`This page cannot start: ${error.message}`, true));
