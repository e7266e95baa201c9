"""Probe with an engine inside a namespace, as nobody: JSON in, in the argument, and JSON out.

An attempt is over when its `frames`, probes and what came back, were seen and `wait_s` seconds brought no more.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_probes import crafter, heard, probes_to
from feeding import follow

from udpprobe.core.probing.probes import Probes
from udpprobe.engines.connected import Connected
from udpprobe.engines.recverr import RecvErr

ENGINES = {"recverr": RecvErr, "connected": Connected}
NOBODY = 65534


def main():
    asked = json.loads(sys.argv[1])
    become_nobody()
    engine = ENGINES[asked["engine"]](crafter(asked.get("size", 0)))
    flows = asked["flows"]
    zone = socket.if_nametoindex(asked["zone"]) if "zone" in asked else 0
    probes = Probes.concatenate([probes_to([(to, port)], source, 40000, ttl=asked.get("ttl", 64), zone=zone)
                                 for source, to, port in flows])
    probes.task[:] = range(len(flows))
    batches = []
    for _ in range(asked.get("attempts", 1)):
        engine.send(probes)
        batches += heard(engine, asked["frames"])
        batches += heard(engine, wait_s=asked["wait_s"])
        probes.attempt += 1
    tasks, errnos = engine.unsent()
    told = {f"{each.address} {each.port}": words_of(each) for each in follow(batches).destinations}
    for task, number in zip(tasks.tolist(), errnos.tolist(), strict=True):
        told["{1} {2}".format(*flows[task])] = ["unsent", errno.errorcode[number]]
    print(json.dumps([told, engine.state.faults]))     # noqa: T201 a program's output


def become_nobody():
    """The rest needs no privilege, and no files: the interpreter may lie where nobody may read."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def words_of(destination):
    """Verdict; and reporter, type, code and MTU of the first finding, or how many answers."""
    for finding in destination.findings:
        return [destination.verdict, finding.reporter, finding.icmp_type, finding.icmp_code, finding.mtu]
    return [destination.verdict, destination.answered]


if __name__ == "__main__":
    main()
