"""A database in MaxMind's format with one network in it, written by hand (MaxMind DB 2.0)."""

import ipaddress


def _value(value):
    if isinstance(value, str):
        return _control(2, len(value.encode())) + value.encode()
    if isinstance(value, tuple):  # a number of another kind than uint32
        kind, number = value
        data = number.to_bytes((number.bit_length() + 7) // 8)
        return _control(kind, len(data)) + data
    if isinstance(value, int):
        return _value((6, value))
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(_value, value))
    return _control(7, len(value)) + b"".join(_value(key) + _value(each) for key, each in value.items())


def _control(kind, size):
    if size >= 29:
        assert kind < 8
        return bytes([kind << 5 | 29, size - 29])
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def database(network, record):
    """The file's bytes: every address of the network has the record."""
    network = ipaddress.ip_network(network)
    width, prefix = network.max_prefixlen, network.prefixlen
    nothing, bits = prefix, int(network.network_address) >> (width - prefix)
    tree = b""
    for depth in range(prefix):
        ahead = depth + 1 if depth + 1 < prefix else prefix + 16
        pair = (nothing, ahead) if bits >> (prefix - 1 - depth) & 1 else (ahead, nothing)
        tree += b"".join(each.to_bytes(3) for each in pair)
    about = {
        "binary_format_major_version": (5, 2),
        "binary_format_minor_version": (5, 0),
        "build_epoch": (9, 1),
        "database_type": "ASN",
        "description": {"en": "test"},
        "ip_version": (5, network.version),
        "languages": ["en"],
        "node_count": prefix,
        "record_size": (5, 24),
    }
    return tree + bytes(16) + _value(record) + b"\xab\xcd\xefMaxMind.com" + _value(about)
