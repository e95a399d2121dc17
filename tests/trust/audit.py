"""Ask an advisory source about every pin: `python tests/trust/audit.py`.

pip-audit (of the Python Packaging Authority) asks for each pin of the lock, and of the
peers of benches and battery, whether an advisory is known. Exit codes: 0 none is, 1 one
is, 3 no source answered; then the figure says so, and the command runs elsewhere.
`--service` is `osv` (osv.dev, the default) or `pypi` (the index's own advisories).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
FILES = ("requirements.lock", "tests/bench/requirements.txt",
         "tests/trust/requirements.txt")  # fmt: skip
LIMIT = 1800  # seconds


def pins(text: str) -> list[str]:
    """Return the pinned requirements of a file, without hashes."""
    return [x.rstrip(" \\") for x in text.splitlines() if re.match(r"[A-Za-z0-9]", x)]


def ask(path: Path, service: str) -> dict[str, Any] | None:
    """Return pip-audit's report on a file of pins; None: no source answered."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(path), "--disable-pip",
               "--require-hashes", "-s", service, "-f", "json", "--timeout", "15",
               "--progress-spinner", "off"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None
    if "No module named pip_audit" in done.stderr:
        raise SystemExit("pip install -r tests/trust/requirements.txt brings pip-audit")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None


def figures(service: str = "osv") -> dict[str, Any]:
    """Return how many pins were asked about, and the advisories that are known."""
    asked, known = set(), {}
    for name in FILES:
        found = ask(REPO / name, service)
        if found is None:
            why = f"not run: no advisory service reachable ({service})"
            return {"audit": why, "command": "python tests/trust/audit.py"}
        for one in found["dependencies"]:
            if "skip_reason" in one:
                raise SystemExit(f"{one['name']}: {one['skip_reason']}")
            pin = f"{one['name']}=={one['version']}"
            asked.add(pin)
            if one["vulns"]:
                known[pin] = sorted(v["id"] for v in one["vulns"])
    return {"audit": "run", "service": service, "pins": len(asked), "known": known}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", default="osv", choices=("osv", "pypi"))
    found = figures(parser.parse_args().service)
    print(json.dumps(found, indent=1))
    return 3 if found["audit"] != "run" else bool(found["known"])


if __name__ == "__main__":
    sys.exit(main())
