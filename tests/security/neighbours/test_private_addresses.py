"""Which addresses a webhook may be sent to."""

from __future__ import annotations

import pytest

from anomaly_platform.notifications.channels.guarded_http import is_public

PUBLIC = [
    *("93.184.215.14", "1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255"),
    *("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001:80f::200e"),
    # Public IPv4 addresses in other clothes.
    *("::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1", "2606:2800::5efe:101:101"),
]
PRIVATE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1"),
    *("172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255"),
    *("192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"),
    *("192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1"),
    *("100::1", "2001:db8::1", "3fff::1", "5f00::1", "2001:10::1", "2001:2::1"),
    # Site-local.
    *("fec0::1", "feff::1"),
    # IPv4-mapped.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1"),
    # IPv4-compatible, whatever is inside.
    *("::127.0.0.1", "::10.0.0.1", "::169.254.169.254", "::7f00:1", "::1.1.1.1"),
    # IPv4-translated.
    *("::ffff:0:127.0.0.1", "::ffff:0:10.0.0.1", "::ffff:0:1.1.1.1"),
    # NAT64: of everybody, and of a network's own.
    *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "64:ff9b:1::10.0.0.1", "64:ff9b:1:ffff::1.1.1.1"),
    # 6to4, Teredo, ISATAP.
    *("2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::1"),
    *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    *("2606:2800::5efe:10.0.0.1", "2606:2800::200:5efe:127.0.0.1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_may_not(address: str) -> None:
    assert not is_public(address)
