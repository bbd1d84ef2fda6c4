"""The keys of the package audio_detection: python examples/clients/system_b.py http://127.0.0.1:7860 clip.wav"""

import sys
from pathlib import Path

import requests

server, path = sys.argv[1:]
print(requests.post(f"{server}/predict", files={"file": Path(path).read_bytes()}, timeout=300).json())
