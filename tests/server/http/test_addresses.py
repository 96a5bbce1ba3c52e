"""Which addresses are public, and which are loopback."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.http.addresses import is_loopback, is_public

PRIVATE_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "168.63.129.16/32",
    "100.100.100.200/32",
]

PRIVATE_V6 = [
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:82a::200e",
    "2003::1",
]


def addresses_in(network: str) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    """Return a strategy for the addresses of a network, including its first and last."""
    whole = ip_network(network)
    ends: list[IPv4Address | IPv6Address] = [whole[0], whole[-1]]
    return st.one_of(st.sampled_from(ends), st.ip_addresses(network=network))


@pytest.mark.parametrize("network", PRIVATE_V4 + PRIVATE_V6)
def test_no_address_of_a_special_network_is_public(network: str) -> None:
    @given(addresses_in(network))
    def holds(address: IPv4Address | IPv6Address) -> None:
        assert not is_public(str(address))
        assert not is_public(address.exploded)

    holds()


@pytest.mark.parametrize("address", PUBLIC)
def test_well_known_hosts_and_neighbours_of_special_networks_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_no_address_that_python_calls_special_is_public(address: IPv4Address | IPv6Address) -> None:
    """Python's tables have gaps, but their entries are right."""
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
        not address.is_global,
    )
    assert not (is_public(str(address)) and any(special))


@given(st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_an_ipv6_address_that_contains_an_ipv4_address_is_not_public(inner: IPv4Address, prefix: IPv6Address) -> None:
    """This includes public IPv4 addresses, which can be called directly."""
    number, high = int(inner), int(prefix) >> 64 << 64
    hidden = [
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0xFFFF << 48 | number),
        IPv6Address(0x64FF9B << 96 | number),
        IPv6Address(0x64FF9B0001 << 80 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x20010000 << 96 | number ^ 0xFFFF_FFFF),
        IPv6Address(high | 0x5EFE << 32 | number),
        IPv6Address(high | 0x200_5EFE << 32 | number),
    ]
    assert not any(is_public(str(address)) for address in hidden)


@given(st.text() | st.ip_addresses(v=6).map(lambda address: f"{address}%1"))
def test_text_that_is_no_plain_address_is_not_public(text: str) -> None:
    """Names, zones, short and octal forms."""
    try:
        plain = ip_address(text).exploded
    except ValueError:
        plain = None
    if plain is None or "%" in text:
        assert not is_public(text)


@pytest.mark.parametrize(
    "text", ["", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "8.8.8.8.", " 8.8.8.8", "localhost"]
)
def test_other_spellings_of_an_address_are_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST"])
def test_loopback_by_address_and_by_name(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "0.0.0.0", "::", ""])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
