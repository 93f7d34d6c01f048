/* Figures of the book: hands side by side turn together, by mouse, touch and keyboard; without WebGL a still drawing of the
 * same hands stands in for a 3D scene. And boxes that scroll can be scrolled from the keyboard. Loaded after plotly.js, where
 * a page has it, and before the figures. */
(() => {
  const TYPES = { f8: Float64Array, f4: Float32Array, i4: Int32Array, i2: Int16Array, i1: Int8Array,
                  u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };

  /* plotly.py packs arrays in base64. */
  function numbers(values) {
    if (!values || !values.bdata) return Array.from(values || []);
    const bytes = Uint8Array.from(atob(values.bdata), (letter) => letter.charCodeAt(0));
    return Array.from(new TYPES[values.dtype](bytes.buffer));
  }

  function hasWebGL() {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch { return false; }
  }

  const minus = (a, b) => a.map((value, i) => value - b[i]);
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const unit = (a) => a.map((value) => value / Math.hypot(...a));
  const xyz = (point, other) => ["x", "y", "z"].map((axis) => (point && point[axis] !== undefined ? point[axis] : other[axis]));

  /* How the scene's camera sees it: data coordinates to right and up, one unit being half an axis. */
  function projector(scene) {
    const camera = scene.camera || {};
    const eye = xyz(camera.eye, { x: 1.25, y: 1.25, z: 1.25 });
    const forward = unit(minus(xyz(camera.center, { x: 0, y: 0, z: 0 }), eye));
    const right = unit(cross(forward, xyz(camera.up, { x: 0, y: 0, z: 1 })));
    const up = cross(right, forward);
    const axes = ["xaxis", "yaxis", "zaxis"].map((axis) => (scene[axis] || {}).range || [-1, 1]);
    return (point) => {
      const place = point.map((value, i) => (2 * value - axes[i][0] - axes[i][1]) / (axes[i][1] - axes[i][0]));
      return [dot(place, right), dot(place, up)];
    };
  }

  /* A figure of 3D lines as a figure of 2D lines: what stands in for it where there is no WebGL, and on paper. */
  function still(data, layout) {
    const flat = { ...layout }, scenes = Object.keys(layout).filter((key) => /^scene\d*$/.test(key));
    scenes.forEach((key, index) => {
      const domain = layout[key].domain || {}, place = index ? index + 1 : "";
      delete flat[key];
      const hidden = { visible: false, range: [-1.25, 1.25], fixedrange: true };
      flat[`xaxis${place}`] = { ...hidden, domain: domain.x || [0, 1], anchor: `y${place}`, constrain: "domain" };
      flat[`yaxis${place}`] = { ...hidden, domain: domain.y || [0, 1], anchor: `x${place}`, scaleanchor: `x${place}` };
    });
    const traces = data.map((trace) => {
      if (trace.type !== "scatter3d") return trace;
      const key = trace.scene || "scene", index = scenes.indexOf(key), place = index > 0 ? index + 1 : "";
      const project = projector(layout[key] || {}), [xs, ys, zs] = [trace.x, trace.y, trace.z].map(numbers);
      const points = xs.map((x, i) => (x === null ? [null, null] : project([x, ys[i], zs[i]])));
      const { z, scene, hovertemplate, ...rest } = trace;
      return { ...rest, type: "scatter", hoverinfo: "name", x: points.map((p) => p[0]), y: points.map((p) => p[1]),
               xaxis: `x${place}`, yaxis: `y${place}`, line: { ...trace.line, width: Math.max(1.5, ((trace.line || {}).width || 4) / 2) },
               marker: { ...trace.marker, size: 4 } };
    });
    return [traces, flat];
  }

  const flattens = (data) => data.some((trace) => trace.type === "scatter3d")
    && data.every((trace) => ["scatter3d", "scatter", undefined].includes(trace.type));

  if (window.Plotly && !hasWebGL()) {
    const draw = Plotly.newPlot;
    Plotly.newPlot = (place, data, layout, config) => {
      if (!flattens(data)) return draw(place, data, layout, config);
      const element = typeof place === "string" ? document.getElementById(place) : place;
      element.classList.add("still");
      return draw(place, ...still(data, layout || {}), config);
    };
  }

  /* Paper gets nothing of what the graphics card drew: there the still drawing stands in, as the hand is turned just then. */
  function putOnPaper() {
    document.querySelectorAll(".js-plotly-plot").forEach((plot) => {
      const turnable = plot.layout && Object.keys(plot.layout).some((key) => /^scene\d*$/.test(key));
      if (!turnable || !flattens(plot.data)) return;
      const paper = document.createElement("div"), [traces, layout] = still(plot.data, plot.layout);
      paper.className = "on-paper";
      plot.after(paper);
      Plotly.newPlot(paper, traces, { ...layout, width: Math.min(plot.clientWidth, 680) }, { staticPlot: true });
    });
  }
  window.addEventListener("beforeprint", putOnPaper);
  window.addEventListener("afterprint", () => document.querySelectorAll(".on-paper").forEach((paper) => paper.remove()));

  function addRange(box, text, options, change) {
    const label = document.createElement("label"), input = document.createElement("input"), output = document.createElement("output");
    Object.assign(input, { type: "range", ...options.input });
    const show = () => {
      output.textContent = options.words(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => { show(); change(Number(input.value)); });
    label.append(text, input, output);
    box.append(label);
    show();
    return (value) => { input.value = value; show(); };
  }

  /* The slider that plotly draws knows no keyboard: the browser's own does the same. */
  function addFrames(plot, box) {
    const slider = (plot.layout.sliders || [])[0];
    if (!slider) return;
    const steps = slider.steps, name = ((slider.currentvalue || {}).prefix || "show").trim();
    if (steps.length > 1) addRange(box, name, { input: { min: 0, max: steps.length - 1, step: 1, value: slider.active || 0 },
      words: (index) => `${steps[index].label}` },
      (index) => Plotly[steps[index].method](plot, ...structuredClone(steps[index].args)));
    Plotly.relayout(plot, { sliders: [] });
  }

  function turned(eye, up, angle) {
    const axis = unit(up), along = axis.map((value) => value * dot(eye, axis)), flat = minus(eye, along), side = cross(axis, flat);
    return eye.map((_, i) => along[i] + flat[i] * Math.cos(angle) + side[i] * Math.sin(angle));
  }

  function addTurning(plot, box, scenes) {
    const start = scenes.map((key) => structuredClone(plot.layout[key].camera || {}));
    let ours = 0;
    const set = (change) => { ours += 1; return Plotly.relayout(plot, change).finally(() => { ours -= 1; }); };
    const setAngle = addRange(box, "turn", { input: { min: -180, max: 180, step: 5, value: 0 }, words: (degrees) => `${degrees}°` },
      (degrees) => set(Object.fromEntries(scenes.map((key, i) => {
        const eye = xyz(start[i].eye, { x: 1.25, y: 1.25, z: 1.25 }), up = xyz(start[i].up, { x: 0, y: 0, z: 1 });
        const [x, y, z] = turned(eye, up, (degrees * Math.PI) / 180);
        return [`${key}.camera`, { ...start[i], eye: { x, y, z } }];
      }))));
    /* One hand was dragged: the others follow. */
    plot.on("plotly_relayout", (event) => {
      const moved = scenes.find((key) => event[`${key}.camera`]);
      if (ours || !moved) return;
      const camera = event[`${moved}.camera`];
      start.forEach((_, i) => { start[i] = structuredClone(camera); });
      setAngle(0);
      const others = scenes.filter((key) => key !== moved);
      if (others.length) set(Object.fromEntries(others.map((key) => [`${key}.camera`, structuredClone(camera)])));
    });
  }

  /* Scenes side by side need room: where there is little they stand in several lines, on a phone one below the other, each
   * with its title. */
  function arrange(plot, scenes) {
    const titles = plot.layout.annotations || [], wide = { height: plot.layout.height };
    scenes.forEach((key, i) => {
      wide[`${key}.domain`] = structuredClone(plot.layout[key].domain);
      if (titles[i]) { wide[`annotations[${i}].x`] = titles[i].x; wide[`annotations[${i}].y`] = titles[i].y; }
    });
    const inLines = (lines) => {
      const columns = Math.ceil(scenes.length / lines), layout = { height: 40 + 260 * lines };
      scenes.forEach((key, i) => {
        const top = 1 - Math.floor(i / columns) / lines, left = (i % columns) / columns;
        layout[`${key}.domain`] = { x: [left, left + 1 / columns], y: [top - 0.9 / lines, top] };
        if (titles[i]) { layout[`annotations[${i}].x`] = left + 0.5 / columns; layout[`annotations[${i}].y`] = top; }
      });
      return layout;
    };
    let now = 1;
    const fit = () => {
      const beside = Math.max(1, Math.floor(plot.clientWidth / 200)), lines = Math.ceil(scenes.length / beside);
      if (lines === now) return;
      now = lines;
      const layout = lines === 1 ? wide : inLines(lines);
      plot.parentElement.style.height = `${layout.height}px`;
      Plotly.relayout(plot, layout);
    };
    window.addEventListener("resize", fit);
    fit();
  }

  function complete(plot) {
    const box = document.createElement("div");
    const scenes = Object.keys(plot.layout).filter((key) => /^scene\d*$/.test(key));
    if (!scenes.length && !plot.layout.sliders) return;
    box.className = "turn";
    addFrames(plot, box);
    if (scenes.length) addTurning(plot, box, scenes);
    if (scenes.length > 1) arrange(plot, scenes);
    (plot.closest('[role="img"]') || plot).after(box);
  }

  /* What scrolls sideways has to be reached by the keyboard; the theme knows of some such boxes, and is late. */
  const BOXES = "main pre, .pst-scrollable-table-container, .results-table, .texts-table, .picture, .cell_output .output, .cell_output .output > div, div.math";
  function reachBoxes() {
    document.querySelectorAll(BOXES).forEach((box) => {
      if (box.matches(".js-plotly-plot, .js-plotly-plot *")) return;
      const style = getComputedStyle(box), moves = (overflow) => ["auto", "scroll"].includes(overflow);
      const scrolls = (box.scrollWidth > box.clientWidth && moves(style.overflowX)) || (box.scrollHeight > box.clientHeight && moves(style.overflowY));
      if (scrolls) box.tabIndex = 0; else if (box.tabIndex === 0) box.removeAttribute("tabindex");
    });
  }

  /* Plotly follows the window. Its column changes without it, too, when the sidebar comes or goes. */
  function follow(plots) {
    const watch = new ResizeObserver((changed) => changed.forEach(({ target }) => {
      const drawn = target._fullLayout && target._fullLayout.width;
      if (drawn && !target.layout.width && target.clientWidth && Math.abs(drawn - target.clientWidth) > 1) Plotly.Plots.resize(target);
    }));
    plots.forEach((plot) => watch.observe(plot));
  }

  window.companion = { still, projector, numbers };
  window.addEventListener("load", () => document.querySelectorAll(".js-plotly-plot").forEach(complete));
  window.addEventListener("load", () => follow(document.querySelectorAll(".js-plotly-plot")));
  window.addEventListener("load", () => {
    reachBoxes();
    const watch = new ResizeObserver(reachBoxes);
    document.querySelectorAll(BOXES).forEach((box) => watch.observe(box));
  });
})();
