"""Score files: python examples/clients/score.py http://127.0.0.1:7860 call.mp3 talk.wav"""

import sys

import requests

server, *paths = sys.argv[1:]
files = [("files", (path, open(path, "rb"))) for path in paths]  # noqa: SIM115 - closed with the process
answer = requests.post(f"{server}/v1/score", files=files, data={"operating_point": "fpr_0.05"}, timeout=300)
answer.raise_for_status()
for row in answer.json()["rows"]:
    point = row["operating_point"]
    print(row["file"], row["error"] or f"{row['prediction']} {row['fake_probability']:.4f}", point["fpr"], point["fnr"])
