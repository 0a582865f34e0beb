// Recording with camera and microphone of this machine, as the browser gives them.

const FILM = ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const SOUND = ["audio/webm;codecs=opus", "audio/webm", "audio/mp4", "audio/ogg"];
const WHY = {
  NotAllowedError: "The browser was not allowed to use camera or microphone; allow it beside the address, or choose a file.",
  NotFoundError: "There is no camera or no microphone here; record sound only, or choose a file.",
  NotReadableError: "Another program uses the camera or the microphone; end it, or choose a file.",
};

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

export async function record(withCamera) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: true,
      video: withCamera && { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25, max: 30 } },
    });
  } catch (error) {
    throw new Error(WHY[error.name] || `Nothing can be recorded: ${error.message}.`);
  }
  const type = (withCamera ? FILM : SOUND).find((one) => MediaRecorder.isTypeSupported(one));
  const recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 1_500_000, audioBitsPerSecond: 96_000 });
  const pieces = [];
  recorder.ondataavailable = (event) => event.data.size && pieces.push(event.data);
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start(500);
  const end = async () => {
    if (recorder.state !== "inactive") recorder.stop();
    await ended;
    for (const track of stream.getTracks()) track.stop();
  };
  return {
    stream,
    stop: async () => {
      await end();
      const kind = recorder.mimeType.split(";")[0];
      return new File(pieces, `recording.${kind.split("/")[1]}`, { type: kind });
    },
    discard: end,
  };
}
