// What is asked of the server: each request carries the token that the address of this page ended with.

const API = "/api/v1";
const KEPT = "qinn-token";

function takeToken() {
  const given = location.hash.slice(1);
  if (given && given !== "main") {
    // Out of the address bar, where it would be seen and kept.
    history.replaceState(null, "", location.pathname);
    try { sessionStorage.setItem(KEPT, given); } catch { /* then it is gone with this page */ }
    return given;
  }
  try { return sessionStorage.getItem(KEPT) || ""; } catch { return ""; }
}

const token = takeToken();
const head = () => ({ Authorization: `Bearer ${token}` });

export class Refusal extends Error {
  constructor(sentence, status, seconds) {
    super(sentence);
    this.status = status;
    this.seconds = seconds;
  }
}

const LOST = "The server does not answer; is it still running?";

function refusalOf(status, text, seconds) {
  try {
    return new Refusal(JSON.parse(text).error, status, Number(seconds) || 0);
  } catch {
    return new Refusal(status ? `The server answered ${status}.` : LOST, status, 0);
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(API + path, { ...options, headers: head(), cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refusal(LOST, 0, 0);
  }
  if (!answer.ok) throw refusalOf(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  return answer;
}

export const about = async () => (await ask("/about")).json();
export const result = async (id) => (await ask(`/clips/${id}/result`)).text();
export const fragment = async (id) => (await ask(`/clips/${id}/fragment`)).text();
export const page = async (id) => (await ask(`/clips/${id}/page`)).blob();
export const remove = (id) => ask(`/clips/${id}`, { method: "DELETE", keepalive: true });

// Not by fetch, which does not say how much has been sent.
export function send(file, given, onShare, signal) {
  const query = new URLSearchParams(given);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `${API}/clips?${query}`);
    request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && onShare(event.loaded / event.total);
    request.onload = () => request.status === 202
      ? resolve(JSON.parse(request.responseText))
      : reject(refusalOf(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    request.onerror = () => reject(new Refusal(LOST, 0, 0));
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

// Not by EventSource, which sends no token.
async function listen(id, onStatus, signal) {
  const answer = await ask(`/clips/${id}/events`, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      throw error.name === "AbortError" ? error : new Refusal(LOST, 0, 0);
    }
    if (piece.done) throw new Refusal(LOST, 0, 0);
    text += piece.value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (!data) continue;
      const status = JSON.parse(data.slice(6));
      onStatus(status);
      if (status.state === "done") return;
      if (status.state === "failed") throw new Refusal(status.error, 422, 0);
    }
  }
}

// A connection that breaks is made again, in less time than the server takes to give the clip up.
export async function follow(id, onStatus, signal) {
  for (let lost = 1; ; lost++) {
    try {
      return await listen(id, (status) => { lost = 1; onStatus(status); }, signal);
    } catch (error) {
      if (error.status !== 0 || lost > 4) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 400 * lost));
    signal.throwIfAborted();
  }
}
