"""Which network addresses a picture may come from: those of the public internet."""

import ipaddress

_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        # "this network", carrier NAT, protocol assignments, benchmarks, reserved
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
        # local NAT64, discard, Teredo and its neighbours, documentation, 6to4 (checked below), site-local
        "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Tell whether an IP address is on the public internet, whatever it is wrapped in.

    Loopback, private, link-local, multicast, reserved and carrier-NAT addresses are not; nor is an IPv6 address that
    stands for such an IPv4 address (v4-mapped, NAT64, 6to4).
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    closed = (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )
    return not closed and not any(ip in network for network in _CLOSED if network.version == ip.version)
