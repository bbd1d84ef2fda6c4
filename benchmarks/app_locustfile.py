"""What each of locust's users does: send one of the clips, again and again, until all have sent enough together.

Settings come by environment variables, as locust's own processes have no arguments to spare; see `app_load`.
"""

from __future__ import annotations

import csv
import os
import random
import time
from pathlib import Path

from locust import HttpUser, events, task

REQUESTS = int(os.environ["LOAD_REQUESTS"])
CLIPS = [(path.name, path.read_bytes()) for path in sorted(Path(os.environ["LOAD_CLIPS"]).iterdir())]
sent = 0
rows = csv.writer(Path(os.environ["LOAD_LOG"]).open("w", newline="", buffering=1))  # noqa: SIM115 - to the end


class Listener(HttpUser):
    """Sends without a pause."""

    @task
    def score(self) -> None:
        global sent
        if sent >= REQUESTS:
            self.stop()
            return
        sent += 1
        name, content = random.choice(CLIPS)
        data = {"detail": os.environ["LOAD_DETAIL"]}
        began = time.monotonic()
        with self.client.post("/v1/score", files={"files": (name, content)}, data=data, catch_response=True) as answer:
            right = answer.status_code == 200 and [r["file"] for r in answer.json()["rows"]] == [name]
            if right and answer.json()["rows"][0]["fake_probability"] is None:
                right = False
            (answer.success if right else lambda: answer.failure(f"status {answer.status_code}"))()
        rows.writerow([time.monotonic(), time.monotonic() - began, answer.status_code, int(right)])


@events.init.add_listener
def seed(**_: object) -> None:
    random.seed(0)
