"""A Hugging Face endpoint's handler, called as there: python examples/clients/endpoint.py MODEL clip.wav"""

import sys
from pathlib import Path

from app.handler import EndpointHandler

model, path = sys.argv[1:]
handler = EndpointHandler(model)
print(handler({"inputs": Path(path).read_bytes()}))
