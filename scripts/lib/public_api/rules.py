"""Checks the public APIs. A finding is a rule, a subject and a text; `exceptions.txt` accepts a rule and a subject."""

# A struct with one of these traits is a configuration.
CONFIGURATION = {"Default", "Deserialize"}
EXCEPTIONS = "exceptions.txt"


def findings(apis):
    shared = next((api.reexported for api in apis if api.name == "comms_core"), set())
    for api in apis:
        yield from foreign(api, api.reexported | shared)
        yield from two_paths(api)
        yield from unnameable(api)
        yield from setters(api)


def foreign(api, reexported):
    """A user can name each type of the API in the version that the API uses.

    The exports of comms-core count for every crate, because the users of each crate depend on comms-core as well.
    """
    crates = {}
    for type, path in sorted(api.foreign.items()):
        crate = type.split("::")[0]
        if not reexported & {crate, type}:
            crates.setdefault(crate, []).append(f"{type} at {path}")
    for crate, types in crates.items():
        yield "foreign", f"{api.name} {crate}", f"in the API, but {crate} is not exported again: {', '.join(types)}"


def two_paths(api):
    """Each item has one path, within its crate and across the crates."""
    for paths in api.paths.values():
        if len(paths) > 1:
            first, *others = sorted(paths)
            yield "two-paths", first, f"is also {', '.join(others)}"
    for name in api.reexported:
        if name.startswith("comms_") and "::" in name:
            yield "two-paths", name, f"{api.name} exports it again"


def unnameable(api):
    """A public item names only types that have a public path."""
    for id, user in api.used.items():
        if id not in api.paths:
            _, name = api.renderer.origin(id)
            yield "unnameable", f"{api.name} {name}", f"has no public path, but {user} names it"


def setters(api):
    """A configuration that is `non_exhaustive` has a method named as each public field."""
    for path, (item, methods, traits) in api.structs.items():
        shape = item["inner"]["struct"]["kind"]
        if shape == "unit" or "plain" not in shape or "non_exhaustive" not in item["attrs"]:
            continue
        fields = [api.item(id)["name"] for id in shape["plain"]["fields"]]
        missing = ", ".join(field for field in fields if field not in methods)
        if missing and traits & CONFIGURATION:
            yield "setter", f"{path} {missing}", "a configuration has a method named as each field"


def unexcepted(found, exceptions):
    """Returns the texts of the findings without an exception, and of the exceptions without a finding.

    A line of `exceptions` is `RULE SUBJECT: REASON`. The first word of a subject is enough (a struct without fields).
    """
    excepted, problems, used = set(), set(), set()
    for line in exceptions.splitlines():
        if not line or line.startswith("#"):
            continue
        key, _, reason = line.partition(": ")
        excepted.add(key)
        if not reason.strip():
            problems.add(f"{EXCEPTIONS}: this line has no reason: {line}")
    for rule, subject, text in found:
        key = f"{rule} {subject}"
        matching = {key, f"{rule} {subject.split(' ')[0]}"} & excepted
        used |= matching
        if not matching:
            problems.add(f"{key}: {text}")
    return sorted(problems | {f"{EXCEPTIONS}: nothing needs this line: {key}" for key in excepted - used})
