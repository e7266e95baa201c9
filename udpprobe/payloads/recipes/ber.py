"""Basic encoding rules (X.690), as far as a request needs them."""

INTEGER, OCTETS, SEQUENCE = 0x02, 0x04, 0x30

NUMBER = 0x40_000000
"""Of a request: four bytes whatever its lower three are, so that these have room for a token."""

NUMBER_BACK = r"\x02\x04\x40(?P<token>...)"
BER_LENGTH = r"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
"""In an answer's pattern."""


def ber(tag: int, *parts: bytes) -> bytes:
    """A value of less than 256 bytes, definite form (X.690 8.1.3)."""
    content = b"".join(parts)
    length = bytes([len(content)]) if len(content) < 0x80 else bytes([0x81, len(content)])
    return bytes([tag]) + length + content


def integer(value: int) -> bytes:
    """A number from 0 on, in as few bytes as it takes (X.690 8.3)."""
    return ber(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def token_in(data: bytes) -> tuple[int, int]:
    """Where the lower three bytes of NUMBER stand in `data` first, and how many they are."""
    return data.index(integer(NUMBER)) + 3, 3
