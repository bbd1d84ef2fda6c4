// The microphone: what is recorded is scored as a file afterwards, and meanwhile by the live socket.

import { socketProtocols } from "./api.js";

const RATE = 16000;

export async function record({ point, onLevel, onVerdict }) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.start(1000);
  const closeLive = await live(stream, point, onLevel, onVerdict).catch(() => () => {}); // the recording does not depend on it
  return () => new Promise((resolve) => {
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      resolve(new Blob(parts, { type: recorder.mimeType }));
    };
    recorder.stop();
    closeLive();
  });
}

async function live(stream, point, onLevel, onVerdict) {
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule("/static/worklet.js");
  const source = context.createMediaStreamSource(stream), node = new AudioWorkletNode(context, "pcm16");
  source.connect(node);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/v1/stream?encoding=s16le&operating_point=${encodeURIComponent(point)}`, socketProtocols());
  const early = [];
  socket.onopen = () => early.splice(0).forEach((piece) => socket.send(piece));
  socket.onmessage = (event) => { const message = JSON.parse(event.data); if (message.type === "verdict") onVerdict(message); };
  node.port.onmessage = ({ data: { samples, peak } }) => {
    onLevel(peak);
    if (socket.readyState === WebSocket.OPEN) socket.send(samples);
    else if (socket.readyState === WebSocket.CONNECTING) early.push(samples);
  };
  return () => {
    node.port.onmessage = null;
    context.close();
    socket.close();
  };
}
