"""Real captures: every frame is the one that tshark shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from containers import read

CORPUS = os.environ.get("UDPPROBE_CORPUS")
FILES = sorted(Path(CORPUS, "pcap").iterdir()) if CORPUS else []
FIELDS = ("frame.number", "frame.cap_len", "frame.len", "frame.time_epoch", "frame.protocols")

pytestmark = [
    pytest.mark.skipif(not FILES, reason="UDPPROBE_CORPUS does not name the corpus of real captures"),
    pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed"),
]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:8])
def test_frames_are_those_of_tshark(path):
    argv = ["tshark", "-nr", path, "-T", "fields", *(f"-e{field}" for field in FIELDS)]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    told = [line.split("\t") for line in lines]
    # blocks without a packet have a number too, and neither time nor protocol; simple packets have no time
    told = [
        (int(number), int(captured), int(length), int(time.replace(".", "")) if time else None)
        for number, captured, length, time, protocols in told
        if time or protocols != "data"
    ]
    untimed = {number for number, _, _, time in told if time is None}

    assert told == [
        (row.frame, len(row.data), row.length, None if row.frame in untimed else row.time_ns)
        for row in read(path.read_bytes())[0]
    ]
