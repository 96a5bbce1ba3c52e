"""May a server that fetches for strangers dial this address? Pure judgement; anything in doubt is refused.

`ipaddress.is_global` does not decide: in Python 3.11 it lets NAT64, 6to4, multicast and site-local pass.

Source: the IANA special-purpose address registries for IPv4 and IPv6, and the documents named below.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

AddressCheck = Callable[[str], bool]
"""Tells whether an address, as text, may be dialled."""

REFUSED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # "this network"; Linux takes 0.0.0.0 for loopback
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host, by a public address
        "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is a cloud's metadata
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
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

UNICAST_V6: Final = IPv6Network("2000::/3")
"""All that was ever given out. Outside lie loopback, IPv4 in IPv6, NAT64, unique- and link-local, multicast."""

REFUSED_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address within
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
)

_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Begins an interface identifier that ends in an IPv4 address, under any prefix (RFC 5214, 6.1)."""


def is_public(address: str) -> bool:
    """Return whether an address belongs to a host of the public internet.

    A network that reaches IPv4 by NAT64 alone gets 64:ff9b::/96 from its name server; that is refused, too, since any
    IPv4 address can stand in it.

    Args:
        address: An IP address as text; whatever else it is, is refused.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in REFUSED_V4)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in UNICAST_V6:
        return False
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return not any(address in network for network in REFUSED_V6)


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, is this machine to itself, which nobody else can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
