/* The latent explorer of handpose.explorer: sliders along the main directions of the pose latent, and the hand that the
   trained decoder makes of them, computed here. Plain script: no library, no network, no WebGL. */
(function (scope) {
  "use strict";

  const FINGERS = [["thumb", "#D55E00"], ["index", "#E69F00"], ["middle", "#009E73"], ["ring", "#0072B2"], ["little", "#CC79A7"]];
  const KINDS = { int8: Int8Array, uint8: Uint8Array, int16: Int16Array, float32: Float32Array };
  const STYLE = `
    .latent-explorer { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0.5rem 1.5rem; margin: 1rem 0; }
    .latent-explorer canvas { width: 100%; height: 22rem; border: 1px solid #8886; border-radius: 4px; cursor: grab; touch-action: pan-y; }
    .latent-explorer canvas:focus-visible { outline: 3px solid #0072B2; outline-offset: 1px; }
    .latent-explorer fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
    .latent-explorer legend { font-weight: 600; padding: 0; font-size: 1rem; }
    .latent-explorer label { display: flex; justify-content: space-between; gap: 0.5rem; font-size: 0.85rem; margin-top: 0.35rem; }
    .latent-explorer input { width: 100%; display: block; margin: 0; min-height: 1.5rem; }
    .latent-explorer button { margin: 0.7rem 0.5rem 0 0; padding: 0.3rem 0.8rem; font: inherit; font-size: 0.9rem; color: inherit;
      background: transparent; border: 1px solid currentColor; border-radius: 4px; cursor: pointer; }
    .latent-explorer p { margin: 0.4rem 0 0; font-size: 0.85rem; }
    @media (min-width: 900px) { .latent-explorer { grid-template-columns: minmax(0, 1.1fr) minmax(0, 1fr); } }
    @media print { .latent-explorer button { display: none; } }`;

  function numbers(part) {
    const bytes = Uint8Array.from(atob(part.data), (letter) => letter.charCodeAt(0));
    return new KINDS[part.type](bytes.buffer);
  }

  /* The arrays of handpose.explorer.pack as numbers to multiply with. */
  function prepare(data) {
    const kept = data.arrays;
    const [entries, width, count] = kept.entry.shape;
    const entry = numbers(kept.entry), unit = numbers(kept.entry_unit);
    const halves = numbers(kept.hidden), rows = kept.hidden.shape[0] * width;
    const hidden = new Float32Array(2 * halves.length), steps = numbers(kept.hidden_unit);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let pair = 0; pair < width / 2; pair++, at++) {
        hidden[2 * at] = ((halves[at] & 15) - 8) * steps[row];
        hidden[2 * at + 1] = ((halves[at] >> 4) - 8) * steps[row];
      }
    }
    return {
      entries, width, count, layers: kept.hidden.shape[0], hidden, hiddenBias: numbers(kept.hidden_bias),
      entry: Float32Array.from(entry, (value, at) => value * unit[Math.floor(at / (width * count))]), entryBias: numbers(kept.entry_bias),
      out: numbers(kept.out), outUnit: numbers(kept.out_unit), outBias: numbers(kept.out_bias),
    };
  }

  /* One row of a matrix, from index `at` on, times a vector. */
  function dot(matrix, at, vector) {
    let sum = 0;
    for (let column = 0; column < vector.length; column++) sum += matrix[at + column] * vector[column];
    return sum;
  }

  /* The hand of `steps` (k) in standard deviations: 63 numbers, mm, x y z of joint after joint. Eqs. 18 and 19. */
  function decode(net, steps) {
    const { width, count } = net;
    const injected = (layer, row) => Math.max(0, dot(net.entry, (layer * width + row) * count, steps) + net.entryBias[layer * width + row]);
    let y = Float64Array.from({ length: width }, (_, row) => injected(0, row) + injected(1, row));
    for (let layer = 0; layer < net.layers; layer++) {
      const before = y;
      y = Float64Array.from({ length: width }, (_, row) => {
        const at = layer * width + row;
        return Math.max(0, dot(net.hidden, at * width, before) + net.hiddenBias[at]) + injected(layer + 2, row);
      });
    }
    const last = { length: net.outBias.length };
    return Float64Array.from(last, (_, row) => dot(net.out, row * width, y) * net.outUnit[row] + net.outBias[row]);
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  /* Draw the hand, far bones first, seen by a camera turned by `yaw` and `pitch`. */
  function draw(canvas, hand, yaw, pitch) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(box.width * ratio));
    canvas.height = Math.max(1, Math.round(box.height * ratio));
    const pen = canvas.getContext("2d"), zoom = Math.min(canvas.width, canvas.height) / 240;
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const joints = [], centre = [0, 1, 2].map((axis) => hand.reduce((sum, value, at) => sum + (at % 3 === axis ? value / 21 : 0), 0));
    for (let joint = 0; joint < 21; joint++) {
      const [x, y, z] = centre.map((middle, axis) => hand[3 * joint + axis] - middle);
      const across = x * cy + z * sy, depth = z * cy - x * sy, down = y * cp - depth * sp, far = depth * cp + y * sp;
      const near = 600 / (600 + far);
      joints.push({ x: canvas.width / 2 + across * near * zoom, y: canvas.height / 2 + down * near * zoom, far, near });
    }
    const bones = [];
    for (let joint = 1; joint < 21; joint++) {
      const parent = joint % 4 === 1 ? 0 : joint - 1;
      bones.push({ from: joints[parent], to: joints[joint], colour: FINGERS[Math.floor((joint - 1) / 4)][1] });
    }
    bones.sort((one, other) => other.from.far + other.to.far - one.from.far - one.to.far);
    pen.lineCap = "round";
    const ground = getComputedStyle(canvas.closest(".latent-explorer")).getPropertyValue("--pst-color-background").trim() || "#fff";
    for (const { from, to, colour } of bones) {
      const line = (width, style) => {
        pen.lineWidth = width * zoom * ((from.near + to.near) / 2) ** 2;
        pen.strokeStyle = style;
        pen.beginPath();
        pen.moveTo(from.x, from.y);
        pen.lineTo(to.x, to.y);
        pen.stroke();
      };
      line(9, ground); // an edge, so that a bone in front stands out
      line(5.5, colour);
      pen.fillStyle = colour;
      pen.beginPath();
      pen.arc(to.x, to.y, 4.2 * zoom * to.near ** 2, 0, 7);
      pen.fill();
    }
  }

  function explorer(name) {
    const place = document.getElementById(name), data = JSON.parse(document.getElementById(name + "-data").textContent);
    const net = prepare(data), mean = new Array(net.count).fill(0), still = window.matchMedia("(prefers-reduced-motion: reduce)");
    let shown = data.frames.length ? 0 : -1; // whose hand the sliders started from; -1 is the mean latent
    const start = () => (shown < 0 ? mean : data.frames[shown]), steps = [...start()];
    let hand = decode(net, steps), rest = hand, yaw = 0.35, pitch = -0.15, moving = 0;

    const canvas = element("canvas", { tabindex: 0, role: "img", "aria-describedby": name + "-help",
      "aria-label": "Hand of 21 joints in 3D, made by the decoder from the sliders" });
    const help = element("p", { id: name + "-help" }, "Turn the hand: drag it, or use the arrow keys when it has the focus.");
    const moved = element("p", { class: "moved" });
    const sliders = data.share.map((share, index) => {
      const id = `${name}-${index + 1}`, value = element("span", { "aria-hidden": "true" });
      const percent = (100 * share).toFixed(share < 0.1 ? 1 : 0);
      const label = element("label", { for: id }, `direction ${index + 1}: ${percent} % of the variance`, value);
      const input = element("input", { id, type: "range", min: -data.reach, max: data.reach, step: 0.1, value: 0 });
      input.addEventListener("input", () => { clearTimeout(moving); steps[index] = Number(input.value); update(); });
      return { label, input, value };
    });
    const button = (text, act) => {
      const made = element("button", { type: "button" }, text);
      made.addEventListener("click", act);
      return made;
    };
    const from = (number) => { shown = number; rest = decode(net, start()); goTo(start()); };
    const buttons = element("div", {}, button("Reset", () => { yaw = 0.35; pitch = -0.15; from(shown); }));
    if (data.frames.length) buttons.append(button("Another picture's hand", () => from((shown + 1) % data.frames.length)));
    buttons.append(button("Mean latent", () => from(-1)));
    const legend = element("legend", {}, "Pose latent, in standard deviations");
    const controls = element("fieldset", {}, legend, ...sliders.flatMap(({ label, input }) => [label, input]), buttons);
    const key = element("p", { "aria-hidden": "true" });
    FINGERS.forEach(([finger, colour]) => {
      const patch = element("span", {});
      patch.style.cssText = `display:inline-block;width:0.9em;height:0.9em;border-radius:50%;background:${colour};margin:0 0.3em -0.1em 0`;
      key.append(patch, finger + "  ");
    });
    place.append(element("style", {}, STYLE), element("div", {}, canvas, key, help, moved), controls);

    function update() {
      hand = decode(net, steps);
      sliders.forEach(({ input, value }, index) => {
        const size = Math.abs(steps[index]).toFixed(1), text = (size === "0.0" ? "" : steps[index] < 0 ? "−" : "+") + size;
        input.value = steps[index];
        input.setAttribute("aria-valuetext", text + " standard deviations");
        value.textContent = text;
      });
      let sum = 0;
      for (let joint = 0; joint < 21; joint++) {
        sum += Math.hypot(...[0, 1, 2].map((axis) => hand[3 * joint + axis] - rest[3 * joint + axis])) / 21;
      }
      const origin = shown < 0 ? "the mean latent's hand" : `the hand of picture ${shown + 1} of ${data.frames.length}`;
      moved.textContent = `Joints are ${sum.toFixed(1)} mm away from ${origin}, on average.`;
      draw(canvas, hand, yaw, pitch);
    }

    function goTo(target) {
      const began = performance.now(), first = [...steps], lasts = still.matches ? 0 : 350;
      clearTimeout(moving);
      (function step() {
        const part = lasts ? Math.min(1, (performance.now() - began) / lasts) : 1;
        target.forEach((value, index) => { steps[index] = part < 1 ? first[index] + part * (value - first[index]) : value; });
        update();
        if (part < 1) moving = setTimeout(step, 16);
      })();
    }

    function turn(across, down) {
      yaw += across;
      pitch = Math.max(-1.5, Math.min(1.5, pitch + down));
      draw(canvas, hand, yaw, pitch);
    }

    let held = null;
    canvas.addEventListener("pointerdown", (event) => {
      held = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!held) return;
      turn((event.clientX - held[0]) * -0.01, (event.clientY - held[1]) * -0.01);
      held = [event.clientX, event.clientY];
    });
    ["pointerup", "pointercancel"].forEach((kind) => canvas.addEventListener(kind, () => { held = null; }));
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] }[event.key];
      if (!by) return;
      event.preventDefault();
      turn(...by);
    });
    new ResizeObserver(() => draw(canvas, hand, yaw, pitch)).observe(canvas);
    new MutationObserver(() => draw(canvas, hand, yaw, pitch)).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    update();
  }

  scope.handposeExplorer = explorer;
  if (typeof module !== "undefined") module.exports = { prepare, decode };
})(typeof window === "undefined" ? globalThis : window);
