"""What was found, as text for a person or a program. Pure: text out, prints nothing.

`formats` names the formats, `render` is the registry of them; `machine` writes JSON, NDJSON and CSV, `table`,
`events` and `explain` write for people. Field names come from `udpprobe.core.model` alone.
"""
