"""Addresses that are special: nobody's sink is there, unless the host says so."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

SPECIAL: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            # IANA's IPv4 Special-Purpose Address Registry, those that are reachable from everywhere included.
            "0.0.0.0/8",  # "this network"
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared by carriers (CGNAT), and where some clouds have their metadata
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link local, and where most clouds have their metadata
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "240.0.0.0/4",  # reserved, and the limited broadcast
            # The IPv4 Multicast Address Space Registry.
            "224.0.0.0/4",
            # IANA's IPv6 Special-Purpose Address Registry, and what was reserved before there was one.
            "::/8",  # unspecified, loopback, IPv4-compatible, IPv4-mapped
            "64:ff9b:1::/48",  # NAT64 of a network's own
            "100::/64",  # discard only
            "100:0:0:1::/64",  # dummy prefix
            "2001::/23",  # IETF protocol assignments, Teredo and ORCHID among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
            "fc00::/7",  # unique local, and where AWS has its metadata
            "fe80::/10",  # link local
            "fec0::/10",  # site local
            "ff00::/8",  # multicast
        ),
    )
)
"""Source: https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, November 2026."""

_NAT64 = IPv6Network("64:ff9b::/96")


def is_special(address: Address) -> bool:
    """Tell whether *address*, or the IPv4 address that a NAT64 makes of it, is in a special-purpose registry."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    return any(address in network for network in SPECIAL)


def is_loopback(address: Address) -> bool:
    """Tell whether *address* is this machine itself."""
    return address.is_loopback


def told_address(text: str) -> Address | None:
    """Return the address that *text* is, if it is one."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
