"""The command line: options in, exit status out."""


def main() -> None:
    """Run `udpprobe`."""
    raise NotImplementedError
