"""Where a connection may go: https, a host that is named plainly, and no address that is special unless it is meant."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("urllib3")

from hypothesis import given
from hypothesis import strategies as st

from sigra_forward import ConfigurationError, SinkError
from sigra_forward_http._endpoint import Endpoint, endpoint
from sigra_forward_http._special import SPECIAL, is_special

PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001:800::200e", "64:ff9b::8.8.8.8"]

FORBIDDEN = {
    "this_network": "0.0.0.0",
    "private_10": "10.1.2.3",
    "carrier": "100.64.0.1",
    "alibaba_metadata": "100.100.100.200",
    "loopback": "127.0.0.1",
    "loopback_other": "127.8.8.8",
    "metadata": "169.254.169.254",
    "private_172": "172.31.255.255",
    "protocol_assignments": "192.0.0.8",
    "documentation": "192.0.2.1",
    "as112": "192.31.196.1",
    "amt": "192.52.193.1",
    "6to4_relay": "192.88.99.1",
    "private_192": "192.168.1.1",
    "benchmarking": "198.19.255.255",
    "documentation_2": "198.51.100.1",
    "documentation_3": "203.0.113.1",
    "multicast": "239.1.1.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified_6": "::",
    "loopback_6": "::1",
    "compatible": "::8.8.8.8",
    "mapped_private": "::ffff:10.0.0.1",
    "mapped_public": "::ffff:8.8.8.8",
    "nat64_private": "64:ff9b::10.0.0.1",
    "nat64_metadata": "64:ff9b::169.254.169.254",
    "nat64_local": "64:ff9b:1::1",
    "discard": "100::1",
    "dummy": "100:0:0:1::1",
    "teredo": "2001::1",
    "orchid": "2001:20::1",
    "documentation_6": "2001:db8::1",
    "6to4": "2002:0a00:0001::1",
    "documentation_6_new": "3fff::1",
    "segment_routing": "5f00::1",
    "unique_local": "fd00::1",
    "aws_metadata": "fd00:ec2::254",
    "link_local": "fe80::1%eth0",
    "site_local": "fec0::1",
    "multicast_6": "ff02::1",
}


def at(url: str, **options: Any) -> Endpoint:
    """Return the endpoint of *url*."""
    return endpoint(url, "Forwarder", **options)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    """It is in no special-purpose registry."""
    assert [address] == at("https://siem.example").checked([address])


@pytest.mark.parametrize("address", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_special_address_may_not(address: str) -> None:
    """Whatever name resolves to it; the error says which it is, and what to do where it is meant."""
    with pytest.raises(SinkError, match=r"^forbidden_address: https://siem\.example:443 resolves to .*allow="):
        at("https://siem.example").checked([address])


@pytest.mark.parametrize("address", FORBIDDEN.values(), ids=FORBIDDEN.keys())
@pytest.mark.parametrize("place", [0, 1])
def test_one_that_is_special_forbids_all(address: str, place: int) -> None:
    """Whoever can put it there can put it first."""
    addresses = ["8.8.8.8"]
    addresses.insert(place, address)

    with pytest.raises(SinkError, match=r"^forbidden_address"):
        at("https://siem.example").checked(addresses)


@given(st.ip_addresses())
def test_no_more_is_open_than_what_python_takes_for_global(address: Any) -> None:
    """Python's own list, which is shorter, is a part of ours."""
    is_nat64 = address in ipaddress.ip_network("64:ff9b::/96") if address.version == 6 else False
    if not is_nat64 and not is_special(address):
        assert address.is_global
        assert not address.is_multicast


def test_the_registry_has_no_network_twice() -> None:
    """And none within another one of the same kind of address, but where two registries name it."""
    assert len(SPECIAL) == len(set(SPECIAL))


@pytest.mark.parametrize(
    ("allow", "address"),
    [
        pytest.param(("10.1.0.0/16",), "10.1.2.3", id="network"),
        pytest.param(("fd00:1::/32", "10.0.0.7"), "10.0.0.7", id="address"),
        pytest.param(("fd00:1::/32",), "fd00:1::7", id="v6"),
    ],
)
def test_what_is_allowed_is_open(allow: Sequence[str], address: str) -> None:
    """And what is next to it is not."""
    found = at("https://siem.example", allow=allow)

    assert [address] == found.checked([address])
    with pytest.raises(SinkError, match=r"^forbidden_address"):
        found.checked(["10.2.0.1"])


@pytest.mark.parametrize("url", ["http://localhost:8088", "http://127.0.0.1", "http://[::1]:1", "https://LOCALHOST."])
def test_this_machine_may_be_named(url: str) -> None:
    """Where the URL itself says so, and then it is nothing else."""
    found = at(url)

    assert (True, ["127.0.0.1", "::1"]) == (found.is_local, found.checked(["127.0.0.1", "::1"]))
    with pytest.raises(SinkError, match=r"^forbidden_address"):
        found.checked(["8.8.8.8"])


def test_a_name_that_resolves_to_nothing() -> None:
    """It is the sink's fault."""
    with pytest.raises(SinkError, match=r"^dns: the name of https://siem\.example:443 resolves to no address$"):
        at("https://siem.example").checked([])


def test_each_address_is_tried_once() -> None:
    """However often the name resolves to it."""
    assert ["8.8.8.8", "1.1.1.1"] == at("https://siem.example").checked(["8.8.8.8", "1.1.1.1", "8.8.8.8"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://siem.example", ("https", "siem.example", 443, "/"), id="bare"),
        pytest.param("https://siem.example:8088/a/b?c=d", ("https", "siem.example", 8088, "/a/b?c=d"), id="whole"),
        pytest.param("https://[2606:4700::1]/", ("https", "2606:4700::1", 443, "/"), id="v6"),
        pytest.param("https://siem.example?c=d", ("https", "siem.example", 443, "/?c=d"), id="query_alone"),
    ],
)
def test_what_a_url_says(url: str, expected: tuple[object, ...]) -> None:
    """Where to connect, and what to ask for there."""
    found = at(url)

    assert expected == (found.scheme, found.host, found.port, found.target)


@pytest.mark.parametrize(
    ("url", "target"),
    [("https://siem.example", "/v1/logs"), ("https://siem.example/", "/v1/logs"), ("https://siem.example/a", "/a")],
)
def test_a_path_that_the_sink_has_by_itself(url: str, target: str) -> None:
    """It is taken where the URL names none."""
    assert target == at(url, target="/v1/logs").target


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param(7, "must be an absolute URL", id="number"),
        pytest.param("", "must begin with https://", id="empty"),
        pytest.param("siem.example/SECRET", "must begin with https://", id="no_scheme"),
        pytest.param("ftp://siem.example/SECRET", "must begin with https://", id="ftp"),
        pytest.param("http://siem.example/SECRET", "http is for this machine itself", id="http"),
        pytest.param("http://10.0.0.1/SECRET", "http is for this machine itself", id="http_private"),
        pytest.param("https://user:SECRET@siem.example", "must not have a user or a password", id="password"),
        pytest.param("https://SECRET@siem.example", "must not have a user or a password", id="user"),
        pytest.param("https://siem.example/#SECRET", "must have no fragment", id="fragment"),
        pytest.param("https://siem.example/SECRET#", "must have no fragment", id="empty_fragment"),
        pytest.param("https:///SECRET", "must name a host", id="no_host"),
        pytest.param("https://-a/SECRET", "must name a host", id="no_name"),
        pytest.param("https://siem.example:0/SECRET", "has a port that makes no sense", id="port_0"),
        pytest.param("https://siem.example:x/SECRET", "a host or a port that makes no sense", id="port_text"),
        pytest.param("https://siem.example:70000/SECRET", "a host or a port that makes no sense", id="port_big"),
        pytest.param("https://[::1/SECRET", "a host or a port that makes no sense", id="bracket"),
        pytest.param("https://siem.example/SECRET a", "must be an absolute URL", id="blank"),
        pytest.param("https://siem.example/SECRET\r\nX: y", "must be an absolute URL", id="newline"),
        pytest.param("https://siem.example\\@evil.example/SECRET", "must be an absolute URL", id="backslash"),
        pytest.param("https://sïem.example/SECRET", "must be an absolute URL", id="not_ascii"),
    ],
)
def test_a_url_that_may_not_be_used(url: Any, says: str) -> None:
    """The error says why, and quotes nothing of it."""
    with pytest.raises(ConfigurationError, match=rf"^Forwarder\(url=\.\.\.\) .*{says}") as caught:
        at(url)

    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("allow", ["10.0.0.0/8", 7, ["10.0.0.1/8"], ["siem.example"], [None]], ids=repr)
def test_an_allow_list_that_makes_no_sense(allow: Any) -> None:
    """It is a sequence of networks."""
    with pytest.raises(ConfigurationError, match=r"^Forwarder\(allow=\.\.\.\) must be "):
        at("https://siem.example", allow=allow)


def test_what_is_behind_the_host_is_never_shown() -> None:
    """It may be a token."""
    found = at("https://siem.example/SECRET?token=SECRET")

    assert "https://siem.example:443" == str(found)
    assert "SECRET" not in repr(found)


def test_an_address_of_version_6_is_shown_in_brackets() -> None:
    """As URLs have it."""
    assert "https://[2606:4700::1]:443" == str(at("https://[2606:4700::1]"))
