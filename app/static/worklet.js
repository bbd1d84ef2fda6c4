// Samples of the microphone as signed 16 bit, a tenth of a second at a time.

class Pcm16 extends AudioWorkletProcessor {
  constructor() { super(); this.held = new Int16Array(1600); this.count = 0; this.peak = 0; }

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.peak = Math.max(this.peak, Math.abs(sample));
      this.held[this.count++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
      if (this.count === this.held.length) {
        this.port.postMessage({ samples: this.held.slice().buffer, peak: this.peak });
        this.count = this.peak = 0;
      }
    }
    return true;
  }
}

registerProcessor("pcm16", Pcm16);
