// Panels that move: a slider picks a stored picture and the words that belong to it.
"use strict";
(() => {
  const panels = new Map();
  const weight = (panel, k) => (k === panel.moved ? 4 : 1);

  // The stored combination of stops that is nearest to the one asked for.
  function nearest(panel, at) {
    const key = at.join();
    if (panel.frames[key]) return at;
    let best = null, least = Infinity;
    for (const candidate of panel.places) {
      let far = 0;
      for (let k = 0; k < at.length; k++) {
        const step = (candidate[k] - at[k]) / Math.max(1, panel.stops[k].length - 1);
        far += weight(panel, k) * step * step;
      }
      if (far < least) [best, least] = [candidate, far];
    }
    return best;
  }

  const address = (name) => `frames/${name}.webp`;

  function fetched(panel, name) {
    if (!panel.cache.has(name)) {
      const image = new Image();
      image.src = address(name);
      panel.cache.set(name, image);
    }
    return panel.cache.get(name);
  }

  function show(panel) {
    const asked = panel.inputs.map((input) => +input.value);
    panel.inputs.forEach((input, k) => {
      const words = panel.stops[k][asked[k]];
      input.setAttribute("aria-valuetext", words);
      panel.outputs[k].textContent = words;
    });
    const found = nearest(panel, asked), [name, alt] = panel.frames[found.join()];
    const unlike = panel.labels.filter((_, k) => found[k] !== asked[k]);
    const values = found.map((i, k) => `${panel.labels[k]} ${panel.stops[k][i]}`).filter((_, k) => found[k] !== asked[k]);
    panel.note.textContent = unlike.length ? `Nearest stored picture shown: ${values.join(", ")}.` : "";
    panel.image.src = fetched(panel, name).src;
    panel.image.alt = alt;
    panel.image.dataset.frame = name;
    ahead(panel, found);
  }

  // Fetch what one more key press may ask for.
  function ahead(panel, at) {
    clearTimeout(panel.timer);
    panel.timer = setTimeout(() => at.forEach((_, k) => {
      for (const step of [1, -1, 2, -2]) {
        const next = at.with(k, at[k] + step), stored = panel.stops[k][next[k]] !== undefined && nearest(panel, next);
        if (stored) fetched(panel, panel.frames[stored.join()][0]);
      }
    }), 50);
  }

  // Called by the scripts in frames/ with the pictures of a panel.
  window.frames = (name, data) => {
    const panel = panels.get(name);
    Object.assign(panel, data, { places: Object.keys(data.frames).map((key) => key.split(",").map(Number)) });
    show(panel);
  };

  function load(panel) {
    if (panel.asked) return;
    panel.asked = true;
    const script = document.createElement("script");
    script.src = `frames/${panel.name}.js`;
    document.head.append(script);
  }

  for (const box of document.querySelectorAll("[data-frames]")) {
    const all = (what) => [...box.querySelectorAll(what)];
    const panel = {
      name: box.dataset.frames, inputs: all("input"), outputs: all("output"), cache: new Map(), moved: 0,
      labels: all("label").map((label) => label.textContent),
      image: box.querySelector("img"), note: box.querySelector(".nearest"),
    };
    panels.set(panel.name, panel);
    panel.inputs.forEach((input, k) => input.addEventListener("input", () => {
      panel.moved = k;
      panel.frames ? show(panel) : load(panel);
    }));
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { seen.disconnect(); load(panel); }
    }, { rootMargin: "600px" });
    seen.observe(box);
  }
})();
