"""The ICMP daemon of UNIX Network Programming (volume 1, 3rd edition, 28.7), completed.

An application passes it a UDP socket over a Unix socket, and receives every ICMP error that one of its datagrams drew.

The decisions are pure code without sockets: `registry` (whose error is it) and `protocol` (who sent what, and what is
sent back). `server` is the loop around them, with `raw` (errors in), `peers` (who the clients are) and `owners` (what
the kernel knows about sockets); `daemon` starts it. `client` is for Python applications, and needs none of this.
"""
