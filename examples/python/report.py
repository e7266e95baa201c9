"""Print what failed in captures, and what to do about it: `python report.py capture.pcap…`."""

import sys

import udpprobe


def main() -> int:
    try:
        report = udpprobe.analyze(sys.argv[1:])
    except udpprobe.UdpprobeError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    for destination in report.destinations:
        reporters = sorted({finding.reporter for finding in destination.findings if finding.reporter})
        print(destination.address, destination.port, destination.verdict, *reporters)
        if destination.advice:
            print("   ", destination.advice)
    return 0


if __name__ == "__main__":
    sys.exit(main())
