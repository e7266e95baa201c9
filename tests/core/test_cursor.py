import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.cursor import Cursor

FORMATS = {"u8": "B", "u16": ">H", "u32": ">I", "u64": ">Q", "l16": "<H", "l32": "<I", "l64": "<Q"}


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.binary(max_size=24), at=st.integers(0, 2**62))
def test_an_integer_is_what_struct_reads_and_never_from_behind_the_buffer(name, data, at):
    cursor = Cursor(data)
    for offset in (*range(len(data) + 9), at):
        try:
            (expected,) = struct.unpack_from(FORMATS[name], data, offset)
        except struct.error:
            with pytest.raises(IndexError):
                getattr(cursor, name)(offset)
        else:
            assert getattr(cursor, name)(offset) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_the_highest_value_is_not_taken_for_an_error(name):
    assert getattr(Cursor(b"\xff" * 8), name)(0) == 256 ** struct.calcsize(FORMATS[name]) - 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_of_bytes_is_read_in_place(kind):
    written = bytearray(b"\x00\x01")
    cursor = Cursor(kind(written))
    written[1] = 2
    assert cursor.u16(0) == (1 if kind is not memoryview else 2)
    cursor.load(b"\x07")
    assert cursor.u8(0) == 7
