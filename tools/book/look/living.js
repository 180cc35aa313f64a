// The digits' U-Net in this tab: noise in, digits out, one step after the other.
"use strict";
(() => {
  const N = 16, SIDE = 8, PIXELS = SIDE * SIDE;
  const STEPS = [2, 5, 10, 20, 50, 100, 200], ETAS = [0, 0.5, 1];
  const one = (id) => document.getElementById(id);
  const say = (words) => { one("state").textContent = words; };
  let model = null, states = [];

  // Independent normal numbers that a seed repeats: mulberry32 and Box-Muller.
  function normal(seed) {
    let a = seed >>> 0;
    const uniform = () => {
      a = (a + 0x6d2b79f5) >>> 0;
      let z = Math.imul(a ^ (a >>> 15), a | 1);
      z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
      return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  // round as Python does: halves go to the even number
  const even = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
  const times = (T, n) => Array.from({ length: n }, (_, i) => even(T - (i * T) / n) - 1);

  async function load() {
    if (model) return model;
    say("Loading the runtime and the model, 14 MB ...");
    await new Promise((resolve, reject) => {
      const script = document.createElement("script");
      [script.src, script.onload, script.onerror] = ["living/ort.wasm.min.js", resolve, () => reject(new Error("the runtime is not there"))];
      document.head.append(script);
    });
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = new URL("living/", document.baseURI).href;
    const about = await (await fetch("living/digits.json")).json();
    const session = await ort.InferenceSession.create("living/digits.onnx", { executionProviders: ["wasm"] });
    model = { alphaBar: about.alpha_bar, session };
    one("go").textContent = "Draw again";
    return model;
  }

  async function predict(xt, t) {
    const B = xt.length / PIXELS;
    const feeds = { xt: new ort.Tensor("float32", xt, [B, 1, SIDE, SIDE]), t: new ort.Tensor("float32", new Float32Array(B).fill(t), [B]) };
    return (await (await load()).session.run(feeds)).eps_theta.data;
  }

  // Song et al. 2021 (DDIM), Eq. 12; eta = 1 is the sampler of DDPM with the variance beta tilde.
  async function* sample(xt, nSteps, eta, noise) {
    const { alphaBar } = await load(), way = times(alphaBar.length, nSteps);
    for (let i = 0; i < way.length; i++) {
      const t = way[i], a = alphaBar[t], eps = await predict(xt, t);
      const x0 = xt.map((x, k) => Math.max(-1, Math.min(1, (x - Math.sqrt(1 - a) * eps[k]) / Math.sqrt(a))));
      yield { t, xt, x0 };
      if (i + 1 === way.length) return;
      const before = alphaBar[way[i + 1]], sigma = eta * Math.sqrt(((1 - before) / (1 - a)) * (1 - a / before));
      const direction = Math.sqrt(Math.max(0, 1 - before - sigma * sigma));
      xt = xt.map((x, k) => Math.sqrt(before) * x0[k] + direction * (x - Math.sqrt(a) * x0[k]) / Math.sqrt(1 - a) + (sigma && sigma * noise()));
    }
  }

  function paint(canvas, images) {
    const pad = 1, row = 4, size = row * (SIDE + pad) + pad, picture = new ImageData(size, size);
    picture.data.fill(255);
    images.forEach((x, i) => {
      const which = Math.floor(i / PIXELS), k = i % PIXELS;
      const left = pad + (which % row) * (SIDE + pad) + (k % SIDE), top = pad + Math.floor(which / row) * (SIDE + pad) + Math.floor(k / SIDE);
      const grey = Math.max(0, Math.min(255, Math.round((x + 1) * 127.5)));
      picture.data.set([grey, grey, grey, 255], 4 * (top * size + left));
    });
    [canvas.width, canvas.height] = [size, size];
    canvas.getContext("2d").putImageData(picture, 0, 0);
  }

  function words(input, text) {
    input.setAttribute("aria-valuetext", text);
    document.querySelector(`output[for=${input.id}]`).textContent = text;
  }

  function show() {
    const step = one("step"), { t, xt, x0 } = states[+step.value];
    words(step, `${+step.value + 1} of ${states.length}, t = ${t}`);
    paint(one("xt"), xt);
    paint(one("x0"), x0);
    one("xt").setAttribute("aria-label", `x_t of 16 digits at t = ${t}`);
    one("x0").setAttribute("aria-label", `What the network takes the 16 digits to be at t = ${t}`);
  }

  const SAMPLERS = ["DDIM, eta = 0", "eta = 0.5", "eta = 1, as DDPM"];
  let run = 0;

  async function draw() {
    const mine = ++run, seed = +one("seed").value, n = STEPS[+one("steps").value], eta = ETAS[+one("sampler").value];
    try {
      const noise = normal(seed), found = [];
      await load();
      for await (const state of sample(Float32Array.from({ length: N * PIXELS }, noise), n, eta, noise)) {
        if (mine !== run) return;
        found.push(state);
        say(`Step ${found.length} of ${n}`);
        if (found.length % 5 === 0) await new Promise((next) => setTimeout(next));
      }
      states = found;
      [one("step").max, one("step").value, one("step").disabled] = [n - 1, n - 1, false];
      show();
      say(`16 new digits in ${n} steps, seed ${seed}, ${SAMPLERS[ETAS.indexOf(eta)]}. Move "step" to go back into the noise.`);
    } catch (error) {
      say(`This did not work: ${error.message}. The model needs WebAssembly and pages that come from a web server, such as: python -m http.server`);
    }
  }

  const settings = { seed: String, steps: (i) => String(STEPS[i]), sampler: (i) => SAMPLERS[i] };
  for (const [id, text] of Object.entries(settings))
    one(id).addEventListener("input", (event) => { words(event.target, text(+event.target.value)); if (model) draw(); });
  one("step").addEventListener("input", show);
  one("go").addEventListener("click", draw);
  if (typeof WebAssembly === "undefined") { one("go").disabled = true; say("This browser has no WebAssembly, which the model needs. The chapters show its digits as pictures."); }
  else if (location.protocol === "file:") say("Opened as a file, a page may not load the model. Serve the folder: python -m http.server");
  window.living = { sample, predict, times };
})();
