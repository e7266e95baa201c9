"""Check services, and print a line for each that is not as it should be: `python health.py host:port…`."""

import sys

import udpprobe

outcome = udpprobe.check(sys.argv[1:], expect="not-refused", retries=1)
for checked in outcome.checks:
    if checked.state != "OK":
        print(checked.state, checked.target, checked.text)
sys.exit(outcome.state)
