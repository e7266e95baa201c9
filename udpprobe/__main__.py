"""`python -m udpprobe`."""

import sys

from udpprobe.cli import main

sys.exit(main())
