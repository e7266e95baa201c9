"""Probe with an engine inside a namespace, as nobody: JSON in, in the argument, and JSON out.

An attempt is over when so many events, probes and what came back, were heard and `wait_s` seconds brought no more.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_probes import answers, errors, heard, probes_to, send, sent
from scan_setup import halves

from udpprobe.core.addresses import address_text
from udpprobe.core.verdicts import meaning_of, verdict_of
from udpprobe.engines.connected import Connected
from udpprobe.engines.recverr import RecvErr

ENGINES = {"recverr": RecvErr, "connected": Connected}
NOBODY = 65534


def main():
    asked = json.loads(sys.argv[1])
    become_nobody()
    engine = ENGINES[asked["engine"]]()
    flows = asked["flows"]
    zone = socket.if_nametoindex(asked["zone"]) if "zone" in asked else 0
    events = []
    for attempt in range(asked.get("attempts", 1)):
        send(
            engine,
            probes_to(flows, 40000, ttl=asked.get("ttl", 64), zone=zone, attempt=attempt, size=asked.get("size", 0)),
        )
        events += heard(engine, asked["frames"])
        events += heard(engine, wait_s=asked["wait_s"])
    refused = {task: code for task, code, _ in engine.unsent()}
    told = {
        f"{to} {port}": ["unsent", errno.errorcode[refused[task]]]
        if task in refused
        else words_of(events, task, to, port)
        for task, (_, to, port) in enumerate(flows)
    }
    print(json.dumps([told, engine.state.faults]))  # noqa: T201 a program's output


def become_nobody():
    """The rest needs no privilege, and no files: the interpreter may lie where nobody may read."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def words_of(events, task, address, port):
    """Verdict; and reporter, type, code and MTU of the first error, or how many answers."""
    for error in errors(events):
        if error.task == task:
            meaning = meaning_of(error.family, error.icmp_type, error.icmp_code)
            verdict = verdict_of(meaning, itself=error.reporter == halves(address), loop=False)
            return [
                verdict,
                address_text(*error.reporter),
                error.icmp_type,
                error.icmp_code,
                error.mtu if error.mtu >= 0 else None,
            ]
    count = sum((each.source, each.source_port) == (halves(address), port) for each in answers(events))
    assert task in sent(events)
    return ["answered" if count else "silent", count]


if __name__ == "__main__":
    main()
