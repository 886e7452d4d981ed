"use strict";
// What every page does in the browser: times in words, parts that renew themselves, keys, theme.

(() => {
  const MINUTE = 60, HOUR = 3600, DAY = 86400;

  function inWords(seconds) {
    const past = Math.abs(seconds);
    const said = past < 2 * MINUTE ? `${Math.round(past)} s`
      : past < 2 * HOUR ? `${Math.round(past / MINUTE)} min`
      : past < 2 * DAY ? `${Math.round(past / HOUR)} h`
      : `${Math.round(past / DAY)} days`;
    return seconds >= 0 ? `${said} ago` : `in ${said}`;
  }

  function sayTimes() {
    for (const one of document.querySelectorAll("time[data-ago]")) {
      const seconds = (Date.now() - Date.parse(one.dateTime)) / 1000;
      const said = inWords(seconds);
      if (one.dataset.ago !== said) one.dataset.ago = said;
    }
  }

  // A part that is being used is left alone: an open form, a chosen text, an opened detail, a press
  // whose answer is on its way.
  function isInUse(part) {
    const focused = document.activeElement;
    if (part.contains(focused) && focused.matches("input, textarea, select")) return true;
    const selection = getSelection();
    if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) return true;
    return part.querySelector("details[open], .htmx-request") !== null;
  }

  async function renew(part) {
    const light = document.querySelector(".live");
    const say = (state, text) => {
      if (!light) return;
      light.className = `live ${state}`;
      light.textContent = text;
    };
    if (document.hidden) return;
    if (isInUse(part)) return say("paused", "paused while you work here");
    try {
      const headers = { "x-part": "live" };
      if (part.dataset.tag) headers["if-none-match"] = part.dataset.tag;
      const answer = await fetch(location.href, { headers, cache: "no-store" });
      if (answer.status === 401) {
        const form = new URL(`${document.querySelector(".brand").href}/log-in`);
        form.search = new URLSearchParams({ next: location.pathname + location.search, ended: "yes" });
        return location.assign(form);
      }
      if (answer.status === 200) {
        const content = await answer.text();
        if (isInUse(part) || !part.isConnected) return;
        part.innerHTML = content;
        part.dataset.tag = answer.headers.get("etag") || "";
        if (window.htmx) window.htmx.process(part);
        begin(part);
        beginLive();
      } else if (answer.status !== 304) throw new Error(String(answer.status));
      say("", "live");
    } catch {
      say("lost", "no answer; what is shown is old");
    }
  }

  function begin(root) {
    sayTimes();
    // Over the page, so that nothing moves away under the pointer; not longer than it takes to read.
    for (const one of document.querySelectorAll(".notice.said")) setTimeout(() => one.remove(), 8000);
    for (const wide of root.querySelectorAll("[data-newest-last]")) wide.scrollLeft = wide.scrollWidth;
    for (const pick of root.querySelectorAll("select[data-submits]")) {
      pick.onchange = () => pick.form.requestSubmit();
    }
    for (const [name, start] of Object.entries(window.consoleParts || {})) {
      for (const element of root.querySelectorAll(`[data-part="${name}"]`)) {
        if (!element.dataset.begun) {
          element.dataset.begun = "yes";
          start(element);
        }
      }
    }
  }

  // Until what it shows is over.
  let timer;
  function beginLive() {
    clearInterval(timer);
    const part = document.querySelector("[data-live]"), light = document.querySelector(".live");
    if (part && part.querySelector("[data-over]")) {
      if (light) light.remove();
    } else if (part) timer = setInterval(() => renew(part), Number(part.dataset.live) * 1000);
  }

  let before = "";
  function onKey(event) {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (before === "g") {
      const goal = document.querySelector(`.side a[data-key="${CSS.escape(event.key)}"]`);
      before = "";
      if (goal) return goal.click();
    }
    before = event.key === "g" ? "g" : "";
    if (event.key === "/") {
      const field = document.querySelector("input[type=search], main input");
      if (field) { event.preventDefault(); field.focus(); }
    }
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  }

  // Along the first link of each row of the tables.
  function step(by) {
    const rows = [...document.querySelectorAll("main tbody tr")]
      .map((row) => row.querySelector("a")).filter(Boolean);
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(rows.length - 1, Math.max(0, at + by))].focus();
  }

  // Above everything else, where it is heard, too.
  function tell(text) {
    const main = document.querySelector("main"), before = main.querySelector(".notice[data-told]");
    if (before) before.remove();
    const made = document.createElement("p");
    made.className = "notice bad";
    made.dataset.told = "";
    made.setAttribute("role", "alert");
    made.textContent = text;
    main.prepend(made);
    made.scrollIntoView({ block: "nearest" });
  }

  async function copy(button) {
    const meant = document.querySelector(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(meant.textContent);
      button.textContent = "Copied";
    } catch {
      // Pages that come without TLS may not: it is chosen, for the keyboard's own way.
      getSelection().selectAllChildren(meant);
      button.textContent = "Chosen: press Ctrl C";
    }
  }

  function turnTheme() {
    const root = document.documentElement;
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    document.cookie =
      `anomaly_theme=${root.dataset.theme}; path=/console; max-age=31536000; samesite=lax`;
    document.dispatchEvent(new CustomEvent("themechange"));
  }

  document.addEventListener("DOMContentLoaded", () => {
    begin(document);
    beginLive();
    setInterval(sayTimes, 10000);
    document.addEventListener("pagechange", sayTimes);
    document.addEventListener("keydown", onKey);
    document.addEventListener("click", (event) => {
      if (event.target.closest("[data-theme-turn]")) turnTheme();
      const copies = event.target.closest("[data-copies]");
      if (copies) copy(copies);
    });
    // A button of which nobody knows whether it did anything says so; the page stays.
    document.addEventListener("htmx:sendError", () => {
      tell("The platform does not answer: nothing was done. Try again in a moment.");
    });
    document.addEventListener("htmx:beforeSwap", (event) => {
      const { xhr, serverResponse } = event.detail;
      if (serverResponse.includes("<main")) return;
      event.detail.shouldSwap = false;
      tell(`The platform answered with an error (${xhr.status}). Load the page again to see what was done.`);
    });
    document.addEventListener("htmx:afterSettle", (event) => {
      begin(event.target.parentElement || document);
      beginLive();
    });
  });
})();
