// One clip at a time: chosen or recorded, sent, followed until its result is there, shown, deleted.

import * as api from "./api.js";
import { canRecord, record } from "./recorder.js";
import { Timeline } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const STAGES = { sending: "sending", loading: "loading the run", decoding: "decoding", sound: "sound", speech: "speech", text: "words", scoring: "score", reasons: "reasons" };
const timeline = new Timeline($("wave"));
let limits = null;
let current = null; // { file, id, url, media, giveUp, score }
let recording = null;
let begun = 0; // what was asked for last: a recording that a browser asks about first may come too late

function show(name, focused = true) {
  for (const one of ["choose", "recording", "working", "failed", "done"]) $(one).hidden = one !== name;
  if (focused) (name === "choose" ? $("file") : $(`${name}-title`)).focus();
}

function tell(sentence) {
  if ($("status").textContent !== sentence) $("status").textContent = sentence;
}

const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const size = (bytes) => (bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`);

// What is known of the server.

async function begin() {
  $("record-buttons").hidden = !canRecord();
  $("no-recording").hidden = canRecord();
  try {
    limits = await api.about();
  } catch (error) {
    fail(error);
    return;
  }
  const made = Object.entries(limits.tiers).map(([modality, tier]) => `${modality}: ${tier}`).join(", ");
  $("about").replaceChildren("with the run ", Object.assign(document.createElement("b"), { textContent: limits.run }), made && ` (${made})`);
  $("said").hidden = !limits.stages.includes("speech");
  const long = limits.max_seconds < 120 ? `${limits.max_seconds} seconds` : `${Math.floor(limits.max_seconds / 60)} minutes`;
  $("limits").textContent = `At most ${long} and ${size(limits.max_bytes)}; mp4, mov, webm, mkv, avi, wav, mp3, flac, aac or ogg.`;
  const where = limits.private ? "The clip stays on this machine" : "The clip goes to the machine that serves this page and to no other";
  $("privacy").textContent = limits.kept
    ? `${where}. Whoever runs this server has it keep clips and results; “Delete” removes yours.`
    : `${where}. It is deleted as soon as it has been scored; the result is forgotten a quarter of an hour after you last looked at it, or by “Delete”.`;
}

// A clip on its way.

function given() {
  const found = { name: current.file.name };
  for (const id of ["begin", "end"]) if ($(id).value !== "") found[id] = $(id).value;
  if ($("words").value.trim()) found.words = $("words").value.trim();
  return found;
}

async function score(file) {
  forget();
  begun++;
  if (!limits) return begin();
  current = { file, giveUp: new AbortController() };
  const mine = current;
  if (file.size > limits.max_bytes) {
    fail(new api.Refusal(`“${file.name}” has ${size(file.size)}, more than the ${size(limits.max_bytes)} that are taken; cut it, or make its pictures smaller.`));
    return;
  }
  show("working");
  $("working-name").textContent = `${file.name}, ${size(file.size)}`;
  progress("sending", 0);
  try {
    const { id } = await api.send(file, given(), (share) => progress("sending", share), mine.giveUp.signal);
    mine.id = id;
    if (mine !== current) return void api.remove(id).catch(() => {});
    await api.follow(id, onStatus, mine.giveUp.signal);
    const [json, html] = await Promise.all([api.result(id), api.fragment(id)]);
    if (mine === current) finish(json, html);
  } catch (error) {
    if (mine === current && error.name !== "AbortError") fail(error);
  }
}

function onStatus(status) {
  if (status.state === "waiting") {
    const before = status.ahead === 0 ? "Yours is next" : status.ahead === 1 ? "1 clip is before yours" : `${status.ahead} clips are before yours`;
    progress("waiting", null, `Waiting: ${before}.`);
  } else if (status.state === "running") {
    progress(status.stage || "loading", status.share);
  }
}

function progress(stage, share, sentence = null) {
  // Those of the run: without words in it, nobody listens for any.
  const names = ["sending", ...(stage === "loading" ? [stage] : []), ...limits.stages];
  const place = names.indexOf(stage);
  $("stages").replaceChildren(...names.map((name, number) => {
    const item = document.createElement("li");
    item.textContent = STAGES[name] || name;
    const past = stage === "waiting" ? number === 0 : number < place;
    item.className = past ? "past" : name === stage ? "now" : "";
    if (name === stage) item.setAttribute("aria-current", "step");
    return item;
  }));
  if (share === null || share === undefined) $("bar").removeAttribute("value");
  else $("bar").value = share;
  const known = STAGES[stage] ? STAGES[stage][0].toUpperCase() + STAGES[stage].slice(1) : stage;
  const said = sentence || known + (share > 0 ? `, ${Math.round(100 * share)} %` : " …");
  $("stage").textContent = said;
  // Each stage once: a screen reader that counts to a hundred is no help.
  tell(sentence || known);
}

// Names stand in backticks, as on a terminal.
const quoted = (sentence) => sentence.replace(/`([^`]*)`/g, "“$1”");

function fail(error) {
  const busy = error.status === 429;
  $("error").textContent = quoted(error.message);
  $("again").hidden = !(current && (busy || error.status === 0));
  $("failed-title").textContent = busy ? "The queue is full" : "This did not work";
  show("failed");
  if (!busy && current?.id) api.remove(current.id).catch(() => {});
}

// What the server keeps stays when this page has seen it; all else goes with the page.
function leave() {
  if (current?.id && !(limits?.kept && current.score)) api.remove(current.id).catch(() => {});
}

function forget() {
  if (!current) return;
  current.giveUp.abort();
  leave();
  if (current.url) URL.revokeObjectURL(current.url);
  current = null;
  $("player").replaceChildren();
  $("result").replaceChildren();
  timeline.clear();
}

function startAgain() {
  forget();
  $("file").value = "";
  for (const id of ["begin", "end", "words"]) $(id).value = "";
  show("choose");
  tell("");
}

async function deleteIt() {
  const mine = current;
  try {
    await api.remove(mine.id);
  } catch (error) {
    if (error.status !== 404) return fail(error); // else it was forgotten before
  }
  mine.id = null;
  if (mine !== current) return;
  startAgain();
  tell("The result was deleted.");
}

// Its result.

function finish(json, html) {
  const found = JSON.parse(json);
  current.score = found;
  current.json = json;
  current.url = URL.createObjectURL(current.file);
  const moving = found.quality.width !== null;
  const media = document.createElement(moving ? "video" : "audio");
  media.controls = true;
  media.playsInline = true;
  media.preload = "auto";
  media.src = current.url;
  media.setAttribute("aria-label", `Your clip, ${found.clip}`);
  current.media = media;
  $("player").replaceChildren(media);
  const note = document.createElement("p");
  note.className = "hint";
  note.textContent = "This browser cannot play that kind of file; the result is complete all the same.";
  media.addEventListener("error", () => $("player").replaceChildren(note));
  media.addEventListener("timeupdate", onTime);
  media.addEventListener("seeked", onTime);
  // What a browser recorded does not say how long it is until it has been read to its end.
  media.addEventListener("loadedmetadata", () => {
    if (Number.isFinite(media.duration)) return;
    media.currentTime = 1e7;
    media.addEventListener("seeked", () => { media.currentTime = found.begin || 0; }, { once: true });
  }, { once: true });
  $("seek").max = found.seconds;
  $("seek").value = 0;
  $("result").replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  makePlayable($("result"));
  const of = found.explained.of ? `the probability of “${found.explained.of}”` : "the score";
  const key = (name, text) => Object.assign(document.createElement("span"), { className: name, textContent: text });
  $("legend").replaceChildren("Sound, and under it what each word and each second did: ", key("up", "▲ raised"), " or ", key("down", "▼ lowered"), ` ${of}.`);
  show("done");
  tell("The result is there.");
  timeline.show(current.file, found);
}

function makePlayable(place) {
  const parts = [...place.querySelectorAll("[data-begin]")];
  // What is a picture has no parts for a screen reader.
  for (const drawing of place.querySelectorAll("svg[role=img]:has([data-begin])")) drawing.setAttribute("role", "group");
  parts.forEach((part, number) => {
    part.setAttribute("tabindex", number ? "-1" : "0");
    part.setAttribute("role", "button");
    const texts = [...part.childNodes].map((one) => one.textContent.trim()).filter(Boolean);
    const label = part.getAttribute("aria-label") || texts.join(", ") || "stretch";
    part.setAttribute("aria-label", `${label}, play from ${Number(part.dataset.begin).toFixed(1)} seconds`);
  });
  // One stop for the tabulator; the arrows go from part to part.
  place.onkeydown = (event) => {
    const part = event.target.closest("[data-begin]");
    if (!part) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? parts.length - 1 : parts.indexOf(part) + (step || 0);
    if (event.key === "Enter" || event.key === " ") playFrom(part);
    else if ((step || event.key === "Home" || event.key === "End") && parts[to]) {
      part.setAttribute("tabindex", "-1");
      parts[to].setAttribute("tabindex", "0");
      parts[to].focus();
    } else return;
    event.preventDefault();
  };
  place.onclick = (event) => {
    const part = event.target.closest("[data-begin]");
    if (part) playFrom(part);
  };
}

function playFrom(part) {
  seek(Number(part.dataset.begin));
  current?.media.play().catch(() => {});
}

function seek(seconds) {
  if (!current?.media) return;
  current.media.currentTime = seconds + (current.score.begin || 0) + 0.001;
}

function onTime() {
  if (!current?.score) return;
  const at = current.media.currentTime - (current.score.begin || 0);
  timeline.move(Math.max(0, at));
  if (document.activeElement !== $("seek") || !current.media.paused) $("seek").value = at;
  $("seek").setAttribute("aria-valuetext", `${Math.max(0, at).toFixed(1)} of ${current.score.seconds.toFixed(1)} seconds`);
  for (const part of $("result").querySelectorAll("[data-begin]")) {
    part.classList.toggle("now", at >= Number(part.dataset.begin) && at < Number(part.dataset.end));
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = () => current.file.name.replace(/\.[^.]*$/, "") || "clip";

// Recording.

async function startRecording(withCamera) {
  forget();
  const mine = ++begun;
  let made;
  try {
    made = await record(withCamera);
  } catch (error) {
    if (mine === begun) fail(error);
    return;
  }
  if (mine !== begun) return made.discard();
  recording = made;
  $("live").hidden = !withCamera;
  if (withCamera) {
    $("live").srcObject = recording.stream;
    $("live").play().catch(() => {});
  }
  const started = performance.now();
  recording.clock = setInterval(() => {
    const seconds = (performance.now() - started) / 1000;
    $("clock").textContent = minutes(seconds);
    if (limits && seconds >= limits.max_seconds - 1) endRecording(true);
  }, 200);
  $("clock").textContent = "0:00";
  show("recording");
  tell(withCamera ? "Camera and microphone are recording." : "The microphone is recording.");
}

async function endRecording(wanted) {
  const ended = recording;
  recording = null;
  if (!ended) return;
  clearInterval(ended.clock);
  const file = await (wanted ? ended.stop() : ended.discard());
  $("live").srcObject = null;
  if (wanted) score(file);
  else startAgain();
}

// What is pressed.

$("file").addEventListener("change", () => $("file").files[0] && score($("file").files[0]));
$("record-film").addEventListener("click", () => startRecording(true));
$("record-sound").addEventListener("click", () => startRecording(false));
$("stop").addEventListener("click", () => endRecording(true));
$("discard").addEventListener("click", () => endRecording(false));
$("cancel").addEventListener("click", startAgain);
$("other").addEventListener("click", () => (limits ? startAgain() : location.reload()));
$("again").addEventListener("click", () => score(current.file));
$("next").addEventListener("click", startAgain);
$("delete").addEventListener("click", deleteIt);
$("save-json").addEventListener("click", () => save(new Blob([current.json], { type: "application/json" }), `${stem()}.score.json`));
$("save-page").addEventListener("click", async () => {
  try {
    save(await api.page(current.id), `${stem()}.score.html`);
  } catch (error) {
    $("status").textContent = error.message;
  }
});
$("seek").addEventListener("input", () => seek(Number($("seek").value)));
addEventListener("pagehide", leave);

for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
addEventListener("dragleave", (event) => event.relatedTarget || $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file && !$("choose").hidden) score(file);
});

begin();
