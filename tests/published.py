"""The JSON Schemas of docs/schema, and whether a document is what they describe."""

import copy
import json
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[1] / "docs" / "schema"
PUBLISHED = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}


def strict(schema):
    """The schema without its tolerance of fields to come: here, all that is written is to be described."""
    schema = copy.deepcopy(schema)
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if "properties" in each:
                each["additionalProperties"] = False
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return schema


def check(document, name=None, part=None):
    """Validate a document by the schema of that name, or by the one that it names; or by a part of that schema."""
    name = name or document["schema"].removeprefix("udpprobe.").rpartition("/")[0]
    schema = strict(PUBLISHED[name])
    if part:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    Draft202012Validator(schema).validate(document)
