"""Score a long recording without waiting for it: python examples/clients/job.py http://127.0.0.1:7860 meeting.m4a"""

import sys

import requests

server, path = sys.argv[1:]
with open(path, "rb") as file:
    started = requests.post(f"{server}/v1/jobs", files={"files": file}, timeout=300)
assert started.status_code == 202, started.text
place = server + started.headers["Location"]
while (job := requests.get(place, params={"wait_s": 5}, timeout=60).json())["status"] != "done":
    print([file["progress"] for file in job["files"]], file=sys.stderr)
row = job["rows"][0]
print(row["verdict"], row["fake_probability"], len(row["segments"]), "segments")
requests.delete(place, timeout=60)
