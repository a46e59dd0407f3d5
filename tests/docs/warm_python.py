"""A Python that has imported torch and the rest already: what it is asked to run starts in a fork, within milliseconds.

The documentation has dozens of commands, each of which would spend five seconds on imports. ``python`` and ``ants`` in
a shell are put in front of the real ones; each call is a process of its own, with the caller's folder, environment and
streams. As a script this is the server: ``warm_python.py SOCKET``.
"""

import atexit
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_CLIENT = """#!{python} -IS
import json, os, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
socket.send_fds(line, [b"."], [0, 1, 2])
call = {{"argv": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "cwd": os.getcwd(), "environ": dict(os.environ)}}
line.sendall(json.dumps(call).encode() + b"\\n")
sys.exit(int(line.recv(16) or b"70"))
"""


@dataclass(frozen=True)
class WarmPython:
    """A running server, and the folder of commands that reach it."""

    commands: Path

    def start(self, *argv: str, cwd: Path, **environ: str) -> "subprocess.Popen[str]":
        """Start ``python ARGV``, its output in one pipe; there ``ants`` and ``python`` are warm too."""
        path = f"{self.commands}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [str(self.commands / "python"), *argv],
            cwd=cwd,
            env={**os.environ, "PATH": path, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *argv: str, cwd: Path, timeout: float = 120, **environ: str) -> str:
        """Run ``python ARGV`` and return what it printed; it has to end well."""
        with self.start(*argv, cwd=cwd, **environ) as process:
            try:
                printed, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, f"{' '.join(argv)} ended with {process.returncode}:\n{printed}"
        return printed


@contextmanager
def warm_python() -> Iterator[WarmPython]:
    """Start the server; end it, and what it still runs, afterwards."""
    # not pytest's folder, whose name can be longer than that of a socket may be
    folder = Path(tempfile.mkdtemp(prefix="ants-docs-"))
    address = str(folder / "socket")
    for name in ("ants", "python", "python3"):
        command = folder / name
        command.write_text(_CLIENT.format(python=sys.executable, address=address))
        command.chmod(0o755)
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        cwd=ROOT,
        env=environ,
        # its end is how the server learns that the tests were killed
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        if server.stdout.readline() != b"ready\n":
            raise RuntimeError("the warm Python did not start; its error is above")
        yield WarmPython(folder)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        for pipe in (server.stdin, server.stdout):
            assert pipe is not None
            pipe.close()
        shutil.rmtree(folder)


def _serve(address: str) -> None:
    # what the commands import, and nothing that starts a thread: a fork takes only one along
    import open_clip  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration  # noqa: F401

    import ants_engine.ants
    import ants_engine.backends.huggingface
    import ants_engine.cli  # noqa: F401

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
            os.killpg(0, signal.SIGKILL)
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_answer(line))
        line.close()


def _answer(line: socket.socket) -> int:
    """Run what a client asks for in a child, and tell the client how it ended; end it when the client goes away."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(line, 1, 3)
    asked = b""
    while not asked.endswith(b"\n"):
        asked += line.recv(65536)
    child = os.fork()
    if child == 0:
        line.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        code = _run(**json.loads(asked))
        # the interpreter's own end, but for tearing down every module, which takes seconds: pools are told to stop and
        # waited for, and what is registered for the end is called
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def end_with_client() -> None:
        if not line.recv(1):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)

    threading.Thread(target=end_with_client, daemon=True).start()
    for stream in streams:
        os.close(stream)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(BrokenPipeError):
        line.sendall(str(status if status >= 0 else 128 - status).encode())
    return 0


def _run(argv: list[str], cwd: str, environ: dict[str, str]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    # a warning is an error, unless it is somebody else's program that is run
    warnings.simplefilter(environ.get("PYTHONWARNINGS", "error"))  # type: ignore[arg-type]
    try:
        _call(argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    return code


def _call(argv: list[str]) -> None:
    """Do as ``ants …`` or ``python [-m MODULE | -c CODE | FILE | -] …`` would."""
    name, *rest = argv
    if name == "ants":
        from ants_engine.cli import main

        sys.argv = argv
        main()
    elif rest[:1] == ["-m"]:
        sys.argv = rest[1:]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    elif rest[:1] in (["-c"], ["-"], []):
        code = rest[1] if rest[:1] == ["-c"] else sys.stdin.read()
        sys.argv = ["-c", *rest[2:]]
        sys.path.insert(0, "")
        exec(compile(code, "<given>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).resolve().parent))
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1])
