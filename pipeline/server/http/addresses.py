"""Which addresses the server may connect to when it fetches a caller's URL: pure; a doubtful address is not public.

`ipaddress.is_global` is not enough: in Python 3.11 it is true for NAT64, 6to4, multicast and site-local addresses.

Source: the IANA special-purpose address registries for IPv4 and IPv6, and the documents named below.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

AddressCheck = Callable[[str], bool]
"""Returns whether the server may connect to an address, given as text."""

BLOCKED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # "this network"; on Linux 0.0.0.0 is loopback
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; 100.100.100.200 is Alibaba Cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host, though the address is a public one
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is Oracle Cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast tunnels
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, including broadcast
    )
)

UNICAST_V6: Final = IPv6Network("2000::/3")
"""The only block assigned for global unicast. Outside it: loopback, IPv4 in IPv6, NAT64, unique- and link-local,
multicast."""

BLOCKED_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: contains an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, returned (RFC 3701)
        "3fff::/20",  # documentation
    )
)

_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Upper half of an interface identifier whose lower half is an IPv4 address, under any prefix (RFC 5214, 6.1)."""


def is_public(address: str) -> bool:
    """Return whether an address belongs to a host of the public internet.

    An address in 64:ff9b::/96 is not public: it can contain any IPv4 address. A network that reaches IPv4 only by
    NAT64 therefore cannot fetch from IPv4 hosts.

    Args:
        address: An IP address as text; False for any other text.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in BLOCKED_V4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in UNICAST_V6:
        return False
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return not any(address in network for network in BLOCKED_V6)


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is loopback, which only this machine can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def peer_group(address: str) -> str:
    """Return the group of a peer: its IPv4 address, or the /64 network of its IPv6 address, which one host may use up.

    Args:
        address: An IP address as text; any other text is its own group.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False))
