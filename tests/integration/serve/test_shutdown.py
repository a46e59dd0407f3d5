"""A server that is told to stop answers what it has accepted, keeps its streams, and lets nobody else in."""

import signal
import time
from pathlib import Path

from tests.support.process import WAIT
from tests.support.served import answer, form, head, serving


def test_what_was_accepted_is_answered_and_streams_go_on_after_a_restart(
    detector: Path, tmp_path: Path, jpegs: list[bytes]
) -> None:
    streams = tmp_path / "streams"
    options = ["--streams", "2", "--streams-folder", str(streams)]
    with serving(detector, tmp_path / "first", *options) as server:
        with server.client() as client:
            one = client.post("/v1/streams/gate/score", files=[("pictures", ("x", jpegs[0]))])
            assert one.status_code == 200, one.text
            assert one.json()["adaptation"]["batch"] == 1
        body = form(*jpegs[:4])
        connections = [server.connect() for _ in range(32)]
        for connection in connections:
            connection.sendall(head(len(body)) + body)
        half = server.connect()
        half.sendall(head(len(body)) + body[:500])
        idle = server.connect()
        while server.metric("ants_serve_waiting_pictures") < 100:
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + WAIT
        while True:
            try:
                server.connect().close()
            except ConnectionRefusedError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # its headers had come before the signal
        half.sendall(body[500:])
        found = [answer(connection) for connection in (*connections, half)]
        assert [status for status, _, _ in found] == [200] * 33
        assert all(len(said["results"]) == 4 for _, _, said in found)
        assert answer(idle)[0] == 0
        for connection in (*connections, half, idle):
            connection.close()
        assert server.process.wait(timeout=WAIT) == 0
        assert "Traceback" not in server.log.read_text()
    assert (streams / "gate" / "detector.json").exists()

    with serving(detector, tmp_path / "second", *options) as server:
        with server.client() as client:
            two = client.post("/v1/streams/gate/score", files=[("pictures", ("x", jpegs[1]))]).json()
            other = client.post("/v1/streams/other/score", files=[("pictures", ("x", jpegs[1]))]).json()
        assert two["adaptation"]["batch"] == 2
        assert two["adaptation"]["pictures"] == other["adaptation"]["pictures"] + 1
        (streams / "gate" / "detector.json").write_text("{}")
        assert server.stop(signal.SIGINT) == 0
