"""`Endpoint`: where a sink is, and whether a connection may go there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from urllib.parse import urlsplit

from attrs import field, frozen

from sigra_forward import ConfigurationError, SinkError
from sigra_forward_http._special import Address, Network, is_loopback, is_special, told_address

PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_TARGET = re.compile(r"[!-~]*")


@frozen
class Endpoint:
    """
    Where a sink is.

    What the URL has behind the host may be a secret, and is never shown.

    Args:
        scheme: ``"https"``, or ``"http"`` on this machine itself.
        host: The name, or the address, as the URL has it.
        port: The port.
        target: The path, and the query with it.
        allowed: The networks that the host has opened, though they are special.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)
    allowed: Sequence[Network] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether the URL names this machine itself."""
        address = told_address(self.host)
        return is_loopback(address) if address is not None else self.host.rstrip(".").lower() == "localhost"

    def checked(self, addresses: Iterable[str]) -> list[str]:
        """
        Return *addresses*, to which the host's name resolves, if a connection may go to any of them.

        One that may not be connected to refuses all: whoever can put it there can put it first.

        Raises:
            SinkError: There is none, or one is in a special-purpose registry and has not been allowed.
        """
        told = list(dict.fromkeys(addresses))
        if not told:
            reason = "dns"
            raise SinkError(reason, detail=f"the name of {self} resolves to no address")
        for text in told:
            address = told_address(text)
            if address is None or not self._may_be(address):
                reason = "forbidden_address"
                detail = (
                    f"{self} resolves to {text}, which is in a special-purpose registry (private, local, metadata, …): "
                    f"name its network in allow=... where it is meant"
                )
                raise SinkError(reason, detail=detail)
        return told

    def _may_be(self, address: Address) -> bool:
        if self.is_local:
            return is_loopback(address)
        return any(address in network for network in self.allowed) or not is_special(address)


def endpoint(url: object, user: str, *, allow: Sequence[str] = (), target: str | None = None) -> Endpoint:
    """
    Return the endpoint that *url* names.

    Args:
        url: An absolute URL. It is never quoted: what it has behind its host may be a secret.
        user: Whose it is, for messages.
        allow: Networks, or addresses, that may be connected to though they are special: ``"10.1.0.0/16"``.
        target: The path, where the URL gives none but ``/``.

    Raises:
        ConfigurationError: It is no URL that may be used, and the message says why.
    """
    allowed = _networks(allow, user)
    if not isinstance(url, str) or not _TARGET.fullmatch(url) or "\\" in url:
        msg = (
            f"{user}(url=...) must be an absolute URL of ASCII characters without blanks, such as https://siem.example"
        )
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        msg = f"{user}(url=...) has a host or a port that makes no sense"
        raise ConfigurationError(msg) from None
    rules = {
        "must begin with https://": parts.scheme in PORTS,
        "must not have a user or a password in it: credentials go into headers": "@" not in parts.netloc,
        "must have no fragment": not parts.fragment and not url.endswith("#"),
        "must name a host, by a DNS name or an address": bool(_HOST.fullmatch(host)) or told_address(host) is not None,
        "has a port that makes no sense": port != 0,
    }
    for rule, is_kept in rules.items():
        if not is_kept:
            msg = f"{user}(url=...) {rule}"
            raise ConfigurationError(msg)
    path = target if target is not None and parts.path in {"", "/"} and not parts.query else parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    found = Endpoint(parts.scheme, host, port or PORTS[parts.scheme], f"{path}{query}", allowed)
    if found.scheme == "http" and not found.is_local:
        msg = f"{user}(url=...) must begin with https://: http is for this machine itself (localhost, 127.0.0.1, [::1])"
        raise ConfigurationError(msg)
    return found


def _networks(allow: object, user: str) -> tuple[Network, ...]:
    if isinstance(allow, str) or not isinstance(allow, Sequence):
        msg = f"{user}(allow=...) must be a sequence of networks, such as ('10.1.0.0/16',)"
        raise ConfigurationError(msg)
    try:
        return tuple(map(ip_network, allow))
    except (ValueError, TypeError):
        msg = f"{user}(allow=...) must be networks or addresses, such as '10.1.0.0/16' or 'fd00:1::7'"
        raise ConfigurationError(msg) from None
