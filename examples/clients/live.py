"""Stream a 16 kHz, 16-bit, mono WAV file like a call: python examples/clients/live.py ws://127.0.0.1:7860 a.wav"""

import json
import sys
import wave

from websockets.sync.client import connect

server, path = sys.argv[1:]
with wave.open(path) as recording, connect(f"{server}/v1/stream?encoding=s16le") as socket:
    assert (recording.getframerate(), recording.getsampwidth(), recording.getnchannels()) == (16_000, 2, 1)
    while frames := recording.readframes(320):  # 20 ms
        socket.send(frames)
    socket.send("")  # the end
    for message in map(json.loads, socket):
        if message["type"] == "verdict":
            print(f"{message['heard_s']:.1f} s {message['fake_probability']:.4f}", file=sys.stderr)
        else:
            print(message["row"]["verdict"], message["row"]["fake_probability"])
