"""The ICMP daemon of UNIX Network Programming (volume 1, 3rd edition, 28.7), finished.

An application hands it its UDP socket over a Unix socket, and hears of every ICMP error that one of its datagrams drew.
What decides is pure and has no socket: `registry` (whose error is it), `records` and `lines` (how it is told), `outbox`
(what waits for a slow reader) and `protocol` (who said what). `server` is the loop around them; `client` is for Python
applications, and needs nothing of all this.
"""
