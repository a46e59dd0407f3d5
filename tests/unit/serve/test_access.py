from pathlib import Path

import pytest

from ants_engine.errors import UsageError
from ants_engine.serve.access import Access, host_name, is_loopback, read_token
from ants_engine.serve.options import Refusal, ServeOptions

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_the_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    Access(ServeOptions(host=host)).check_token(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "127.0.0.1.example.org"])
def test_any_other_address_does(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(UsageError, match="needs a token"):
        Access(ServeOptions(host=host))
    access = Access(ServeOptions(host=host, token=TOKEN))
    for given in (None, "", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} x", TOKEN):
        with pytest.raises(Refusal) as refused:
            access.check_token(given)
        assert refused.value.status == 401
    access.check_token(f"Bearer {TOKEN}")
    access.check_token(f"bearer  {TOKEN}")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example:80", "a.example"), ("A.Example.", "a.example"), ("[::1]:8000", "::1"), ("127.0.0.1", "127.0.0.1"),
        ("[", ""), ("", ""), ("user@127.0.0.1", "127.0.0.1"), ("evil.example#127.0.0.1", "evil.example"),
    ],
)  # fmt: skip
def test_a_host_header_names_a_host(header: str, name: str) -> None:
    assert host_name(header) == name


def test_further_names_are_answered_to_where_they_are_said() -> None:
    access = Access(ServeOptions(hosts=("Ants.Example",)))
    for host in ("ants.example", "ants.example:443", "127.0.0.1:8000"):
        access.check_place(host, None)
    for host in ("other.example", None):
        with pytest.raises(Refusal) as refused:
            access.check_place(host, None)
        assert refused.value.status == 421
    # behind a proxy with TLS, a page's origin is of another scheme than what arrives here
    access.check_place("ants.example", "https://ants.example")
    with pytest.raises(Refusal) as refused:
        access.check_place("ants.example", "https://ants.example.evil")
    assert refused.value.status == 403
    # the token protects a server that others reach; names are checked where they are said
    Access(ServeOptions(host="0.0.0.0", token=TOKEN)).check_place("any.example", None)
    with pytest.raises(Refusal):
        Access(ServeOptions(host="0.0.0.0", token=TOKEN, hosts=("a.example",))).check_place("127.0.0.1", None)


def test_the_token_is_read_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token", {"ANTS_SERVE_TOKEN": "another"}) == TOKEN
    assert read_token(None, {"ANTS_SERVE_TOKEN": f" {TOKEN} "}) == TOKEN
    assert read_token(None, {"ANTS_SERVE_TOKEN": ""}) is None
    (tmp_path / "bytes").write_bytes(b"\xfa\xfb")
    for name in ("missing", "bytes"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_token(tmp_path / name)
