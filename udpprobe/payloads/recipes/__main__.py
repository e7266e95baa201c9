"""Writes payloads.toml anew; review the diff."""

from udpprobe.payloads.recipes import TABLE, table

TABLE.write_text(table(), "utf-8")
