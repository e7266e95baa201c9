"""Frames into datagrams and ICMP errors."""
