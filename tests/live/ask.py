"""Send what `auto` sends to ports of an address and say which answers are known: `ask.py ADDRESS PORT…`, JSON out."""

from __future__ import annotations

import json
import secrets
import socket
import sys

from udpprobe.core.probe import TOKEN_BYTES
from udpprobe.payloads import load, name_of_answer, recognise

TIMEOUT_S = 2


def main():
    address, *ports = sys.argv[1:]
    print(json.dumps({port: told(address, int(port)) for port in ports}))  # noqa: T201 a program's output


def told(address, port):
    """Name of each candidate of the port, and of the protocol it was answered in, None where it was not."""
    catalogue = load()
    rows = catalogue.choices[catalogue.choices_by_port()[port]]
    return {row.name: answered(row, address, port) for row in map(catalogue.rows.__getitem__, rows)}


def answered(row, address, port):
    token = secrets.token_bytes(TOKEN_BYTES)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:  # not connected: TFTP answers from another port
        sock.settimeout(TIMEOUT_S)
        data = row.data[: row.token_at] + token[: row.token_size] + row.data[row.token_at + row.token_size :]
        sock.sendto(data, (address, port))
        try:
            answer = sock.recv(65535)
        except TimeoutError:
            return None
    return name_of_answer([row], port, answer) if recognise(row, token, answer) else answer.hex()


if __name__ == "__main__":
    main()
