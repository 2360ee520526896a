"""Compares or writes the lists of the public API: `check|write FOLDER_OF_JSON FOLDER_OF_LISTS`."""

import difflib
import json
import sys
from pathlib import Path

import rules
from api import read

# The version of rustdoc's JSON that `render` and `api` read, and a toolchain that writes it. The crate rustdoc-types
# describes each version.
FORMAT, TOOLCHAIN = 57, "1.95"
CRATES = ["comms_core", "comms_grpc", "comms_kafka", "comms_outbox", "comms_ws"]
FOREIGN = "foreign-types.txt"


def load(file):
    document = json.loads(file.read_text())
    found = document["format_version"]
    if found != FORMAT:
        sys.exit(
            f"public-api: the toolchain writes version {found} of rustdoc's JSON, but scripts/lib/public_api reads "
            f"version {FORMAT}: use Rust {TOOLCHAIN}, or adapt render.py, api.py and FORMAT"
        )
    return read(document)


def order(line):
    """The definition of an item comes before its implementations."""
    path, _, text = line.partition(": ")
    return path, text.startswith("impl"), text


def lists(apis):
    """Returns the text of each file."""
    texts = {f"{api.name.replace('_', '-')}.txt": sorted(api.lines, key=order) for api in apis}
    texts[FOREIGN] = sorted(f"{api.name}: {type} at {path}" for api in apis for type, path in api.foreign.items())
    return {name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()}


def difference(name, old, new):
    lines = old.splitlines(True), new.splitlines(True)
    return "".join(difflib.unified_diff(*lines, f"{name}, committed", f"{name}, now", n=0))


def main(mode, source, target):
    apis = [load(Path(source, f"{crate}.json")) for crate in CRATES]
    failed = False
    for name, text in lists(apis).items():
        file = Path(target, name)
        if mode == "write":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            continue
        diff = difference(name, file.read_text() if file.exists() else "", text)
        print(diff, end="")
        failed |= bool(diff)
    if failed:
        print("public-api: the API differs from the lists. If the change is intended: scripts/public-api write")
    exceptions = Path(target, rules.EXCEPTIONS)
    problems = rules.unexcepted(rules.findings(apis), exceptions.read_text() if exceptions.exists() else "")
    for problem in problems:
        print(f"public-api: {problem}")
    print(f"public-api: {sum(len(api.lines) for api in apis)} lines, {len(problems)} broken rules")
    return 1 if failed or problems else 0


sys.exit(main(*sys.argv[1:]))
