"""The client's address: the peer's own, or what our own proxies say of it."""

import ipaddress
import re
from functools import lru_cache

from gateway.exchange import Scope


def client_address(scope: Scope, trusted_proxies: int) -> str:
    """The address that limits are counted by.

    Each trusted proxy appends the address it was called from to X-Forwarded-For, so that the one we look for is
    that many entries from the right; what stands left of it is the client's own say. A request that did not pass
    through all the proxies is counted by its peer.
    """
    client = scope["client"]
    peer = client[0] if client else ""
    if trusted_proxies:
        hops = b",".join(
            value for name, value in scope["headers"] if name == b"x-forwarded-for"
        ).split(b",")
        if len(hops) >= trusted_proxies:
            forwarded = _normal(hops[-trusted_proxies].strip().decode("latin-1"))
            if forwarded:
                return forwarded
    return _normal(peer)


_with_port = re.compile(r"\[?(?P<host>(?<=\[)[^\]]+|[0-9.]+)\]?:[0-9]{1,5}").fullmatch


@lru_cache(maxsize=10_000)
def _normal(text: str) -> str:
    """One form for each address, which may have a port behind it, as some proxies write; an IPv6 client is its /64,
    because it can take any address in it.
    """
    with_port = _with_port(text)
    try:
        address = ipaddress.ip_address(text if with_port is None else with_port["host"])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))
