"""The SageMaker handler's body, float32 samples: python examples/clients/sagemaker.py http://127.0.0.1:7860 clip.wav"""

import base64
import sys

import requests
import soundfile

server, path = sys.argv[1:]
samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
body = {"audio_base64": base64.b64encode(samples.mean(axis=1).tobytes()).decode(), "sample_rate": rate}
print(requests.get(f"{server}/ping", timeout=60).status_code)
print(requests.post(f"{server}/invocations", json=body, timeout=300).json())
