"""The lab: a small internet that misbehaves on purpose, as its scenario says.

A scenario is a page of TOML: nodes, links between them, and one sentence with the expected conclusion. `scenario` reads
and checks it, `world` simulates it. IP packets of the program go in, packets for the program come out, and the time is
an argument, so that the same run gives the same packets again. A packet travels over links from one of the `nodes` to
the next. `hosts` answer, `icmp` makes errors and limits them, `nat` is a NAT. Only `packets` knows the bytes: Scapy
dissects them when they come in and builds them when they leave.

`run` connects a program: `namespace` makes its private network and the TUN device, `command` runs it.
"""
