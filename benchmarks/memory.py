"""How much memory this process holds."""

from pathlib import Path


def resident_mb() -> float:
    """Return the resident set now, in MB of 10^6 bytes (Linux)."""
    return _status("VmRSS")


def peak_mb() -> float:
    """Return the largest resident set so far, in MB of 10^6 bytes (Linux)."""
    return _status("VmHWM")


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {key}")
