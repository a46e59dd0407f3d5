"""Which addresses are taken, what they are called, and which networks they may lead to."""

import ipaddress

import pytest

from ants_engine.clip.fetch import is_public
from ants_engine.clip.web_address import WebAddress, address_name, web_scheme
from ants_engine.errors import ImageRefusedError


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("http://a/b", "http"),
        ("HTTPS://a", "https"),
        ("s3://bucket/key", "s3"),
        ("file:///etc/passwd", "file"),
        ("data:image/png;base64,AAAA", "data"),
        ("/home/http://x", None),
        ("C:/pictures/a.png", None),
        ("c://a", None),
        ("http:/a", None),
        ("a.png", None),
        ("a b://c", None),
        ("", None),
    ],
)
def test_what_is_an_address(text: str, scheme: str | None) -> None:
    assert web_scheme(text) == scheme


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Example.ORG", "http://example.org/"),
        ("https://example.org:443/a.png?x=1#part", "https://example.org/a.png?x=1"),
        ("http://example.org:8080/a%20b.png", "http://example.org:8080/a%20b.png"),
        ("https://bücher.example/bär.png?q=ä", "https://xn--bcher-kva.example/b%C3%A4r.png?q=%C3%A4"),
        ("http://[2001:DB8::1]:81/a", "http://[2001:db8::1]:81/a"),
        ("http://a.b/x?[y]", "http://a.b/x?[y]"),
    ],
)
def test_an_address_is_taken_apart(text: str, url: str) -> None:
    assert WebAddress.parse(text, name="p").url == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "gopher://example.org",
        "data:image/png;base64,AAAA",
        "http://user:secret@example.org/a.png",
        "http://secret@example.org/a.png",
        "http://@example.org/a.png",
        "http://",
        "http:///a.png",
        "http://example.org:0/a",
        "http://example.org:99999/a",
        "http://example.org:x/a",
        "http://exa mple.org/a",
        "http://example.org/a b",
        "http://example.org\\@evil.example/",
        "http://example.org/\r\nX: y",
        "http://example.org/\x00",
        "http://[::1/a",
        "http://[::1%25eth0]/a",
        "http://[v1.a]/a",
        "http://-a.example/",
        "http://a..b/",
        "http://" + "a" * 300 + "/",
        "http://a\u200bb.example/" + "\ud800",
        "http://%31%32%37.0.0.1/",
    ],
)
def test_what_is_refused_says_so_without_secrets(text: str) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        WebAddress.parse(text, name="p")
    assert str(caught.value).startswith("p: ")
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://h.example:8/p/a.png?token=SECRET#SECRET", "https://h.example:8/p/a.png"),
        ("https://SECRET:SECRET@h.example/a.png", "https://h.example/a.png"),
        ("https://SECRET@SECRET@h.example/a.png", "https://h.example/a.png"),
        ("data:image/png;base64,SECRET", "data URL #3"),
        ("https://h.example/" + "a" * 500, "https://h.example/" + "a" * 181 + "…"),
    ],
)
def test_a_name_holds_no_secret(text: str, name: str) -> None:
    assert address_name(text, 3) == name
    if text.startswith("https") and "@" not in text:
        assert "SECRET" not in repr(WebAddress.parse(text, name="p"))


def test_a_redirect_is_checked_like_any_address() -> None:
    start = WebAddress.parse("https://a.example/x/y.png?t=1", name="p")
    assert start.follow("z.png", name="p").url == "https://a.example/x/z.png"
    assert start.follow("//b.example/q", name="p").url == "https://b.example/q"
    for location in ("file:///etc/passwd", "http://u:p@b.example/", "javascript:alert(1)", "http://["):
        with pytest.raises(ImageRefusedError):
            start.follow(location, name="p")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1", "100.127.255.254", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a00:1::", "2001:0:1::1",
        "nonsense", "",
    ],
)  # fmt: skip
def test_no_public_address(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


IANA_CLOSED = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4",
    "::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23",
    "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)  # fmt: skip
"""Of IANA's registries of special-purpose addresses, and of IPv6's address space: what is nobody's public host."""


@pytest.mark.parametrize("block", IANA_CLOSED)
def test_no_address_of_a_special_block_is_public(block: str) -> None:
    network = ipaddress.ip_network(block)
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert not is_public(str(address))
        if isinstance(address, ipaddress.IPv4Address):
            for wrapped in wrappings(address):
                assert not is_public(wrapped), wrapped


def wrappings(inner: ipaddress.IPv4Address) -> list[str]:
    """Return the IPv6 addresses that lead to an IPv4 address from a network where there is none."""
    number = int(inner)
    return [
        f"::ffff:{inner}",
        f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
        f"2606:4700::5efe:{inner}",
        f"2606:4700::200:5efe:{inner}",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.0", "169.253.255.255",
        "172.15.255.255", "192.0.1.0", "192.88.98.255", "192.88.100.0", "198.17.255.255", "198.20.0.0",
        "223.255.255.255",
        "2000::1", "2001:200::1", "2400:cb00::1", "2606:4700::5eff:a00:1", "2606:4700::1:5efe:a00:1",
    ],
)  # fmt: skip
def test_the_neighbours_of_special_blocks_are_public(address: str) -> None:
    assert is_public(address)
    if ":" not in address:
        assert all(map(is_public, wrappings(ipaddress.IPv4Address(address))))


def test_the_host_of_a_cloud_machine_is_not_public() -> None:
    for address in ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"):
        assert not is_public(address)
