"""Fuzz the API from its own OpenAPI document with schemathesis: no 5xx, and every answer as documented.

python -m benchmarks.app_fuzz --examples 100 --seconds 300

It talks to a server that it starts itself at 127.0.0.1, sends a bounded number of requests and ends by itself. Exit
status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.served import served
from deepfake.errors import UserError, run_command

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance",
)  # fmt: skip


def fuzz(
    url: str, examples: int, seconds: int, phases: str = "examples,coverage,fuzzing", seed: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a server.

    Args:
        url: of the server.
        examples: requests of each route and phase, at most.
        seconds: for everything.
        phases: of schemathesis, with commas.

    Raises:
        UserError: schemathesis is not installed.
    """
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        raise UserError("schemathesis is missing; run: pip install 'speech-deepfake-detection[dev]'")
    command = [
        str(program), "run", f"{url}/openapi.json", "--max-examples", str(examples), "--seed", str(seed),
        "--checks", ",".join(CHECKS), "--phases", phases, "--continue-on-failure",
        "--request-timeout", "60", "--generation-database", "none", "--workers", "2", "--no-color",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:  # it keeps what it found where it is started
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=place)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="requests of each route and phase (default 100)")
    parser.add_argument("--seconds", type=int, default=600, help="for everything (default 600)")
    parser.add_argument("--model", help="default: the detector in the box")
    arguments = parser.parse_args()
    with served(*(["--model", arguments.model] if arguments.model else [])) as server:
        done = fuzz(server.url, arguments.examples, arguments.seconds)
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return min(done.returncode, 1)


if __name__ == "__main__":
    sys.exit(run_command(main))
