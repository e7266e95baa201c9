"""How the bytes of payloads.toml are made: with Scapy's layers, or by hand where it has none.

Scapy takes half a second to import, so this runs when the table is changed, not when somebody scans. Requests
are harmless and small, and ask for answers that are small too: no monlist, no statistics, no ANY.
`python -m udpprobe.payloads.recipes` writes the file anew.
"""

from __future__ import annotations

from pathlib import Path

from udpprobe.payloads.catalogue import Payload
from udpprobe.payloads.recipes import applications, management, names, security, transport

TABLE = Path(__file__).parents[1] / "payloads.toml"

RECIPES = tuple(payload for module in (names, management, security, transport, applications)
                for payload in module.PAYLOADS)
"""Every row. Of several for one port, the earlier is sent first."""

HEAD = "# Written by `python -m udpprobe.payloads.recipes` (also `make golden`): change it there.\n"
BYTES_A_LINE = 32


def table() -> str:
    """The text of payloads.toml."""
    return HEAD + "".join(map(_row, RECIPES))


def _row(payload: Payload) -> str:
    lines = ["", "[[payload]]", f'name = "{payload.name}"', f"ports = {list(payload.ports)}",
             f'source = "{payload.source}"']
    if payload.token_size:
        lines += [f"token_at = {payload.token_at}", f"token_size = {payload.token_size}"]
    if payload.answer:
        lines.append(f"answer = '{payload.answer}'")
    if payload.loose:
        lines.append("loose = true")
    return "\n".join([*lines, *_bytes(payload.data)]) + "\n"


def _bytes(data: bytes) -> list[str]:
    """In hexadecimal digits; of many zeros at the end only how far they go."""
    shown = data.rstrip(b"\0")
    size = []
    if len(data) - len(shown) > BYTES_A_LINE:
        data, size = shown, [f"size = {len(data)}"]
    rows = [data[at:at + BYTES_A_LINE].hex(" ", -4) for at in range(0, len(data), BYTES_A_LINE)]
    return [*size, f'hex = "{"".join(rows)}"' if len(rows) < 2 else "\n".join(['hex = """', *rows, '"""'])]
