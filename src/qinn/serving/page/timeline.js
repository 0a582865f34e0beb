// The sound of a clip, and under it what each word and each second did to the score, drawn along time.

const RATE = 16000;
const WAVE = 80;
const ROW = 40;
const LABEL = 12;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

async function loudnessOf(file, count) {
  let sound;
  try {
    sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    return null; // silent, or of a kind that this browser does not decode
  }
  const samples = sound.getChannelData(0);
  const each = samples.length / count;
  const peaks = Array.from({ length: count }, (_, place) => {
    let most = 0;
    for (let at = Math.floor(place * each); at < (place + 1) * each; at++) most = Math.max(most, Math.abs(samples[at] || 0));
    return most;
  });
  return { peaks, seconds: sound.duration };
}

function rowsOf(score) {
  const rows = score.strips.map((strip) => ({ name: strip.modality, spans: strip.spans }));
  const words = score.words.filter((word) => word.effect !== null);
  if (words.length) rows.unshift({ name: "words", spans: words });
  return rows;
}

export class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.score = null;
    this.sound = null;
    this.at = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  async show(file, score) {
    this.score = score;
    this.sound = null;
    this.rows = rowsOf(score);
    this.canvas.style.height = `${WAVE + ROW * this.rows.length}px`;
    this.draw();
    const sound = await loudnessOf(file, 600);
    if (this.score !== score) return;
    this.sound = sound;
    this.draw();
  }

  clear() {
    this.score = this.sound = null;
  }

  move(seconds) {
    this.at = seconds;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.score || !width) return;
    const ratio = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const [ink, soft, line, up, down, accent] = ["--ink", "--soft", "--line", "--up", "--down", "--accent"].map(colour);
    const seconds = this.score.seconds || 1;
    const x = (time) => (time / seconds) * width;
    const tall = height - ROW * this.rows.length;
    pen.fillStyle = soft;
    pen.strokeStyle = line;
    pen.beginPath();
    pen.moveTo(0, tall / 2);
    pen.lineTo(width, tall / 2);
    pen.stroke();
    if (this.sound) {
      const { peaks, seconds: long } = this.sound;
      const begin = this.score.begin || 0;
      const most = Math.max(...peaks, 1e-3);
      peaks.forEach((peak, place) => {
        const high = Math.max(1, (peak / most) * (tall - 8));
        pen.fillRect(x((place * long) / peaks.length - begin), (tall - high) / 2, Math.max(1, width / peaks.length - 0.5), high);
      });
    }
    const most = Math.max(1e-9, ...this.rows.flatMap((one) => one.spans.map((span) => Math.abs(span.effect ?? 0))));
    pen.font = "12px system-ui, sans-serif";
    this.rows.forEach((one, number) => {
      const middle = tall + ROW * number + LABEL + (ROW - LABEL) / 2;
      pen.strokeStyle = line;
      pen.beginPath();
      pen.moveTo(0, middle);
      pen.lineTo(width, middle);
      pen.stroke();
      for (const span of one.spans) {
        if (span.effect === null) continue;
        const high = (Math.abs(span.effect) / most) * ((ROW - LABEL) / 2 - 1);
        pen.fillStyle = span.effect > 0 ? up : down;
        pen.fillRect(x(span.begin), span.effect > 0 ? middle - high : middle, Math.max(2, x(span.end) - x(span.begin) - 1), Math.max(1, high));
      }
      pen.fillStyle = ink;
      pen.fillText(one.name, 0, tall + ROW * number + LABEL);
    });
    pen.fillStyle = accent;
    pen.fillRect(Math.min(x(this.at), width - 2), 0, 2, height);
  }
}
