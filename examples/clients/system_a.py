"""The log-mel CNN's API: python examples/clients/system_a.py http://127.0.0.1:7860 clip.webm"""

import base64
import sys
from pathlib import Path

import requests

server, path = sys.argv[1:]
print(requests.get(f"{server}/api/model/status", timeout=60).json())
content = Path(path).read_bytes()
print(requests.post(f"{server}/api/predict/upload", files={"file": content}, timeout=300).json())
# As a browser sends what its MediaRecorder has recorded.
audio = "data:audio/webm;base64," + base64.b64encode(content).decode()
print(requests.post(f"{server}/api/predict/realtime", json={"audio": audio}, timeout=300).json())
