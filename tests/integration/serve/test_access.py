"""Who may use a server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.serve.conftest import TOKEN
from tests.support.process import WAIT
from tests.support.served import Served


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ü"]
)
def test_without_the_token_nothing_is_told(strict: Served, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode()}
    with strict.client() as client:
        for path in ("/v1/detector", "/metrics", "/v1/nothing"):
            response = client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in response.text
        assert client.post("/v1/score", headers=headers, content=b"x").status_code == 401


def test_with_the_token_and_what_is_open_without(strict: Served) -> None:
    with strict.client() as client:
        assert client.get("/v1/detector", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
            response = client.get(path)
            assert response.status_code == 200
            assert "lion" not in response.text
        assert client.get("/openapi.json").json()["security"] == [{"token": []}]


def test_other_hosts_and_pages_of_other_sites_are_refused(server: Served) -> None:
    with server.client() as client:
        for host in ("localhost", f"localhost:{server.port}", f"127.0.0.1:{server.port}", "[::1]:80"):
            assert client.get("/v1/detector", headers={"Host": host}).status_code == 200
        # a name that its owner has pointed at 127.0.0.1
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "[", ""):
            assert client.get("/v1/detector", headers={"Host": host}).status_code == 421
        own = f"http://127.0.0.1:{server.port}"
        assert client.get("/v1/detector", headers={"Origin": own}).status_code == 200
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://localhost:{server.port}"):
            response = client.post("/v1/score", headers={"Origin": origin}, json={"features": [[1.0]]})
            assert (response.status_code, response.json()["error"]["type"]) == (403, "other_origin")
        preflight = client.options("/v1/score", headers={"Origin": own, "Access-Control-Request-Method": "POST"})
        assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_every_answer_carries_the_headers_that_keep_browsers_careful(server: Served) -> None:
    with server.client() as client:
        for response in (client.get("/"), client.get("/healthz"), client.get("/nothing"), client.get("/v1/score")):
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "server" not in response.headers
        one, other = (client.get("/").headers["Content-Security-Policy"] for _ in range(2))
    assert one != other


@pytest.mark.parametrize(
    ("options", "token", "said"),
    [
        (["--host", "0.0.0.0"], None, "needs a token"),
        (["--host", "::"], None, "needs a token"),
        ([], "short", "5 characters"),
        (["--token-file", "empty"], None, "no token in it"),
        (["--streams-folder", "x"], None, "--streams"),
        (["--host", "203.0.113.7"], "x" * 20, "cannot listen"),
    ],
)
def test_a_server_that_should_not_run_does_not_start(
    detector: Path, tmp_path: Path, options: list[str], token: str | None, said: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    environment = dict(os.environ) | ({} if token is None else {"ANTS_SERVE_TOKEN": token})
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "ants"), "serve", str(detector), "--port", "0", *options],
        check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WAIT,
    )  # fmt: skip
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
