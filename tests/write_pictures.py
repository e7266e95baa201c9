"""Write docs/pictures/*.svg anew (`make pictures`): what the real program shows in the lab, drawn by rich.

Needs root, as the lab does, and tmux, whose terminal the live screen is drawn on.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 80, 24
UDPPROBE = f"{sys.executable} -m udpprobe"
LAB = f"{UDPPROBE} lab -s firewall-rejects --"
WATCH = "trace --watch --interval 1 --utc 198.18.9.9:53 198.18.9.9:7 198.18.9.9:123"
SCAN = "scan --color always 198.18.9.9:7,53,60,123"
ROUNDS, PATIENCE_S = 12, 120


def on_terminal(command, pattern):
    """The screen with its colours, once it shows that."""
    name = f"picture-{uuid.uuid4()}"

    def tmux(*words):
        return subprocess.run(
            ["tmux", "-u", "-L", name, *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout

    tmux(
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-x",
        str(WIDTH),
        "-y",
        str(HEIGHT),
        "env",
        "LC_ALL=C.UTF-8",
        "sh",
        "-c",
        command,
    )
    try:
        until_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, screen := tmux("capture-pane", "-p")):
            if time.monotonic() > until_s:
                raise TimeoutError(f"no {pattern} in\n{screen}")
            time.sleep(0.2)
        return tmux("capture-pane", "-e", "-p")
    finally:
        tmux("kill-server")


def output(command):
    """What a command writes, in colour."""
    return subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def svg(text, title):
    """Text with colours as a picture, with the reader's own fonts: it loads nothing."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    for line in text.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), no_wrap=True, crop=False)
    drawn = console.export_svg(title=title, unique_id="udpprobe")
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    return re.sub(r"[ \t]+\n", "\n", drawn)


def pictures():
    """By name."""
    return {
        "trace-watch": svg(
            on_terminal(f"{LAB} {UDPPROBE} {WATCH}", rf"round ({ROUNDS}|{ROUNDS + 1}) "), "udpprobe trace --watch"
        ),
        "scan": svg(output(f"{LAB} {UDPPROBE} {SCAN}"), f"udpprobe {SCAN.replace('--color always ', '')}"),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        (PICTURES / f"{name}.svg").write_text(picture)
