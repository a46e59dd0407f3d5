"""Bar 8: two processes that save into one folder, and a reader beside them: ``python -m benchmarks.reliability 8``.

A process of its own is ``python -m benchmarks.reliability.saves write|read FOLDER …``.
"""

import json
import subprocess
import sys
from pathlib import Path

from ants_engine.errors import DetectorFolderError
from ants_engine.learning.detector_folder import MANIFEST, load_detector, save_detector
from benchmarks.reliability.harness import Report, scratch

ROUNDS = 200
WRITERS = 2


def run(rounds: int = ROUNDS) -> Report:
    """Let both save ``rounds`` times at the same moment, each another detector every time, and load in between."""
    from tests.unit.detector.detectors import saved_detector, small_detector

    report = Report(f"8. {rounds} rounds of {WRITERS} processes saving into one folder, with a reader beside")
    with scratch() as scratched:
        folder = scratched / "detector"
        save_detector(folder, saved_detector(small_detector()))
        command = [sys.executable, "-m", "benchmarks.reliability.saves"]
        writers = [_started([*command, "write", str(folder), str(number)]) for number in range(WRITERS)]
        reader = _started([*command, "read", str(folder)])
        everyone = [*writers, reader]
        try:
            for process in everyone:
                _line(process)
            lost, failed = 0, []
            for _ in range(rounds):
                for process in writers:
                    _tell(process, "save")
                failed += [said for said in (_line(process) for process in writers) if said != "saved"]
                try:
                    load_detector(folder)
                except DetectorFolderError:
                    lost += 1
            _tell(reader, "stop")
            loads = json.loads(_line(reader))
        finally:
            for process in everyone:
                process.kill()
                process.communicate()
        files = [path for path in folder.iterdir() if path.name.startswith("tensors-")]
        whole = (folder / MANIFEST).is_file()
    report.say(f"saves reported ok: {rounds * WRITERS - len(failed)} of {rounds * WRITERS}")
    report.say(f"loads of the reader: {loads['count']}")
    report.bar("saves that failed", len(failed), 0)
    report.bar("rounds after which nothing could be loaded", lost, 0)
    report.bar("loads of the reader that failed", loads["failed"], 0)
    report.bar("tensors files left behind", len(files) - 1, 0)
    report.bar("manifests missing in the end", int(not whole), 0)
    return report


def _write(folder: Path, number: int) -> None:
    """Save at every line that comes."""
    from tests.unit.detector.detectors import saved_detector, small_detector

    print("ready", flush=True)
    for count, _ in enumerate(sys.stdin):
        # now and then both save the same, and what was there before is back
        saved = saved_detector(small_detector(ens=1 + (count * (number + 1)) % 5))
        try:
            save_detector(folder, saved)
        except DetectorFolderError as error:
            print(f"failed: {error}", flush=True)
        else:
            print("saved", flush=True)


def _read(folder: Path) -> None:
    """Load again and again until a line comes; then say how often that was, and how often it failed."""
    import threading

    told = threading.Event()

    def wait() -> None:
        sys.stdin.readline()
        told.set()

    threading.Thread(target=wait, daemon=True).start()
    print("ready", flush=True)
    count = failed = 0
    while not told.is_set():
        count += 1
        try:
            load_detector(folder)
        except DetectorFolderError as error:
            failed += 1
            print(error, file=sys.stderr)
    print(json.dumps({"count": count, "failed": failed}), flush=True)


def _started(command: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _tell(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process ended early")
    return line.strip()


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        _write(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["read"]:
        _read(Path(sys.argv[2]))
    else:
        print(run(*map(int, sys.argv[1:2])))
