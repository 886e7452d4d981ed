"""HTTP client that reaches no private network unless it is allowed to.

The check is made on the address that is connected to, after the name was resolved: a name that
points elsewhere a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

from anomaly_platform.notifications.channels.base import DeliveryRefused

#: Of IPv6, what is given out to hosts anywhere. What lies outside is local, reserved, or an IPv4
#: address in other clothes: compatible, translated, of a NAT64 of one's own.
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
#: Not all versions of Python know these: Teredo, documentation, the relays of 6to4.
_NOT_PUBLIC: Final = tuple(
    map(
        ipaddress.ip_network,
        ("2001::/32", "2001:db8::/32", "3fff::/20", "192.88.99.0/24"),
    )
)
#: Middle of an interface's id that ends in an IPv4 address (ISATAP).
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable from everywhere, and by one host.

    An IPv4 address inside of an IPv6 address has to be public, too.

    Examples
    --------
    >>> [is_public(a) for a in ("93.184.215.14", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")]
    [True, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if any(ip in network for network in _NOT_PUBLIC):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return is_public(str(last))
        if ip not in _GLOBAL_UNICAST:
            return False
        if ip.sixtofour is not None and not is_public(str(ip.sixtofour)):
            return False
        if int(ip) >> 32 & 0xFFFFFFFF in _ISATAP and not is_public(str(last)):
            return False
    return ip.is_global and not ip.is_multicast


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Resolves a name itself and connects to those of its addresses that are public."""

    def __init__(self) -> None:
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error.strerror}") from None
        addresses = [str(one[4][0]) for one in found]
        public = [address for address in addresses if is_public(address)]
        if not public:
            raise DeliveryRefused(
                f"{host} lies in a private network or on this machine; "
                "ANOMALY_WEBHOOK_ALLOW_PRIVATE=true permits that"
            )
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in public:
            try:
                return await self._plain.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)


class _PublicTransport(httpx.AsyncHTTPTransport):
    """httpx's transport with the check above; it verifies certificates for the name as ever."""

    def __init__(self) -> None:
        super().__init__(verify=ssl_context())
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context(), network_backend=_PublicOnly()
        )


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return what certificates are checked against; to read it takes longer than a message."""
    return httpx.create_ssl_context()


def open_client(*, allow_private: bool, timeout_s: float) -> httpx.AsyncClient:
    """Return a client that follows no redirection and, unless allowed, stays in public networks."""
    # A proxy would resolve names out of our sight, so the environment has no say.
    return httpx.AsyncClient(
        verify=ssl_context(),
        transport=None if allow_private else _PublicTransport(),
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        headers={"user-agent": "anomaly-platform"},
    )
