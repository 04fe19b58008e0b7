"""Say which system libraries Blender lacks here, and the one line that installs them."""

import subprocess
import sys

# What the bpy wheel links against and a bare machine may lack (Debian and Ubuntu names).
_PACKAGES = "libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1"


def main() -> int:
    """Import bpy in a process of its own; return 0 if it works."""
    done = subprocess.run(
        [sys.executable, "-c", "import bpy"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return 0
    reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    print(f"Blender (bpy) does not start: {reason}", file=sys.stderr)
    print(
        "Install the system libraries it needs, then run the same command again:", file=sys.stderr
    )
    print(f"  sudo apt-get install -y --no-install-recommends {_PACKAGES}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
