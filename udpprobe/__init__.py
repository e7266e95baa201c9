"""udpprobe: what happened to UDP datagrams, from the ICMP errors that almost nobody hears.

A *source* yields batches of frames; *decode* turns them into columns; *correlate* finds for each error the
datagram that caused it; *verdicts* says what that means; a *report* says it to a person or a program. Time
comes with the data: only sources and the command line touch the world.

    cli -> observe -> reports | sources -> core -> errors

Imports go from left to right and never back; `make check` holds them to it.
"""

from os import environ as _environ

__version__ = "0.1.0"

if _environ.get("UDPPROBE_PURE") == "1":
    from udpprobe import _twins

    _twins.interpret(f"{__path__[0]}/core")
