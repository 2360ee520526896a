"""Lists the public API of one crate: a line per item, the types of other crates, and the paths of each item."""

from contextlib import contextmanager

from render import STD, Renderer

# Implementations that do not matter to a user.
UNLISTED_TRAITS = {"StructuralPartialEq"}
# Auto traits whose absence is listed.
AUTO_TRAITS = {"Send", "Sync"}


def read(document):
    """Crawls twice, because the paths of all types are needed to tell types of the same name apart."""
    by_name = {}
    for id, paths in Api(document, {}).paths.items():
        shortest = min(paths, key=lambda path: (path.count("::"), path)).split("::")
        by_name.setdefault(shortest[-1], {})[id] = shortest
    names = {}
    for same in by_name.values():
        if len(same) > 1:
            names |= {id: "::".join(path[1:][-2:]) for id, path in same.items()}
    return Api(document, names)


class Api:
    def __init__(self, document, names):
        self.index, self.summaries = document["index"], document["paths"]
        self.lines = set()
        self.foreign = {}  # "crate::Type" -> the first path of an item that names the type
        self.reexported = set()  # other crates, and "crate::Type" for single items
        self.paths = {}  # id -> the paths of an item of a module
        self.used = {}  # id of a type of this crate -> the first path of an item that names it
        self.structs = {}  # path -> (item, names of the methods, names of the traits)
        self.current = None  # path of the item that is rendered
        self.renderer = Renderer(document, names, self.on_type)
        self.listed_impls, self.traits, self.provided = set(), [], set()
        root = self.item(document["root"])
        self.name = root["name"]
        self.module(root, self.name)
        for path, trait in self.traits:
            self.impls_of_trait(path, trait)

    def item(self, id):
        return self.index.get(str(id))

    def on_type(self, id, crate, name):
        known, key = (self.used, id) if crate is None else (self.foreign, name)
        if crate is None or crate not in STD and not crate.startswith("comms_"):
            known[key] = min(known.get(key, self.current), self.current)

    @contextmanager
    def at(self, path):
        outer, self.current = self.current, path
        yield
        self.current = outer

    def line(self, path, render):
        """Adds a line for the item at `path`. The types that `render` names belong to this item."""
        with self.at(path):
            self.lines.add(f"{path}: {render()}")

    # Items of modules.

    def module(self, module, path):
        for id in module["inner"]["module"]["items"]:
            child = self.item(id)
            if "use" in child["inner"]:
                self.use(child["inner"]["use"], path)
            else:
                self.place(child, f"{path}::{child['name']}")

    def use(self, use, path):
        target = self.item(use["id"]) if use["id"] is not None else None
        if target is None or target["crate_id"] != 0:
            self.use_of_other_crate(use, f"{path}::{'*' if use['is_glob'] else use['name']}")
        elif use["is_glob"]:
            self.module(target, path)
        else:
            self.place(target, f"{path}::{use['name']}")

    def use_of_other_crate(self, use, path):
        crate, name = self.renderer.origin(use["id"])
        if self.summaries[str(use["id"])]["path"] == [crate]:
            self.reexported.add(crate)
            self.line(path, lambda: f"crate {crate}")
            return
        self.reexported.add(f"{crate}::{name}")
        self.line(path, lambda: f"use {use['source']}")
        with self.at(path):
            self.on_type(use["id"], crate, f"{crate}::{name}")

    def place(self, item, path):
        self.paths.setdefault(item["id"], []).append(path)
        self.visit(item, path)

    def visit(self, item, path):
        [(kind, inner)] = item["inner"].items()
        marks = "#[non_exhaustive] " if "non_exhaustive" in item["attrs"] else ""
        marks += "#[deprecated] " if item["deprecation"] else ""
        render = getattr(self, f"item_{kind}", None)
        self.line(path, lambda: marks + (render(inner, path, item) if render else kind))

    def members(self, ids, path):
        members = [self.item(id) for id in ids]
        for member in members:
            self.visit(member, f"{path}::{member['name']}")
        return members

    # The text of each kind of item.

    def item_module(self, inner, path, item):
        self.module(item, path)
        return "mod"

    def item_function(self, inner, path, item):
        return ("provided " if item["id"] in self.provided else "") + self.renderer.function(inner)

    def item_struct(self, inner, path, item):
        shape, fields = inner["kind"], ""
        if shape != "unit" and "tuple" in shape:
            fields = self.tuple(shape["tuple"])
        elif shape != "unit":
            self.members(shape["plain"]["fields"], path)
            fields = " { .. }" if shape["plain"]["has_stripped_fields"] else ""
        methods, traits = self.impls(inner["impls"], path, item)
        self.structs[path] = (item, methods, traits)
        params, where = self.renderer.generics(inner["generics"])
        return f"struct{params}{fields}{where}"

    def item_enum(self, inner, path, item):
        self.members(inner["variants"], path)
        self.impls(inner["impls"], path, item)
        params, where = self.renderer.generics(inner["generics"])
        return f"enum{params}{where}"

    def item_variant(self, inner, path, item):
        kind, value = inner["kind"], inner["discriminant"]
        if kind == "plain":
            return "variant" + (f" = {value['value']}" if value else "")
        if "tuple" in kind:
            return f"variant{self.tuple(kind['tuple'])}"
        fields = map(self.item, kind["struct"]["fields"])
        fields = [f"{field['name']}: {self.renderer.type(field['inner']['struct_field'])}" for field in fields]
        return f"variant {{ {', '.join(fields)} }}"

    def tuple(self, ids):
        types = [self.renderer.type(self.item(id)["inner"]["struct_field"]) if id is not None else "_" for id in ids]
        return f"({', '.join(types)})"

    def item_struct_field(self, inner, path, item):
        return f"field {self.renderer.type(inner)}"

    def item_trait(self, inner, path, item):
        self.traits.append((path, inner))
        functions = [id for id in inner["items"] if "function" in self.item(id)["inner"]]
        self.provided |= {id for id in functions if self.item(id)["inner"]["function"]["has_body"]}
        self.members(inner["items"], path)
        params, where = self.renderer.generics(inner["generics"])
        return f"{'unsafe ' if inner['is_unsafe'] else ''}trait{params}{self.bounds(inner['bounds'])}{where}"

    def item_type_alias(self, inner, path, item):
        params, where = self.renderer.generics(inner["generics"])
        return f"type{params} = {self.renderer.type(inner['type'])}{where}"

    def item_constant(self, inner, path, item):
        return self.constant(inner["type"], inner["const"]["value"] or inner["const"]["expr"])

    def item_assoc_const(self, inner, path, item):
        return self.constant(inner["type"], inner["value"])

    def constant(self, type, value):
        return f"const {self.renderer.type(type)}" + (f" = {value}" if value not in (None, "_") else "")

    def item_assoc_type(self, inner, path, item):
        default = f" = {self.renderer.type(inner['type'])}" if inner["type"] else ""
        return f"type{self.bounds(inner['bounds'])}{default}"

    def item_static(self, inner, path, item):
        return f"static {self.renderer.type(inner['type'])}"

    def bounds(self, bounds):
        return f": {self.renderer.bounds(bounds)}" if bounds else ""

    # Implementations.

    def impls(self, ids, path, item):
        """Adds one line for all traits without parameters, and a line for each other implementation and each method.

        Returns the names of the methods and of the traits.
        """
        methods, plain = set(), set()
        for id in ids:
            impl = self.item(id)["inner"]["impl"]
            if impl["trait"] is None:
                members = self.members(impl["items"], path)
                methods |= {member["name"] for member in members if "function" in member["inner"]}
            elif impl["blanket_impl"] is None and self.belongs(impl["for"], item):
                self.listed_impls.add(id)
                with self.at(path):
                    plain |= self.impl(impl, path, item)
        if plain:
            self.lines.add(f"{path}: impl {' + '.join(sorted(plain))}")
        return methods, {trait.rsplit("::", 1)[-1] for trait in plain}

    def belongs(self, type, item):
        """Rustdoc lists an implementation at each type that it names. It belongs to the type after `for`."""
        while "borrowed_ref" in type:
            type = type["borrowed_ref"]["type"]
        id = type["resolved_path"]["id"] if "resolved_path" in type else None
        return id == item["id"] or self.renderer.origin(id)[0] is not None or id is None

    def impl(self, impl, path, item):
        """Returns the trait if it needs no line, and adds a line otherwise."""
        _, name = self.renderer.origin(impl["trait"]["id"])
        if name in UNLISTED_TRAITS or impl["is_synthetic"] and not (impl["is_negative"] and name in AUTO_TRAITS):
            return set()
        members = map(self.item, impl["items"])
        types = [f"{member['name']} = {self.renderer.type(member['inner']['assoc_type']['type'])}"
                 for member in members if "assoc_type" in member["inner"]]
        trait = ("!" if impl["is_negative"] else "") + self.renderer.path(impl["trait"], types)
        subject = impl["for"].get("resolved_path")
        target = "" if subject and subject["id"] == item["id"] else f" for {self.renderer.type(impl['for'])}"
        # The derived implementation has a lifetime of its own.
        if not target and ("<" not in trait or name == "Deserialize"):
            return {trait.split("<")[0]}
        params, where = self.renderer.generics(impl["generics"])
        self.lines.add(f"{path}: impl{params} {trait}{target}{where}")
        return set()

    def impls_of_trait(self, path, trait):
        """Adds the implementations that no type of this crate lists: for types of other crates, and for all types."""
        for id in trait["implementations"]:
            impl = self.item(id)["inner"]["impl"] if self.item(id) else {"is_synthetic": True}
            if id in self.listed_impls or impl["is_synthetic"]:
                continue
            target = impl["for"].get("resolved_path")
            if target and self.renderer.origin(target["id"])[0] is None:
                continue
            with self.at(path):
                params, where = self.renderer.generics(impl["generics"])
                self.lines.add(f"{path}: impl{params} for {self.renderer.type(impl['for'])}{where}")
