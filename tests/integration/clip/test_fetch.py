"""Pictures from a real server on loopback: what is fetched, and what an attacker's server gets out of trying."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ants_engine import ANTS
from ants_engine.clip.decode import load_rgb
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.fetch import fetch
from ants_engine.errors import (
    ImageError,
    ImageFetchError,
    ImageNotFoundError,
    ImageRefusedError,
    ImageTooLargeError,
    ImageUnreadableError,
    NoImagesError,
)
from ants_engine.settings.config import ImageSettings
from tests.integration.conftest import CLASSES, ScriptedBackend
from tests.support.process import picture_server

ALLOWED = ImageSettings(urls="allow", url_hosts=("127.0.0.1",), url_timeout=5.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with picture_server(tmp_path_factory.mktemp("server") / "log") as place:
        yield place


def counts(server: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{server}/counts") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_a_good_picture(server: str) -> None:
    for path in ("picture/1.png", "picture/2.png?token=SECRET#x", "untyped", "round/5"):
        image = load_rgb(f"http://{server}/{path}", name="p", limits=ALLOWED)
        assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("status/404", ImageNotFoundError, "404"),
        ("status/410", ImageNotFoundError, "410"),
        ("status/401", ImageFetchError, "401"),
        ("status/500", ImageFetchError, "500"),
        ("status/204", ImageFetchError, "204"),
        ("html", ImageFetchError, "text/html"),
        ("packed", ImageFetchError, "compressed"),
        ("garbage", ImageFetchError, "does not speak HTTP"),
        ("cut", ImageFetchError, "cannot be fetched"),
        ("large", ImageTooLargeError, "pictures.max_bytes"),
        ("round/6", ImageFetchError, "redirects more than 5 times"),
        ("to?http://10.0.0.1/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://169.254.169.254/latest/meta-data", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://localhost/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://[::1]/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://[::ffff:7f00:1]/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://2130706433/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?http://0x7f.1/a.png", ImageRefusedError, "pictures.url_hosts"),
        ("to?file:///etc/passwd", ImageRefusedError, "only http and https"),
        ("to?http://user:secret@127.0.0.1/", ImageRefusedError, "credentials"),
    ],
)
def test_what_gives_no_picture(server: str, path: str, kind: type[ImageError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        load_rgb(f"http://{server}/{path}", name="p", limits=ALLOWED)
    assert str(caught.value).startswith("p: ")
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


def test_an_endless_body_is_left_at_the_limit(server: str) -> None:
    limits = ALLOWED.model_copy(update={"max_bytes": 1_000_000})
    started = time.monotonic()
    with pytest.raises(ImageTooLargeError, match="1,000,000"):
        fetch(f"http://{server}/endless", "p", limits)
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("path", ["slow", "slowheaders"])
def test_the_time_limit_is_for_all_of_it(server: str, path: str) -> None:
    limits = ALLOWED.model_copy(update={"url_timeout": 0.6})
    started = time.monotonic()
    with pytest.raises(ImageFetchError, match=r"within 0\.6 s"):
        fetch(f"http://{server}/{path}", "p", limits)
    assert time.monotonic() - started < 3


def test_a_resolver_that_hangs_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        free.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    with pytest.raises(ImageFetchError, match=r"within 0\.3 s"):
        fetch("http://pictures.example/a.png", "p", ALLOWED.model_copy(update={"url_timeout": 0.3}))
    assert time.monotonic() - started < 3
    free.set()


def test_nothing_is_fetched_unless_allowed(server: str) -> None:
    before = counts(server)
    with pytest.raises(ImageRefusedError, match=r"pictures\.urls = 'allow'"):
        load_rgb(f"http://{server}/picture/1.png", name="p", limits=ImageSettings(url_hosts=("127.0.0.1",)))
    with pytest.raises(ImageRefusedError, match=r"pictures\.url_hosts"):
        load_rgb(f"http://{server}/picture/1.png", name="p", limits=ImageSettings(urls="allow"))
    assert counts(server) == before


def resolver(answers: Callable[[], list[str]], asked: list[str]) -> Callable[..., Any]:
    """Return a `socket.getaddrinfo` that knows one more host, ``pictures.test``."""
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *arguments: Any, **keywords: Any) -> Any:
        if host != "pictures.test":
            return real(host, port, *arguments, **keywords)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers()]

    return resolve


def test_a_name_is_resolved_once_and_the_server_is_told_the_name(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", resolver(lambda: ["127.0.0.1"], asked))
    port = server.partition(":")[2]
    named = ALLOWED.model_copy(update={"url_hosts": ("Pictures.test",)})
    assert fetch(f"http://pictures.test:{port}/picture/1.png", "p", named)
    assert asked == ["pictures.test"]
    assert counts(server)["hosts"][-1] == f"pictures.test:{port}"


def test_a_name_that_changes_its_mind_is_no_way_in(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    # public when it is checked, loopback ever after; 192.0.2.1 cannot be reached, so nothing leaves this machine
    monkeypatch.setattr(
        socket, "getaddrinfo", resolver(lambda: ["192.0.2.1" if len(asked) == 1 else "127.0.0.1"], asked)
    )
    monkeypatch.setattr("ants_engine.clip.fetch.is_public", lambda address: address == "192.0.2.1")
    before = counts(server)
    port = server.partition(":")[2]
    with pytest.raises(ImageFetchError):
        fetch(f"http://pictures.test:{port}/picture/1.png", "p", ALLOWED.model_copy(update={"url_timeout": 0.5}))
    assert asked == ["pictures.test"]
    assert counts(server) == before


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(lambda: ["8.8.8.8", "127.0.0.1"], []))
    with pytest.raises(ImageRefusedError, match=r"pictures\.test is on this machine"):
        fetch("http://pictures.test/a.png", "p", ALLOWED)


async def test_a_build_fetches_every_picture_once(
    server: str, settings: dict[str, Any], encoder: ClipEncoder, mllm: ScriptedBackend, tmp_path: Path
) -> None:
    urls = [f"http://{server}/picture/{number}.png?token=SECRET" for number in range(20, 28)]
    urls.insert(3, f"http://{server}/status/404?token=SECRET")
    settings["pictures"] = {"urls": "allow", "url_hosts": ["127.0.0.1"]}
    ants = await ANTS.build(CLASSES, urls, config=settings, encoder=encoder, backend=mllm)
    # the MLLM was shown half of them
    assert ants.report.negative_images == 4
    assert ants.report.ens_texts > 0
    found = counts(server)["paths"]
    assert [found[f"/picture/{number}.png"] for number in range(20, 28)] == [1] * 8
    scores = await ants.score(urls)
    assert list(scores.failures) == [3]
    assert isinstance(scores.failures[3], ImageNotFoundError)
    assert scores.names[0] == f"http://{server}/picture/20.png"
    assert counts(server)["paths"]["/picture/20.png"] == 2
    why = ants.explain(urls[0])
    assert why.score.name == scores.names[0]
    ants.save(tmp_path / "detector")
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 3
    assert not [path for path in kept if b"SECRET" in path.read_bytes()]
    assert "SECRET" not in f"{ants.report} {scores.to_dict()} {why} {ants.report.to_dict()}"


async def test_refused_pictures_say_how_to_allow_them(
    settings: dict[str, Any], encoder: ClipEncoder, mllm: ScriptedBackend
) -> None:
    for images in ("https://example.org/a.png?t=SECRET", ["https://example.org/a.png?t=SECRET"]):
        with pytest.raises(NoImagesError, match=r"https://example.org/a.png: .*pictures\.urls = 'allow'") as caught:
            await ANTS.build(CLASSES, images, config=settings, encoder=encoder, backend=mllm)
        assert "SECRET" not in str(caught.value)


def test_inline_data_does_not_reach_an_error() -> None:
    with pytest.raises(ImageRefusedError, match=r"^data URL: inline data is not read"):
        load_rgb("data:image/png;base64,SECRET", name="data:image/png;base64,SECRET", limits=ALLOWED)


def test_what_is_fetched_is_decoded_like_a_file(server: str) -> None:
    with pytest.raises(ImageTooLargeError, match=r"pictures\.max_pixels"):
        load_rgb(f"http://{server}/picture/1.png", name="p", limits=ALLOWED.model_copy(update={"max_pixels": 100}))
    with pytest.raises((ImageUnreadableError, ImageFetchError)):
        load_rgb(f"http://{server}/cut", name="p", limits=ALLOWED)
