// Light and dark, search, and how far one has read; all of it stays on this machine.
"use strict";
(() => {
  const memory = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* a private window forgets */ } },
  };
  const one = (what) => document.querySelector(what);

  // Light and dark: the system's choice, until one chooses.
  const theme = one("#theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `${theme.textContent} page`); };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    memory.set("theme", document.documentElement.dataset.theme);
    label();
  });
  label();

  // How far: a share of every page, in this browser only.
  const place = document.body.dataset.page;
  if (place) {
    const remember = () => {
      const end = document.documentElement.scrollHeight - innerHeight;
      const share = Math.round(100 * Math.min(1, end > 0 ? (scrollY + 40) / end : 1));
      if (share > +memory.get(`read ${place}`)) memory.set(`read ${place}`, share);
    };
    addEventListener("scroll", remember, { passive: true });
  }
  for (const item of document.querySelectorAll("[data-progress]")) {
    const share = +memory.get(`read ${item.dataset.progress}`);
    if (share > 3) item.textContent = share > 97 ? "read" : `${share} % read`;
  }

  // Search: the index is loaded when the field is first used.
  const field = one("#search"), results = one("#results");
  let index = null;
  window.searchIndex = (found) => { index = found; look(); };
  const load = () => {
    if (index) return;
    index = [];
    const script = document.createElement("script");
    script.src = "search_index.js";
    document.head.append(script);
  };
  const begins = (text, word) => text.startsWith(word) || text.includes(` ${word}`);
  function look() {
    const words = field.value.toLowerCase().match(/[\p{L}\d.]+/gu) || [];
    const scored = words.length ? index.map(([file, id, page, heading, text]) => {
      const top = `${page} ${heading}`.toLowerCase();
      const hits = words.map((word) => (begins(top, word) ? 3 : begins(text, word) ? 1 : 0));
      return [hits.includes(0) ? 0 : hits.reduce((a, b) => a + b), file, id, page, heading];
    }).filter(([score]) => score).sort((a, b) => b[0] - a[0]).slice(0, 12) : [];
    results.replaceChildren(...scored.map(([, file, id, page, heading]) => {
      const link = document.createElement("a"), from = document.createElement("span"), item = document.createElement("li");
      link.href = `${file}#${encodeURIComponent(id)}`;
      link.textContent = heading;
      from.textContent = heading === page ? "" : page;
      link.append(from);
      item.append(link);
      return item;
    }));
    one("#found").textContent = words.length ? (scored.length ? "" : "Nothing found.") : "";
    results.hidden = !scored.length;
  }
  field.addEventListener("focus", load);
  field.addEventListener("input", () => { load(); look(); });
  field.addEventListener("keydown", (event) => { if (event.key === "Escape") { field.value = ""; look(); } });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) { event.preventDefault(); field.focus(); }
  });

  // What scrolls sideways can be reached by keyboard.
  const scrolls = () => {
    for (const box of document.querySelectorAll(".equation:has(.narrow) > .scroll")) { // reasons go under lines that are too long
      box.parentElement.classList.remove("under");
      if (box.scrollWidth > box.clientWidth + 1) box.parentElement.classList.add("under");
    }
    for (const box of document.querySelectorAll(".scroll, .highlight, pre"))
      box.scrollWidth > box.clientWidth + 1 ? box.setAttribute("tabindex", 0) : box.removeAttribute("tabindex");
  };
  addEventListener("resize", scrolls);
  document.addEventListener("toggle", scrolls, true);
  document.fonts.ready.then(scrolls);
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
})();
