"use strict";
// One page, two blocks of JSON: what is shown, and where the figures' axes lie. Texts of users go into text nodes only.
const antsReport = (() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const read = (id) => JSON.parse($(`#${id}`).textContent);
  const SCORES = ["id_score", "ens_score", "vsnl_score", "neglabel_score"];
  const frame = read("report-frame");
  const data = read("report-data");
  const thresholds = { ...frame.starts };
  const listeners = [];

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const fixed = (value, digits) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "–");
  const end = (name) => name.split("/").filter(Boolean).slice(-2).join("/") || name;
  const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

  // Columns as float32, as the engine has them: a score at the threshold must not change sides by rounding.
  const columns = (own) => {
    const taken = { count: own.names.length, set: own.sets || null };
    for (const name of SCORES) taken[name] = Float32Array.from(own[name], (v) => (v === null ? NaN : v));
    taken.words = own.names.map((name, row) => {
      const texts = own.weighed[row].map((one) => data.texts[one.text].text);
      return [name, data.classes[own.predicted[row]] || "", ...texts].join("\n").toLowerCase();
    });
    return taken;
  };
  const pictures = data.pictures ? columns(data.pictures) : null;

  const unknown = (row, score = "id_score") => pictures[score][row] < Math.fround(thresholds[score]);
  const readable = (row) => !Number.isNaN(pictures.id_score[row]);
  const verdict = (row) => (readable(row) ? (unknown(row) ? "unknown" : "known") : "unreadable");
  const truth = (row) => {
    const set = pictures.set && pictures.set[row];
    if (!set) return "";
    const label = data.pictures.labels ? data.pictures.labels[row] : null;
    if (set === "id") return label === null ? "known" : data.classes[label];
    return set === "ood" ? "unknown" : `${set}-OOD`;
  };
  const outcome = (row) => {
    const set = pictures.set && pictures.set[row];
    if (!set || !readable(row)) return "";
    if (set !== "id") return unknown(row) ? "right" : "missed";
    if (unknown(row)) return "false alarm";
    const label = data.pictures.labels ? data.pictures.labels[row] : null;
    return label === null || label === data.pictures.predicted[row] ? "right" : "wrong class";
  };

  // ---- thresholds -----------------------------------------------------------------------------------------------
  const counts = (score) => {
    const found = new Map(frame.groups.map(([name]) => [name, { known: 0, unknown: 0 }]));
    const column = pictures[score];
    const line = Math.fround(thresholds[score]);
    for (let row = 0; row < pictures.count; row += 1) {
      if (Number.isNaN(column[row])) continue;
      const group = found.get((pictures.set && pictures.set[row]) || "");
      if (group) group[column[row] < line ? "unknown" : "known"] += 1;
    }
    return found;
  };
  const rates = (found) => {
    const sum = { id: [0, 0], ood: [0, 0] };
    for (const [name, one] of found) {
      if (!name) continue;
      const side = name === "id" ? sum.id : sum.ood;
      side[0] += one.unknown;
      side[1] += one.unknown + one.known;
    }
    return sum.id[1] && sum.ood[1] ? { caught: sum.ood[0] / sum.ood[1], alarms: sum.id[0] / sum.id[1] } : null;
  };
  const put = (root, key, text) => {
    const place = $(`[data-f="${key}"]`, root);
    if (place) place.textContent = text;
  };
  const share = (value) => `${(100 * value).toFixed(1)} %`;

  const distribution = (figure) => {
    const score = figure.dataset.score;
    const { box, x } = frame.figures[score];
    const canvas = $(".canvas", figure);
    const handle = $(".handle", figure);
    const shade = $(".shade", figure);
    const [left, top, right, bottom] = box;
    const show = () => {
      const value = thresholds[score];
      const at = left + ((value - x[0]) / (x[1] - x[0])) * (right - left);
      Object.assign(handle.style, { left: `${100 * at}%`, top: `${100 * top}%`, height: `${100 * (bottom - top)}%` });
      Object.assign(shade.style, {
        left: `${100 * left}%`, width: `${100 * Math.max(0, at - left)}%`, top: `${100 * top}%`,
        height: `${100 * (bottom - top)}%`,
      });
      const found = counts(score);
      let called = 0;
      let total = 0;
      for (const line of all("tr[data-group]", figure)) {
        const one = found.get(line.dataset.group);
        put(line, "known", one.known);
        put(line, "unknown", one.unknown);
        put(line, "share", percent(one.unknown, one.unknown + one.known));
        called += one.unknown;
        total += one.unknown + one.known;
      }
      const now = rates(found);
      if (now) {
        put(figure, "tpr", share(now.caught));
        put(figure, "fpr", share(now.alarms));
        put(figure, "tpr-id", share(1 - now.alarms));
        put(figure, "fpr-id", share(1 - now.caught));
        if (score === "id_score") roc(now);
      }
      $(".at", figure).textContent = value.toFixed(3);
      handle.setAttribute("aria-valuenow", value.toFixed(3));
      handle.setAttribute("aria-valuetext", `${value.toFixed(3)}: ${called} of ${total} called unknown`);
    };
    const set = (value) => {
      thresholds[score] = Math.min(x[1], Math.max(x[0], value));
      show();
      if (score === "id_score") later(() => listeners.forEach((listener) => listener()));
    };
    handle.setAttribute("aria-valuemin", x[0].toFixed(3));
    handle.setAttribute("aria-valuemax", x[1].toFixed(3));
    handle.hidden = false;
    shade.hidden = false;
    const follow = (event) => {
      const place = canvas.getBoundingClientRect();
      const at = (event.clientX - place.left) / place.width;
      set(x[0] + ((at - left) / (right - left)) * (x[1] - x[0]));
    };
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus();
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) follow(event);
    });
    $("svg", canvas).addEventListener("click", follow);
    const step = (x[1] - x[0]) / 200;
    const keys = {
      ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step, PageDown: -10 * step, PageUp: 10 * step,
    };
    handle.addEventListener("keydown", (event) => {
      if (event.key === "Home") set(x[0]);
      else if (event.key === "End") set(x[1]);
      else if (event.key in keys) set(thresholds[score] + keys[event.key]);
      else return;
      event.preventDefault();
    });
    $(".reset", figure).addEventListener("click", () => set(frame.starts[score]));
    show();
  };

  // A drag gives more events than lists can be drawn anew.
  let waiting = 0;
  const later = (work) => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(work);
  };

  const roc = (now) => {
    const dot = $('[data-figure="roc"] .dot');
    if (!dot) return;
    const { box, x, y } = frame.figures.roc;
    const openood = data.comparison.convention === "openood";
    const at = openood ? [now.alarms, now.caught] : [1 - now.caught, 1 - now.alarms];
    dot.style.left = `${100 * (box[0] + ((at[0] - x[0]) / (x[1] - x[0])) * (box[2] - box[0]))}%`;
    dot.style.top = `${100 * (box[3] - ((at[1] - y[0]) / (y[1] - y[0])) * (box[3] - box[1]))}%`;
    dot.hidden = false;
  };

  // ---- lists in pages -------------------------------------------------------------------------------------------
  const paged = (name, size, draw) => {
    const nav = $(`[data-pager="${name}"]`);
    let rows = [];
    let page = 0;
    const show = () => {
      const pages = Math.max(1, Math.ceil(rows.length / size));
      page = Math.min(Math.max(0, page), pages - 1);
      draw(rows.slice(page * size, (page + 1) * size));
      if (!nav) return;
      $(".where", nav).textContent = `page ${page + 1} of ${pages}`;
      const [back, on] = all("button", nav);
      back.disabled = page === 0;
      on.disabled = page === pages - 1;
      nav.hidden = pages === 1;
    };
    for (const button of nav ? all("button", nav) : []) {
      button.addEventListener("click", () => {
        page += Number(button.dataset.go);
        show();
        // a button that has just been disabled would lose the keyboard's place
        if (button.disabled) all("button", nav).find((other) => !other.disabled)?.focus();
      });
    }
    return {
      fill(found, keep = false) {
        rows = found;
        if (!keep) page = 0;
        show();
      },
    };
  };

  // ---- gallery --------------------------------------------------------------------------------------------------
  const weighedItem = (one) => {
    const text = data.texts[one.text];
    const item = make("li");
    item.append(make("b", `−${one.amount.toFixed(3)}`), make("span", text.text), make("small", frame.kinds[text.kind]));
    return item;
  };
  const card = (row) => {
    const own = data.pictures;
    const item = $("#t-card").content.firstElementChild.cloneNode(true);
    const said = verdict(row);
    item.dataset.verdict = said;
    const chip = $('[data-f="verdict"]', item);
    chip.textContent = said;
    chip.className = `chip ${said}`;
    if (own.thumbnails[row]) {
      const image = make("img");
      image.alt = end(own.names[row]);
      image.src = own.thumbnails[row];
      $(".thumb", item).replaceChildren(image);
    }
    const name = $('[data-f="short"]', item);
    name.textContent = end(own.names[row]);
    name.title = own.names[row];
    put(item, "predicted", own.predicted[row] >= 0 ? data.classes[own.predicted[row]] : "");
    put(item, "score", readable(row) ? pictures.id_score[row].toFixed(3) : "–");
    const line = 100 * thresholds.id_score;
    $(".under", item).setAttribute("width", line.toFixed(1));
    $(".tick", item).setAttribute("x", line.toFixed(1));
    $(".here", item).setAttribute("x", readable(row) ? (98 * pictures.id_score[row]).toFixed(1) : 0);
    const label = truth(row);
    $(".truth", item).hidden = !label;
    put(item, "truth", label);
    put(item, "outcome", outcome(row));
    $(".outcome", item).dataset.outcome = outcome(row);
    $(".weighed", item).replaceChildren(...own.weighed[row].map(weighedItem));
    const parts = [["S_ens", "ens_score"], ["S_vsnl", "vsnl_score"], ["S_nl", "neglabel_score"]];
    const known = parts.map(([shown, score]) => `${shown} ${fixed(own[score][row], 3)}`).join(", ");
    put(item, "parts", readable(row) ? known : own.errors[row] || "");
    return item;
  };

  const gallery = () => {
    const list = $("#cards");
    const form = $("#filters");
    const classes = form.elements.class;
    const there = [...new Set(data.pictures.predicted)].filter((index) => index >= 0).sort((a, b) => a - b);
    for (const index of there) classes.append(new Option(data.classes[index], index));
    const pager = paged("gallery", frame.page, (rows) => {
      list.replaceChildren(...rows.map(card));
      if (!rows.length) list.append(make("li", "No picture fits. Take a filter away.", "nothing"));
    });
    const value = (name) => (form.elements[name] ? form.elements[name].value : "");
    const orders = {
      given: null,
      low: (row) => pictures.id_score[row],
      high: (row) => -pictures.id_score[row],
      near: (row) => Math.abs(pictures.id_score[row] - thresholds.id_score),
      weighed: (row) => -(data.pictures.weighed[row][0]?.amount ?? 0),
    };
    const filter = (keep) => {
      const [said, ofClass, ofSet, ended] = ["verdict", "class", "set", "outcome"].map(value);
      const wanted = value("search").trim().toLowerCase();
      const rows = [];
      for (let row = 0; row < pictures.count; row += 1) {
        if (said && verdict(row) !== said) continue;
        if (ofClass && data.pictures.predicted[row] !== Number(ofClass)) continue;
        if (ofSet && (pictures.set[row] || "?") !== ofSet) continue;
        if (ended) {
          const found = outcome(row);
          if (ended === "wrong" ? !found || found === "right" : found !== ended) continue;
        }
        if (wanted && !pictures.words[row].includes(wanted)) continue;
        rows.push(row);
      }
      const order = orders[value("sort")];
      if (order) {
        const keys = Float64Array.from({ length: pictures.count }, (_, row) => order(row));
        const last = (row) => (Number.isNaN(keys[row]) ? Infinity : keys[row]);
        rows.sort((a, b) => last(a) - last(b) || a - b);
      }
      const called = rows.reduce((sum, row) => sum + (readable(row) && unknown(row)), 0);
      $("#found").textContent = `${plural(rows.length, "picture")}, ${called.toLocaleString("en")} called unknown`;
      pager.fill(rows, keep);
    };
    form.addEventListener("input", () => filter(false));
    form.addEventListener("submit", (event) => event.preventDefault());
    listeners.push(() => filter(true));
    listeners.push(() => {
      for (const item of all(".strip [data-row]")) item.dataset.verdict = verdict(Number(item.dataset.row));
    });
    filter(false);
    return (name) => {
      form.reset();
      form.elements.search.value = name;
      filter(false);
      $("#gallery").scrollIntoView();
      form.elements.search.focus({ preventScroll: true });
    };
  };

  // ---- texts ----------------------------------------------------------------------------------------------------
  const sentences = (open) => {
    const body = $("#sentences tbody");
    const own = data.texts.filter((text) => text.kind === "ens");
    const pager = paged("sentences", frame.rows, (rows) => body.replaceChildren(...rows.map((text) => line(text))));
    const line = (text) => {
      const row = make("tr", undefined, text.suspect ? "suspect" : "");
      const head = make("th");
      head.scope = "row";
      head.append(make("span", text.text));
      if (text.suspect) head.append(" ", make("em", "likely false negative", "flag"));
      const from = make("td", undefined, "from");
      if (text.picture !== null && open) {
        const button = make("button");
        button.type = "button";
        button.title = "Show it in the gallery";
        const url = data.pictures.thumbnails[text.picture];
        if (url) {
          const image = make("img");
          image.alt = "";
          image.src = url;
          button.append(image);
        }
        button.append(end(text.source));
        button.addEventListener("click", () => open(data.pictures.names[text.picture]));
        from.append(button);
      } else {
        from.textContent = end(text.source);
      }
      const near = text.nearest_class === null ? "–" : `${data.classes[text.nearest_class]} ${fixed(text.class_nearness, 2)}`;
      row.append(
        head, from, make("td", fixed(text.moved_unknown, 4), "n"), make("td", fixed(text.moved_known, 4), "n"), make("td", fixed(text.most, 3), "n"),
        make("td", text.leading ?? "–", "n"), make("td", text.decisive ?? "–", "n"), make("td", near),
        make("td", fixed(text.catch_nearness, 2), "n"),
      );
      return row;
    };
    const orders = {
      moved: (a, b) => (b.moved ?? 0) - (a.moved ?? 0),
      harm: (a, b) => (b.moved_known ?? 0) - (a.moved_known ?? 0),
      leading: (a, b) => (b.leading ?? 0) - (a.leading ?? 0),
      decisive: (a, b) => (b.decisive ?? 0) - (a.decisive ?? 0),
      gap: (a, b) => gap(b) - gap(a),
      text: (a, b) => a.text.localeCompare(b.text),
    };
    const gap = (text) => (text.class_nearness ?? -1) - (text.catch_nearness ?? 1);
    const filter = () => {
      const only = $("#suspects").checked;
      const wanted = $("#search-sentences").value.trim().toLowerCase();
      const rows = own.filter((text) =>
        (!only || text.suspect) && (!wanted || `${text.text}\n${text.source}`.toLowerCase().includes(wanted)));
      rows.sort(orders[$("#sort-sentences").value]);
      const suspects = rows.filter((text) => text.suspect).length;
      $("#found-sentences").textContent = `${plural(rows.length, "sentence")}, ${suspects} likely false negatives`;
      pager.fill(rows);
    };
    for (const id of ["suspects", "search-sentences", "sort-sentences"]) $(`#${id}`).addEventListener("input", filter);
    filter();
  };

  const lookAlikes = () => {
    const body = $("#classes tbody");
    const found = new Map();
    for (const text of data.texts) {
      if (text.kind !== "vsnl") continue;
      if (!found.has(text.source)) found.set(text.source, []);
      found.get(text.source).push(text);
    }
    const order = new Map(data.classes.map((name, index) => [name, index]));
    const rows = [...found].sort((a, b) => (order.get(a[0]) ?? 1e9) - (order.get(b[0]) ?? 1e9));
    paged("classes", frame.rows, (page) => {
      body.replaceChildren(...page.map(([name, texts]) => {
        const row = make("tr");
        const head = make("th", name);
        head.scope = "row";
        const list = make("ul", undefined, "alike");
        for (const text of texts) {
          const item = make("li", `${text.text} `);
          item.append(make("b", fixed(text.moved, 4)));
          list.append(item);
        }
        const cell = make("td");
        cell.append(list);
        row.append(head, cell);
        return row;
      }));
    }).fill(rows);
    $("#found-classes").textContent = `${rows.length.toLocaleString("en")} classes with look-alikes`;
  };

  // ---- map ------------------------------------------------------------------------------------------------------
  const map = (figure) => {
    const own = data.maps[Number(figure.dataset.map)];
    const { box, x, y } = frame.figures[figure.dataset.figure];
    const canvas = $(".canvas", figure);
    const ring = $(".ring", figure);
    const picked = $(".picked", figure);
    const hidden = new Set();
    const places = [];
    own.pictures.forEach((place, row) => {
      if (!place) return;
      const group = Math.max(0, frame.groups.findIndex(([name]) => name === ((pictures.set && pictures.set[row]) || "")));
      places.push({ place, layer: `pictures-${group}`, row });
    });
    own.classes.forEach((place, index) => places.push({ place, layer: "classes", name: data.classes[index] }));
    own.texts.forEach((place, index) => {
      if (place) places.push({ place, layer: data.texts[index].kind, text: data.texts[index] });
    });
    const at = ([px, py]) => [
      box[0] + ((px - x[0]) / (x[1] - x[0])) * (box[2] - box[0]),
      box[3] - ((py - y[0]) / (y[1] - y[0])) * (box[3] - box[1]),
    ];
    let current = -1;
    const show = (index) => {
      current = index;
      const one = places[index];
      const [left, top] = at(one.place);
      Object.assign(ring.style, { left: `${100 * left}%`, top: `${100 * top}%` });
      ring.hidden = false;
      const lines = [];
      if (one.row !== undefined) {
        const url = data.pictures.thumbnails[one.row];
        if (url) {
          const image = make("img");
          image.alt = "";
          image.src = url;
          lines.push(image);
        }
        const label = truth(one.row);
        lines.push(make("p", data.pictures.names[one.row]));
        lines.push(make("p", `${verdict(one.row)}, nearest class ${data.classes[data.pictures.predicted[one.row]]}`));
        lines.push(make("p", `id_score ${pictures.id_score[one.row].toFixed(3)}${label ? `, label ${label}` : ""}`));
      } else if (one.name !== undefined) {
        lines.push(make("p", one.name), make("p", "ID class", "muted"));
      } else {
        const from = one.text.kind === "ens" ? `said of ${end(one.text.source)}` : one.text.source;
        lines.push(make("p", one.text.text), make("p", `${frame.kinds[one.text.kind]}, ${from}`, "muted"));
      }
      picked.replaceChildren(...lines);
    };
    canvas.addEventListener("pointermove", (event) => {
      const place = canvas.getBoundingClientRect();
      const px = (event.clientX - place.left) / place.width;
      const py = (event.clientY - place.top) / place.height;
      let best = -1;
      let least = 0.0006;
      places.forEach((one, index) => {
        if (hidden.has(one.layer)) return;
        const [left, top] = at(one.place);
        const distance = (left - px) ** 2 + ((top - py) * (place.height / place.width)) ** 2;
        if (distance < least) [best, least] = [index, distance];
      });
      if (best >= 0 && best !== current) show(best);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      let next = current;
      for (let tries = 0; tries < places.length; tries += 1) {
        next = (next + step + places.length) % places.length;
        if (!hidden.has(places[next].layer)) break;
      }
      show(next);
    });
    for (const box_ of all("[data-toggle]", figure)) {
      box_.addEventListener("input", () => {
        const layer = box_.dataset.toggle;
        if (box_.checked) hidden.delete(layer);
        else hidden.add(layer);
        for (const part of all(`[data-layer="${layer}"]`, canvas)) part.style.display = box_.checked ? "" : "none";
      });
    }
  };

  // ---- taking it away -------------------------------------------------------------------------------------------
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    let text = String(value);
    // a spreadsheet runs what begins so
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = (head, rows) => [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const tables = {
    pictures: () => {
      const own = data.pictures;
      const head = ["picture", "verdict", "nearest_class", ...SCORES, "set", "label", "outcome", "text", "text_kind", "text_amount", "error"];
      return csv(head, own.names.map((name, row) => {
        const first = own.weighed[row][0];
        const text = first && data.texts[first.text];
        const label = own.labels && own.labels[row] !== null ? data.classes[own.labels[row]] : "";
        return [name, verdict(row), data.classes[own.predicted[row]], ...SCORES.map((score) => own[score][row]),
          own.sets ? own.sets[row] : "", label, outcome(row), text && text.text, text && text.kind, first && first.amount, own.errors[row]];
      }));
    },
    texts: () => {
      const keys = ["kind", "source", "moved", "moved_known", "moved_unknown", "most", "leading", "decisive", "class_nearness", "catch_nearness", "suspect"];
      return csv(["text", "nearest_class", ...keys], data.texts.map((text) =>
        [text.text, text.nearest_class === null ? "" : data.classes[text.nearest_class], ...keys.map((key) => text[key])]));
    },
    methods: () => csv(["method", "ood_set", "auroc", "fpr95_openood", "fpr95_id_positive"], data.comparison.methods.flatMap((method) =>
      method.sets.map((one) => [method.name, one.ood_set, one.auroc, one.fpr95_openood, one.fpr95_id_positive]))),
    roc: () => csv(["method", "convention", "fpr", "tpr"], data.comparison.methods.flatMap((method) =>
      method.roc.map(([fpr, tpr]) => [method.name, data.comparison.convention, fpr, tpr]))),
    map: () => csv(["method", "kind", "name", "x", "y"], data.maps.flatMap((one) => [
      ...one.pictures.map((place, row) => place && [one.method, "picture", data.pictures.names[row], ...place]),
      ...one.classes.map((place, index) => [one.method, "class", data.classes[index], ...place]),
      ...one.texts.map((place, index) => place && [one.method, data.texts[index].kind, data.texts[index].text, ...place]),
    ].filter(Boolean))),
    batches: () => csv(Object.keys(data.batches[0]).map((key) => (key === "foreign" ? "unknown" : key)), data.batches.map((batch) => Object.values(batch))),
    requests: () => csv(["ended", "seconds"], data.requests.ended.map((at, row) => [at, data.requests.seconds[row]])),
    json: () => JSON.stringify(data),
  };
  const has = {
    pictures: () => data.pictures, texts: () => data.texts.length, methods: () => data.comparison, roc: () => data.comparison,
    map: () => data.maps.length, batches: () => data.batches.length, requests: () => data.requests, json: () => true,
  };
  const downloads = () => {
    for (const button of all("[data-download]")) {
      const name = button.dataset.download;
      button.hidden = !has[name]();
      button.addEventListener("click", () => {
        const type = name === "json" ? "application/json" : "text/csv;charset=utf-8";
        const url = URL.createObjectURL(new Blob([tables[name]()], { type }));
        const link = make("a");
        link.href = url;
        link.download = name === "json" ? "report.json" : `${name}.csv`;
        link.click();
        setTimeout(() => URL.revokeObjectURL(url), 10000);
      });
    }
  };

  document.documentElement.classList.add("scripted");
  for (const figure of all(".dist")) distribution(figure);
  const open = $("#cards") ? gallery() : null;
  if ($("#sentences")) sentences(open);
  if ($("#classes")) lookAlikes();
  for (const figure of all("[data-map]")) map(figure);
  downloads();
  return { data: () => data, thresholds: () => ({ ...thresholds }) };
})();
