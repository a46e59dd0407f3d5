"use strict";
// everything that comes from the server or from a file's name is set as text, never as markup
const at = (id) => document.getElementById(id);
const AT_ONCE = 2, PER_REQUEST = 4, SIDE = 256;
let token = "", limits = null, queue = [], running = 0, total = 0, done = 0, unknown = 0;

function headers() { return token ? { Authorization: "Bearer " + token } : {}; }

async function describe() {
  const answer = await fetch("/v1/detector", { headers: headers() });
  if (answer.status === 401) {
    at("token-form").hidden = false;
    if (token) at("token-said").textContent = "That is not the token.";
    token = "";
    at("about").textContent = "The server requires a token.";
    at("token").focus();
    return;
  }
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const detector = await answer.json();
  limits = detector.limits;
  at("token-form").hidden = true;
  at("about").textContent = `This detector knows ${detector.classes.length} classes. A picture of anything else is unknown to it, ` +
    `and so is what scores below ${detector.threshold.toFixed(3)}.`;
  at("limits").textContent = `Up to ${Math.floor(limits.body_bytes / 1048576)} MB each.`;
  at("known").hidden = false;
  at("classes").replaceChildren(...detector.classes.map((name) => element("li", name)));
}

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  made.dir = "auto";
  return made;
}

async function thumbnail(file, place) {
  place.setAttribute("aria-label", "the picture " + file.name);
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    place.replaceChildren(canvas);
  } catch {
    place.textContent = "no preview";
  }
}

function add(files) {
  for (const file of files) {
    const card = at("card").content.firstElementChild.cloneNode(true);
    card.querySelector(".name").textContent = file.name;
    card.querySelector(".badge").textContent = "…";
    card.querySelector(".meter").hidden = card.querySelector(".why").hidden = true;
    at("results").prepend(card);
    total += 1;
    if (limits && file.size > limits.body_bytes - 4096) fail(card, "is larger than the server takes");
    else queue.push({ file, card });
  }
  tell();
  for (let free = AT_ONCE - running; free > 0; free -= 1) work();
}

async function work() {
  if (!queue.length) return;
  running += 1;
  while (queue.length) {
    let size = 0;
    const part = [];
    while (queue.length && part.length < PER_REQUEST && (!part.length || size + queue[0].file.size < (limits ? limits.body_bytes : 0) - 8192)) {
      size += queue[0].file.size;
      part.push(queue.shift());
    }
    try {
      await Promise.all(part.map((one) => thumbnail(one.file, one.card.querySelector(".thumb"))));
      const answer = await ask(part);
      answer.results.forEach((result, row) => show(part[row].card, result, answer));
    } catch (error) {
      part.forEach((one) => fail(one.card, error.message));
    }
  }
  running -= 1;
}

async function ask(part) {
  const form = new FormData();
  part.forEach((one) => form.append("pictures", one.file));
  for (let turn = 0; ; turn += 1) {
    let answer;
    try {
      answer = await fetch("/v1/explain?top=3", { method: "POST", body: form, headers: headers() });
    } catch {
      throw new Error("the server cannot be reached");
    }
    if (answer.ok) return answer.json();
    if (answer.status === 401) await describe();
    if (turn < 5 && (answer.status === 429 || answer.status === 503)) {
      await new Promise((wake) => setTimeout(wake, 1000 * Number(answer.headers.get("Retry-After") || 1)));
      continue;
    }
    throw new Error((await answer.json()).error.message);
  }
}

function show(card, result, answer) {
  if (result.error) return fail(card, result.error.message);
  const score = result.score, threshold = Math.min(1, Math.max(0, answer.threshold));
  card.classList.add(score.verdict);
  card.querySelector(".badge").textContent = score.verdict;
  const nearest = card.querySelector(".nearest");
  nearest.replaceChildren(score.is_outlier ? "nearest known class: " : "", element("bdi", score.predicted_class));
  const meter = card.querySelector(".meter");
  meter.hidden = false;
  meter.setAttribute("aria-label", `score ${score.id_score.toFixed(3)} of 1, threshold ${answer.threshold.toFixed(3)}`);
  meter.querySelector(".fill").style.width = 100 * score.id_score + "%";
  meter.querySelector(".mark").style.left = `calc(${100 * threshold}% - 1px)`;
  card.querySelector(".numbers").textContent = `score ${score.id_score.toFixed(3)}, threshold ${answer.threshold.toFixed(3)}` +
    ` · sentences ${score.ens_score.toFixed(3)} · look-alikes ${score.vsnl_score.toFixed(3)} · lexicon ${score.neglabel_score.toFixed(3)}`;
  card.querySelector(".classes").replaceChildren(...result.classes.map((near) => line(near, near.text, "")));
  card.querySelector(".negatives").replaceChildren(...result.negatives.map((near) => line(near, near.text, near.origin)));
  card.querySelector(".why").hidden = false;
  if (score.is_outlier) unknown += 1;
  done += 1;
  tell();
}

function line(near, text, origin) {
  const made = element("li"), words = element("span");
  words.append(element("bdi", text));
  if (origin) words.append(element("span", " · " + origin, "origin"));
  made.append(element("span", near.cosine.toFixed(3), "cosine"), words);
  return made;
}

function fail(card, message) {
  card.classList.add("error");
  card.querySelector(".badge").textContent = "not scored";
  card.querySelector(".nearest").textContent = message;
  done += 1;
  tell();
}

function tell() {
  at("said").textContent = done < total ? `${done} of ${total} pictures scored …` : `${total} ${total === 1 ? "picture" : "pictures"}, ${unknown} unknown`;
}

at("files").addEventListener("change", () => { add([...at("files").files]); at("files").value = ""; });
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => { event.preventDefault(); at("drop").classList.remove("over"); });
addEventListener("drop", (event) => add([...event.dataTransfer.files]));
addEventListener("paste", (event) => add([...event.clipboardData.files]));
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  start();
});
function start() { describe().catch((error) => { at("about").textContent = "The detector cannot be described: " + error.message; }); }
start();
