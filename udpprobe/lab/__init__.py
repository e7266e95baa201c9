"""The lab: a small internet that misbehaves on purpose, and says so in its scenarios.

A scenario is a page of TOML: nodes, links between them, and one sentence that must be concluded. `scenario` reads and
checks it, `world` plays it: IP packets of the program go in, packets for the program come out, and the time is an
argument, so that the same run twice gives the same packets. A `Packet` goes from `nodes` to `nodes` over `links`;
`hosts` answer, `headers` and `errors` say who may be told what, `rules`, `nat`, `routing`, `fragments` and `limits`
decide the rest. Only `packets` knows the bytes: Scapy takes them apart when they come in and builds them when they
leave.
"""
