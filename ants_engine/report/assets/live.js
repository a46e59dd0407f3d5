"use strict";
// Events bring sections of one state; each section is drawn anew when it comes. Texts of users go into text nodes only.
(() => {
  document.documentElement.classList.add("scripted");
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 460;
  const HEIGHT = 190;
  const PAD = { left: 40, right: 12, top: 10, bottom: 24 };
  const state = {};
  let began = null;
  let until = null;
  let ended = false;

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const draw = (tag, attributes, text) => {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const count = (value) => value.toLocaleString("en");
  const span = (seconds) => {
    const whole = Math.max(0, Math.round(seconds));
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const rest = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
    return hours ? `${hours}:${rest}` : rest;
  };
  const short = (value) => {
    const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
    return Number(value.toFixed(digits)).toLocaleString("en", { maximumFractionDigits: digits });
  };

  // ---- figures ----------------------------------------------------------------------------------------------------
  const frame = (label, [low, high], xs) => {
    const svg = draw("svg", { class: "live", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    const bottom = HEIGHT - PAD.bottom;
    const y = (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - PAD.top);
    for (const value of [low, (low + high) / 2, high]) {
      svg.append(draw("line", { class: "gridline", x1: PAD.left, x2: WIDTH - PAD.right, y1: y(value), y2: y(value) }));
      svg.append(draw("text", { x: PAD.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
    }
    for (const [at, text, anchor] of xs) {
      svg.append(draw("text", { x: at, y: HEIGHT - 7, "text-anchor": anchor }, text));
    }
    return { svg, y, bottom };
  };
  const put = (id, ...nodes) => {
    const figure = $(`f-${id}`);
    figure.hidden = false;
    figure.querySelector(".canvas").replaceChildren(...nodes);
  };
  const right = WIDTH - PAD.right;
  const across = (share) => PAD.left + share * (right - PAD.left);

  const histogram = (id, { counts, line }) => {
    const most = Math.max(1, ...counts);
    const total = counts.reduce((sum, one) => sum + one, 0);
    const label = `${id}: ${count(total)} pictures; line at ${short(line)}`;
    const { svg, y, bottom } = frame(label, [0, most], [0, 0.25, 0.5, 0.75, 1].map((at) => [across(at), short(at), "middle"]));
    counts.forEach((value, bin) => {
      if (!value) return;
      const left = across(bin / counts.length);
      const middle = (bin + 0.5) / counts.length;
      const className = middle < line ? "unknown" : "known";
      svg.append(draw("rect", {
        class: className, x: left + 0.6, width: across((bin + 1) / counts.length) - left - 1.2, y: y(value), height: bottom - y(value),
      }));
    });
    if (line >= 0 && line <= 1) svg.append(draw("line", { class: "cut", x1: across(line), x2: across(line), y1: PAD.top - 6, y2: bottom }));
    put(id, svg);
  };

  const TRACES = ["first", "second"];
  const lines = (id, unit, points, names, bounds) => {
    const series = names.map((_, at) => points.map(([x, ...values]) => [x, values[at]]).filter(([, value]) => value !== null));
    const values = series.flat().map(([, value]) => value);
    if (!values.length) return;
    const low = bounds ? bounds[0] : Math.min(0, ...values);
    const high = bounds ? bounds[1] : Math.max(...values, low + 1e-9);
    const [first, last] = [points[0][0], points[points.length - 1][0]];
    const at = (x) => across(last > first ? (x - first) / (last - first) : 1);
    const newest = series.map((one, number) => `${names[number]} ${one.length ? short(one[one.length - 1][1]) : "–"}`);
    const ends = [[across(0), unit(first), "start"], [right, unit(last), "end"]];
    const { svg, y } = frame(`${newest.join(", ")} at ${unit(last)}`, [low, high], last > first ? ends : ends.slice(1));
    series.forEach((one, number) => {
      if (!one.length) return;
      const way = one.map(([x, value]) => `${at(x).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      svg.append(draw("polyline", { class: `trace trace-${TRACES[number]}`, points: way }));
      const [x, value] = one[one.length - 1];
      svg.append(draw("circle", { class: `end-${TRACES[number]}`, cx: at(x), cy: y(value), r: 3.2 }));
    });
    const key = make("ul", undefined, "key");
    newest.forEach((text, number) => {
      const item = make("li");
      const sample = draw("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" });
      sample.append(draw("line", { class: `trace trace-${TRACES[number]}`, x1: 1, x2: 21, y1: 4, y2: 4 }));
      item.append(sample, text);
      key.append(item);
    });
    put(id, svg, key);
  };

  // ---- sections ---------------------------------------------------------------------------------------------------
  const show = {
    run(run) {
      $("title").textContent = run.title;
      if (!run.kind) return;
      const what = run.kind === "build" ? "a build under way" : "a stream under way";
      $("kind").textContent = `ants ${run.kind}, live: ${count(run.classes)} classes, ${run.model}`;
      document.title = `${run.title}: ${what}`;
    },
    now(now) {
      began = performance.now() - 1000 * now.elapsed;
      const stages = now.stages.map((stage) => {
        const item = make("li");
        const bar = make("progress");
        bar.setAttribute("aria-label", stage.name);
        if (stage.total !== null) {
          bar.max = Math.max(1, stage.total);
          bar.value = stage.total ? stage.done : 1;
        } else if (ended) {
          bar.value = 1;
        }
        const of = stage.total === null ? "" : ` of ${count(stage.total)}`;
        const left = stage.left === null || ended ? "" : `, ${span(stage.left)} left`;
        item.append(make("b", stage.name), bar, make("span", `${count(stage.done)}${of}${left}`));
        return item;
      });
      $("stages").replaceChildren(...stages);
      $("waits").textContent = now.waits;
      $("waits").hidden = !now.waits;
      until = now.left === null ? null : performance.now() + 1000 * now.left;
      $("facts").replaceChildren(...now.facts.map((fact) => {
        const box = make("div");
        const value = make("dd");
        value.append(make("strong", fact.value), make("span", fact.note));
        box.append(make("dt", fact.name), value);
        return box;
      }));
      const shares = now.stages.filter((stage) => stage.total).map((stage) => stage.done / stage.total);
      if (shares.length && state.run && !ended) {
        document.title = `${Math.floor(100 * Math.min(...shares))} % ${state.run.title}`;
      }
    },
    scores(scores) {
      $("scores").hidden = false;
      for (const [name, one] of Object.entries(scores)) histogram(name, one);
    },
    batches(batches) {
      $("stream").hidden = !batches.length;
      if (!batches.length) return;
      const unit = (batch) => `batch ${count(batch)}`;
      const pick = (...of) => batches.map((one) => [one.batch, ...of.map((value) => value(one))]);
      lines("threshold", unit, pick((one) => one.threshold), ["threshold"], [0, 1]);
      lines("lambda", unit, pick((one) => one.weight), ["lambda"], [0, 1]);
      lines("banks", unit, pick((one) => one.ens_texts, (one) => one.vsnl_texts), ["sentences", "look-alikes"]);
      lines("share", unit, pick((one) => (one.pictures ? one.foreign / one.pictures : null)), ["share"], [0, 1]);
    },
    load(load) {
      $("load").hidden = !load.length;
      if (!load.length) return;
      lines("load", span, load.map(([at, busy, limit]) => [at, busy, limit]), ["with the MLLM", "limit"]);
      lines("rate", span, load.map(([at, , , rate]) => [at, rate]), ["answers a second"]);
    },
    pictures(pictures) {
      $("pictures").hidden = !pictures.length;
      const old = new Map([...$("cards").children].map((card) => [card.dataset.number, card]));
      $("cards").replaceChildren(...pictures.map((one) => {
        const card = old.get(String(one.number)) || newCard(one);
        const why = card.querySelector(".why");
        why.textContent = one.said === null ? (ended ? "not described" : "no sentence yet") : one.said;
        why.classList.toggle("pending", one.said === null);
        return card;
      }));
    },
    words(words) {
      $("words").hidden = !words.length;
      $("said").replaceChildren(...words.map((one) => {
        const box = make("div");
        box.append(make("dt", one.class), make("dd", one.said));
        return box;
      }));
    },
    end(end) {
      ended = true;
      const words = { done: "Done.", interrupted: "Interrupted.", failed: "It has failed." };
      $("ending").textContent = words[end.ending] || end.ending;
      $("lines").replaceChildren(...end.lines.map((line) => make("li", line)));
      $("end").hidden = false;
      until = null;
      if (state.run) document.title = `${words[end.ending] || end.ending} ${state.run.title}`;
      if (state.now) show.now(state.now);
      if (state.pictures) show.pictures(state.pictures);
      $("clock").textContent = state.now ? `It took ${span(state.now.elapsed)}.` : "";
    },
  };

  const newCard = (one) => {
    const card = make("li", undefined, "card");
    card.dataset.number = one.number;
    const thumb = make("div", undefined, "thumb");
    thumb.append(make("span", "no thumbnail", "none"));
    const words = make("div", undefined, "words");
    const line = make("p", undefined, "line");
    line.append(make("span", "unknown", "chip unknown"), make("b", one.score === null ? "–" : one.score.toFixed(3), "score"));
    const near = make("p", undefined, "fact");
    near.append(make("span", "nearest "), make("b", one.nearest));
    const name = make("p", one.name.split("/").slice(-2).join("/"), "name");
    name.title = one.name;
    words.append(line, near, name);
    card.append(thumb, words, make("p", undefined, "why"));
    return card;
  };

  const illustrate = () => {
    for (const card of $("cards").children) {
      const url = state[`thumbnail/${card.dataset.number}`];
      const thumb = card.querySelector(".thumb");
      if (!url || thumb.querySelector("img")) continue;
      const image = make("img");
      image.alt = "";
      image.src = url;
      thumb.replaceChildren(image);
    }
    const shown = new Set([...$("cards").children].map((card) => `thumbnail/${card.dataset.number}`));
    for (const name of Object.keys(state)) if (name.startsWith("thumbnail/") && !shown.has(name)) delete state[name];
  };

  // ---- time -------------------------------------------------------------------------------------------------------
  const tick = () => {
    if (began === null || ended) return;
    const left = until === null ? "" : `, about ${span((until - performance.now()) / 1000)} left`;
    $("clock").textContent = `${span((performance.now() - began) / 1000)} so far${left}`;
  };
  const say = (status, text) => {
    $("status").dataset.state = status;
    if ($("status").textContent !== text) $("status").textContent = text;
  };

  $("json").addEventListener("click", () => {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(state, null, 1)], { type: "application/json" }));
    link.download = "state.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const source = new EventSource("events");
  source.addEventListener("open", () => say("live", "Live."));
  source.addEventListener("message", (event) => {
    const sections = JSON.parse(event.data);
    Object.assign(state, sections);
    for (const [name, draws] of Object.entries(show)) {
      if (name in sections) draws(sections[name]);
    }
    illustrate();
    tick();
    if (ended) {
      // the server goes with the run: there is nothing to come back for
      source.close();
      say("ended", "The run is over; this page stays as it is.");
    }
  });
  source.addEventListener("error", () => {
    if (!ended) say("lost", source.readyState === EventSource.CLOSED ? "The run cannot be reached." : "Connection lost, trying again…");
  });
  setInterval(tick, 1000);
})();
