"use strict";
// The charts of a series: value in its expected range, score below, one crosshair, one span of time.

(window.consoleParts ||= {}).series = (root) => {
  const values = root.querySelector("[data-values]"), scores = root.querySelector("[data-scores]");
  const said = root.querySelector("[data-said]"), hover = root.querySelector(".hover");
  if (!window.uPlot) {
    said.textContent = "Charts are not drawn: uPlot is not installed.";
    return;
  }
  const whole = { since: Number(root.dataset.since), until: Number(root.dataset.until) };
  let shown = { ...whole }, drawn = null, charts = [], asked = 0;

  const iso = (seconds) => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
  const short = (value) => value === null || value === undefined ? "–"
    : Math.abs(value) >= 1e5 ? value.toExponential(3) : String(Number(value.toPrecision(6)));

  // Canvas knows no custom properties: what a colour is here and now, an element tells.
  function inks() {
    const probe = document.createElement("span");
    probe.className = "probe";
    root.append(probe);
    const found = {};
    for (const name of ["series", "band", "score", "flag", "mark", "quiet", "line", "card"]) {
      probe.className = `probe colour-${name}`;
      found[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  }

  async function load(since, until) {
    const ticket = ++asked;
    const address = new URL(root.dataset.points, location.href);
    // What the page shows first the browser has begun to load with the page, from this address.
    if (since !== whole.since || until !== whole.until) {
      address.searchParams.set("since", iso(since));
      address.searchParams.set("until", iso(until));
    }
    const answer = await fetch(address);
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(await answer.text());
    const content = await answer.json();
    if (ticket !== asked) return;
    shown = { since, until };
    drawn = content;
    said.textContent = `${content.readings.toLocaleString("en")} readings, `
      + `${content.anomalies.toLocaleString("en")} flagged`;
    draw();
    root.dataset.drawn = String(content.times.length);
    performance.mark("series-drawn");
  }

  const say = (error) => { said.textContent = `No answer: ${error.message}`; };

  // One step of the browser's history, however often somebody zooms: Back shows what was there before.
  function show(since, until) {
    if (!(until - since > 1e-3)) return;
    const address = new URL(location.href), isZoomed = history.state && history.state.zoomed;
    address.searchParams.delete("range");
    address.searchParams.set("since", iso(since));
    address.searchParams.set("until", iso(until));
    const state = { span: [since, until], zoomed: true };
    if (isZoomed) history.replaceState(state, "", address);
    else history.pushState(state, "", address);
    turnTo(since, until);
  }

  function turnTo(since, until) {
    const form = root.querySelector(".picked");
    if (form) {
      form.hidden = true;
      form.querySelector("[name=back]").value = location.pathname + location.search;
    }
    const table = root.querySelector("[data-csv]"), kept = new URL(table.href);
    kept.searchParams.set("since", iso(since));
    kept.searchParams.set("until", iso(until));
    table.href = kept.href;
    load(since, until).catch(say);
    renewAround().catch(() => {});
  }

  function stepped(event) {
    if (!root.isConnected) window.removeEventListener("popstate", stepped);
    else if (event.state && event.state.span) turnTo(...event.state.span);
  }

  // What the page says about the span: its ends, which usual span it is, and what is flagged in it.
  async function renewAround() {
    const address = location.href, answer = await fetch(address);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || location.href !== address) return;
    for (const part of ["[data-span]", "[data-flagged]", "nav[aria-label='Span of time']"]) {
      const old = document.querySelector(part), made = page.querySelector(part);
      if (!old || !made) continue;
      old.replaceWith(made);
      if (window.htmx) window.htmx.process(made);
    }
    document.dispatchEvent(new CustomEvent("pagechange"));
  }

  // Vertical lines where another model began, rings where people have said something.
  function annotate(chart, ink, rings) {
    const { ctx, bbox } = chart;
    ctx.save();
    for (const [at, kind] of drawn.notes) {
      const x = chart.valToPos(at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      if (kind === "model") {
        ctx.strokeStyle = ink.quiet;
        ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      } else if (rings) {
        const n = drawn.times.indexOf(at);
        if (n < 0 || drawn.values[n] === null) continue;
        ctx.setLineDash([]);
        ctx.strokeStyle = ink.mark;
        ctx.lineWidth = 2 * devicePixelRatio;
        ctx.beginPath();
        ctx.arc(x, chart.valToPos(drawn.values[n], "y", true), 7 * devicePixelRatio, 0, 2 * Math.PI);
        ctx.stroke();
      }
    }
    ctx.restore();
  }

  function options(height, ink, series, extra) {
    const axis = { stroke: ink.quiet, grid: { stroke: ink.line, width: 1 }, ticks: { stroke: ink.line } };
    return {
      width: root.querySelector(".chart").clientWidth, height,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      legend: { show: false },
      cursor: {
        sync: { key: "series", setSeries: false },
        drag: { x: true, y: false, setScale: false }, points: { size: 6 },
        bind: { dblclick: () => () => show(whole.since, whole.until) },
      },
      scales: { x: { time: true, min: shown.since, max: shown.until }, ...extra.scales },
      axes: [{ ...axis, values: (_, ticks, __, ___, step) => ticks.map((at, n) => label(at, n, ticks, step)) }, { ...axis, size: 62, values: (_, ticks) => ticks.map(short) }],
      series: [{}, ...series],
      bands: extra.bands || [],
      hooks: {
        setSelect: [(chart) => {
          const { left, width } = chart.select;
          if (width < 4) return;
          show(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
        }],
        setCursor: [(chart) => { if (extra.leads) point(chart); }],
        draw: [(chart) => annotate(chart, ink, extra.leads)],
      },
    };
  }

  function draw() {
    const ink = inks();
    for (const chart of charts) chart.destroy();
    const flagged = new Set(drawn.flagged);
    const only = (column) => column.map((value, n) => flagged.has(n) ? value : null);
    const dots = (stroke) => ({
      stroke, fill: stroke, paths: () => null,
      points: { show: true, size: 7, fill: stroke, stroke },
    });
    const hidden = { stroke: "transparent", points: { show: false } };
    charts = [
      new uPlot(
        options(280, ink, [
          { stroke: "transparent", points: { show: false } }, { ...hidden },
          { stroke: ink.series, width: 1.3, points: { show: drawn.times.length < 200, size: 4 } },
          dots(ink.flag),
        ], {
          leads: true, bands: [{ series: [1, 2], fill: ink.band }],
          scales: { y: { range: (chart, low, high) => around(low, high) } },
        }),
        [drawn.times, drawn.high, drawn.low, drawn.values, only(drawn.values)], values),
      new uPlot(
        options(150, ink, [
          { stroke: ink.score, width: 1.2, fill: undefined, points: { show: false } },
          { stroke: ink.flag, width: 1.2, dash: [6, 5], points: { show: false } },
          dots(ink.flag),
        ], { scales: { y: { range: [0, 1.02] } } }),
        [drawn.times, drawn.scores, drawn.thresholds, only(drawn.scores)], scores),
    ];
    charts[0].over.addEventListener("click", pick);
    charts[1].over.addEventListener("click", pick);
    for (const chart of charts) {
      chart.over.addEventListener("mouseleave", () => { hover.hidden = true; });
    }
  }

  // The values decide what is shown; a wide range may leave the picture.
  function around(low, high) {
    let least = Infinity, most = -Infinity;
    for (const value of drawn.values) {
      if (value === null) continue;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    if (least > most) return [low ?? 0, high ?? 1];
    const reach = (most - least) || Math.abs(most) || 1;
    return [Math.max(low ?? least, least - 0.6 * reach) - 0.05 * reach,
      Math.min(high ?? most, most + 0.6 * reach) + 0.05 * reach];
  }

  // Dates where a day begins, times between; seconds only where they tell ticks apart.
  function label(at, n, ticks, step) {
    const text = new Date(at * 1000).toUTCString(), [, day, month, year, clock] = text.split(" ");
    const isFirst = n === 0 || new Date(ticks[n - 1] * 1000).getUTCDate() !== Number(day);
    const date = step > 86400 * 300 ? `${month} ${year}` : `${day} ${month}`;
    if (step >= 86400) return date;
    const hour = step < 60 ? clock : clock.slice(0, 5);
    return isFirst ? (clock === "00:00:00" ? date : `${hour}\n${date}`) : hour;
  }

  const time = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ");

  function line(name, value) {
    const made = document.createElement("div");
    made.append(`${name} `);
    const strong = document.createElement("strong");
    strong.textContent = value;
    made.append(strong);
    return made;
  }

  function point(chart) {
    const under = chart.cursor.idx;
    if (under === null || under === undefined || chart.cursor.left < 0) {
      hover.hidden = true;
      return;
    }
    // A flagged point nearby is what somebody points at.
    const flagged = nearest(chart, 6), n = flagged === null ? under : flagged;
    const at = drawn.times[n], reason = drawn.reasons[n];
    const rows = [line("", time(at) + " UTC"), line("value", short(drawn.values[n]))];
    if (drawn.low[n] !== null) {
      rows.push(line("expected", `${short(drawn.low[n])} to ${short(drawn.high[n])}`));
    }
    rows.push(line("score", drawn.scores[n] === null ? "–" : drawn.scores[n].toFixed(3)));
    if (reason) {
      rows.push(line("flagged", reason.why || "by itself"));
      const shares = Object.entries(reason.shares);
      if (shares.length) {
        rows.push(line("evidence", shares.map(([name, share]) => `${name} ${share} %`).join(", ")));
      }
      if (reason.mark) rows.push(line("marked", reason.mark));
    }
    hover.replaceChildren(...rows);
    hover.hidden = false;
    const box = chart.over.getBoundingClientRect(), frame = root.getBoundingClientRect();
    const x = box.left - frame.left + chart.cursor.left;
    const left = x + 16 + hover.offsetWidth > frame.width ? x - hover.offsetWidth - 12 : x + 16;
    hover.style.left = `${Math.max(4, left)}px`;
    hover.style.top = `${box.top - frame.top + 8}px`;
  }

  // The flagged point nearest to the cursor, if one is within so many pixels.
  function nearest(chart, pixels) {
    const at = chart.posToVal(chart.cursor.left, "x");
    let found = null, least = Infinity;
    for (const n of drawn.flagged) {
      const away = Math.abs(drawn.times[n] - at);
      if (away < least) { least = away; found = n; }
    }
    if (found === null) return null;
    const away = Math.abs(chart.valToPos(drawn.times[found], "x") - chart.cursor.left);
    return away <= pixels ? found : null;
  }

  function pick() {
    const form = root.querySelector(".picked");
    if (!form || charts[0].cursor.left < 0) return;
    const found = nearest(charts[0], 12);
    if (found === null) return;
    form.hidden = false;
    form.querySelector("[name=time]").value = iso6(drawn.times[found]);
    form.querySelector("[data-picked]").textContent =
      `${time(drawn.times[found])} UTC, value ${short(drawn.values[found])}:`;
  }

  // To the microsecond, which a number of milliseconds is not.
  function iso6(seconds) {
    const whole = Math.floor(seconds), micros = Math.round((seconds - whole) * 1e6);
    return `${new Date(whole * 1000).toISOString().slice(0, 19)}.${String(micros).padStart(6, "0")}Z`;
  }

  function picture() {
    const [first, second] = charts.map((chart) => chart.ctx.canvas);
    const made = document.createElement("canvas");
    const head = 26 * devicePixelRatio;
    made.width = first.width;
    made.height = head + first.height + second.height;
    const ctx = made.getContext("2d"), ink = inks();
    ctx.fillStyle = ink.card;
    ctx.fillRect(0, 0, made.width, made.height);
    ctx.fillStyle = ink.quiet;
    ctx.font = `${13 * devicePixelRatio}px sans-serif`;
    const name = `${document.title.split(" · ")[0]}  ${time(shown.since)} to ${time(shown.until)} UTC`;
    ctx.fillText(name, 8 * devicePixelRatio, 17 * devicePixelRatio);
    ctx.drawImage(first, 0, head);
    ctx.drawImage(second, 0, head + first.height);
    made.toBlob((blob) => {
      const way = document.createElement("a");
      way.href = URL.createObjectURL(blob);
      way.download = "series.png";
      way.click();
      setTimeout(() => URL.revokeObjectURL(way.href), 1000);
    });
  }

  root.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || !drawn) return;
    const length = shown.until - shown.since, middle = (shown.until + shown.since) / 2;
    if (button.dataset.move) {
      const by = Number(button.dataset.move) * length / 2;
      show(shown.since + by, shown.until + by);
    }
    if (button.dataset.zoom) {
      const half = length * Number(button.dataset.zoom) / 2;
      show(middle - half, middle + half);
    }
    if ("png" in button.dataset) picture();
  });
  const redraw = () => { if (drawn && root.isConnected) draw(); };
  document.addEventListener("themechange", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let resizing;
  new ResizeObserver(() => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      const width = values.clientWidth;
      if (drawn && charts[0] && charts[0].width !== width) draw();
    }, 150);
  }).observe(root);
  history.replaceState({ span: [whole.since, whole.until] }, "");
  window.addEventListener("popstate", stepped);
  load(whole.since, whole.until).catch(say);
};
