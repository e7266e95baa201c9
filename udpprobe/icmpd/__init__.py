"""The ICMP daemon of UNIX Network Programming (volume 1, 3rd edition, 28.7), finished.

An application hands it its UDP socket over a Unix socket, and hears of every ICMP error that one of its datagrams drew.
What decides is pure and has no socket: `registry` (whose error is it) and `protocol` (who said what, and how it is
told). `server` is the loop around them, with `raw` (errors in), `peers` (who clients are) and `owners` (what the kernel
knows of sockets); `daemon` starts it. `client` is for Python applications, and needs nothing of all this.
"""
