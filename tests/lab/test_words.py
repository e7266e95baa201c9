"""The page that explains scenarios, and what a scenario may really say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import udpprobe.lab
from udpprobe.lab.model import KINDS
from udpprobe.lab.scenario import VOIDS, Limit, LinkSpec, Nat, NodeSpec, Page, Rule, ServiceSpec, kinds_of

TEXT = (Path(udpprobe.lab.__file__).parent / "scenarios" / "README.md").read_text("utf-8")
SECTIONS = dict(part.split("\n", 1) for part in TEXT.split("\n## ")[1:])
MODELS = {
    "The page": Page,
    "A node": NodeSpec,
    "An answer": ServiceSpec,
    "A rule": Rule,
    "A NAT": Nat,
    "A limit": Limit,
    "A link": LinkSpec,
}


def explained(section):
    """The keys in the first column of its table."""
    cells = re.findall(r"^\| (`.*?) \|", SECTIONS[section], re.MULTILINE)
    return [key for cell in cells for key in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("section", MODELS)
def test_every_key_is_explained_once(section):
    known = [field.alias or name for name, field in MODELS[section].model_fields.items()]
    assert sorted(known) == sorted(explained(section))


def test_every_allowed_word_is_documented():
    words = [word for name in ("system", "balance") for word in literals(NodeSpec.model_fields[name].annotation)]
    words += [
        *KINDS,
        *VOIDS,
        *literals(ServiceSpec.model_fields["like"].annotation),
        *literals(Rule.model_fields["do"].annotation),
        *literals(Rule.model_fields["wrong"].annotation),
        *literals(Rule.model_fields["proto"].annotation),
        *literals(Nat.model_fields["quotes"].annotation),
        *literals(NodeSpec.model_fields["mangles"].annotation),
        *literals(Limit.model_fields["by"].annotation),
    ]
    assert len(words) > 25
    assert [] == [word for word in words if f"`{word}`" not in TEXT]


def literals(annotation):
    """The texts anywhere in a type."""
    found = get_args(annotation)
    return [word for each in found for word in ([each] if isinstance(each, str) else literals(each))]


def test_a_message_about_an_unknown_error_lists_the_known_names():
    with pytest.raises(ValueError, match="'nope' is not an error") as told:
        kinds_of(["nope"])
    assert [] == [name for name in KINDS if name not in str(told.value)]
