"""Which network addresses a picture may come from: those of the public internet."""

import ipaddress

_IPV4_CLOSED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        # carrier NAT; protocol assignments; 6to4 relays, which lead to whoever is nearest; benchmarks
        "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15",
        # documentation; multicast; reserved, with the broadcast address
        "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # in Azure, the machine's own host: no registry has it
        "168.63.129.16/32",
    )
)  # fmt: skip
"""IANA's IPv4 special-purpose registry: what is not globally reachable, or is for one protocol alone."""
_IPV6_PUBLIC = ipaddress.IPv6Network("2000::/3")
"""All that has been given out for hosts. Outside lie loopback, unique and link-local, site-local, multicast, discard,
segment routing (5f00::/16), and every form of IPv4 in IPv6 but 6to4."""
_IPV6_CLOSED = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        # protocol assignments with Teredo, benchmarks and ORCHID; documentation; what the 6bone was
        "2001::/23", "2001:db8::/32", "3fff::/20", "3ffe::/16",
    )
)  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The upper half of an interface's number, where the lower half is an IPv4 address (RFC 5214)."""


def is_public(address: str) -> bool:
    """Tell whether an IP address is on the public internet, whatever it is wrapped in.

    An IPv6 address that leads to an IPv4 address (v4-mapped, NAT64, 6to4, ISATAP) is public only where both are.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _IPV4_CLOSED)
    if ip.ipv4_mapped is not None or ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)))
    if ip not in _IPV6_PUBLIC or any(ip in network for network in _IPV6_CLOSED):
        return False
    inner = [] if ip.sixtofour is None else [ip.sixtofour]
    if int(ip) >> 32 & 0xFFFF_FFFF in _ISATAP:
        inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return all(is_public(str(one)) for one in inner)
