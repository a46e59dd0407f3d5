"""The openai backend and a server whose certificate is signed by an authority that nobody knows."""

import shutil

import pytest

from ants_engine import errors
from ants_engine.backends.openai import OpenAIBackend, OpenAIOptions
from tests.integration.faulty_server import right_answer
from tests.support.pictures import call
from tests.support.process import faulty_server

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl program, which makes the certificate, is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server(folder):
    with faulty_server(folder / "server.log", "--tls", str(folder / "certificate")) as server:
        yield server


async def ask(base_url):
    backend = OpenAIBackend(OpenAIOptions(model="tiny", base_url=base_url, timeout=5))
    try:
        return (await backend.generate(call("right"))).text
    finally:
        await backend.aclose()


async def test_an_unknown_authority_is_final_and_says_what_to_do(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(errors.BadRequestError, match=r"certificate cannot be trusted.*SSL_CERT_FILE.*VERIFY_FAILED"):
        await ask(server.base_url)
    assert server.counts()["total"] == 0, "nothing was sent"


async def test_what_it_says_helps(server, folder, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "certificate" / "ca.pem"))
    assert await ask(server.base_url) == right_answer("right")


async def test_a_certificate_for_another_name_is_no_better(server, folder, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "certificate" / "ca.pem"))
    with pytest.raises(errors.BadRequestError, match="certificate cannot be trusted"):
        await ask(server.base_url.replace("127.0.0.1", "localhost"))


async def test_https_to_a_server_without_tls(tmp_path):
    says = r"does not speak TLS there; look at `mllm\.base_url`"
    with faulty_server(tmp_path / "server.log") as server, pytest.raises(errors.BadRequestError, match=says):
        await ask(server.base_url.replace("http://", "https://"))


async def test_http_to_a_server_with_tls(server):
    with pytest.raises(errors.BackendUnavailableError, match="closed the connection"):
        await ask(server.base_url.replace("https://", "http://"))
