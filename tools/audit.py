"""Known holes in the packages that are installed, as pip-audit finds them in a public data base."""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off", "--format=json"]


def main(command: list[str] = COMMAND) -> int:
    """Print every hole, and return 1 if there are any; 0 if there are none, or nothing could be looked up."""
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    known = [p for p in packages if "skip_reason" not in p]
    if not known:
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"Not audited, nothing is known: pip-audit could not look anything up ({reason})")
        return 0
    holes = [(p["name"], p["version"], hole) for p in known for hole in p["vulns"]]
    for name, version, hole in holes:
        print(f"{name} {version}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'no version yet'}")
    print(f"{len(known)} packages looked up, {len(packages) - len(known)} unknown there, {len(holes)} holes")
    return int(bool(holes))


if __name__ == "__main__":
    sys.exit(main())
