"""Write tests/golden and payloads.toml anew (`make golden`); review the diff."""

import json
from pathlib import Path

import payload_recipes
from samples import parsed
from screens import command_screens
from screens import screens as live_screens

from udpprobe.capture.inputs import Inputs
from udpprobe.commands.analyze import AnalyzeOptions, analyze

ROOT = Path(__file__).parents[1]
PCAPS = ROOT / "pcaps"
GOLDEN = Path(__file__).parent / "golden"
SCREENS = GOLDEN / "screens"
CAPTURES = sorted(path for path in PCAPS.iterdir() if path.suffix in {".pcap", ".pcapng"})


def screens():
    """What commands show, by name and width."""
    return live_screens() | command_screens()


def golden_file(capture):
    return GOLDEN / f"{capture.name}.json"


def report_text(capture):
    """The whole report, but for what says where and by which version it was made."""
    told = parsed(analyze(Inputs.of(str(capture)), AnalyzeOptions(all_destinations=True)))
    del told["version"], told["source"]["name"]
    return json.dumps(told, indent=1) + "\n"


def main():
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.json"):
        old.unlink()
    for capture in CAPTURES:
        golden_file(capture).write_text(report_text(capture))
    SCREENS.mkdir(exist_ok=True)
    for old in SCREENS.iterdir():
        old.unlink()
    for name, text in screens().items():
        (SCREENS / f"{name}.txt").write_text(text)
    payload_recipes.TABLE.write_text(payload_recipes.table())


if __name__ == "__main__":
    main()
