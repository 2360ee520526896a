"""Renders the types, bounds and signatures of rustdoc's JSON as Rust."""

# Lifetimes that async_trait adds to a method.
ASYNC_TRAIT = "'async_trait"
STD = {"std", "core", "alloc"}


class Renderer:
    """Renders the types of one crate by their last name, with the crate in front if it is not this one or std.

    `names` maps an id to the name of a type of this crate whose last name is not unique. `on_type` receives the id,
    the crate and the rendered name of each type and trait.
    """

    def __init__(self, document, names, on_type):
        self.paths = document["paths"]
        self.crates = {int(key): crate["name"] for key, crate in document["external_crates"].items()}
        self.names, self.on_type = names, on_type
        self.own = {summary["path"][-1] for summary in self.paths.values() if own_type(summary)}

    def origin(self, id):
        """Returns the crate that defines an item, None for the documented crate, and the item's name."""
        summary = self.paths.get(str(id))
        if summary is None:
            return None, None
        return self.crates.get(summary["crate_id"]), summary["path"][-1]

    def path(self, path, more=()):
        crate, name = self.origin(path["id"])
        if crate is None:
            name = self.names.get(path["id"]) or name or path["path"].rsplit("::", 1)[-1]
        elif crate in STD:
            if name in self.own:
                name = "::".join(["std"] + self.paths[str(path["id"])]["path"][1:])
        else:
            name = f"{crate}::{name}"
        self.on_type(path["id"], crate, name)
        return name + self.args(path["args"], more)

    def args(self, args, more=()):
        """`more` are constraints to add, each as text."""
        if not args and not more:
            return ""
        args = args or {"angle_bracketed": {"args": [], "constraints": []}}
        if args == "return_type_notation":
            return ""
        if "parenthesized" in args:
            inputs = ", ".join(map(self.type, args["parenthesized"]["inputs"]))
            return f"({inputs})" + self.returns(args["parenthesized"]["output"])
        parts = [self.arg(arg) for arg in args["angle_bracketed"]["args"]]
        for constraint in args["angle_bracketed"]["constraints"]:
            name, binding = constraint["name"] + self.args(constraint["args"]), constraint["binding"]
            if "equality" in binding:
                parts.append(f"{name} = {self.term(binding['equality'])}")
            else:
                parts.append(f"{name}: {self.bounds(binding['constraint'])}")
        parts.extend(more)
        return f"<{', '.join(parts)}>" if parts else ""

    def arg(self, arg):
        if arg == "infer":
            return "_"
        [(kind, value)] = arg.items()
        return {"lifetime": lambda: value, "type": lambda: self.type(value), "const": lambda: value["expr"]}[kind]()

    def term(self, term):
        return self.type(term["type"]) if "type" in term else term["constant"]["expr"]

    def returns(self, type):
        return f" -> {self.type(type)}" if type else ""

    def type(self, type):
        if type == "infer":
            return "_"
        [(kind, value)] = type.items()
        return getattr(self, f"type_{kind}")(value)

    def type_resolved_path(self, value):
        return self.path(value)

    def type_generic(self, value):
        return value

    type_primitive = type_generic

    def type_dyn_trait(self, value):
        traits = [self.for_lifetimes(poly) + self.path(poly["trait"]) for poly in value["traits"]]
        return "dyn " + " + ".join(traits + ([value["lifetime"]] if value["lifetime"] else []))

    def type_function_pointer(self, value):
        inputs = ", ".join(self.type(type) for _, type in value["sig"]["inputs"])
        return f"{self.for_lifetimes(value)}fn({inputs}){self.returns(value['sig']['output'])}"

    def type_tuple(self, value):
        return f"({', '.join(map(self.type, value))}{',' if len(value) == 1 else ''})"

    def type_slice(self, value):
        return f"[{self.type(value)}]"

    def type_array(self, value):
        return f"[{self.type(value['type'])}; {value['len']}]"

    def type_impl_trait(self, value):
        return f"impl {self.bounds(value)}"

    def type_raw_pointer(self, value):
        return f"*{'mut' if value['is_mutable'] else 'const'} {self.type(value['type'])}"

    def type_borrowed_ref(self, value):
        lifetime = value["lifetime"] or ""
        lifetime = "" if added_by_async_trait(lifetime) else lifetime
        inner = self.type(value["type"])
        inner = f"({inner})" if " + " in inner and inner.startswith(("dyn ", "impl ")) else inner
        return f"&{lifetime}{' ' if lifetime else ''}{'mut ' if value['is_mutable'] else ''}{inner}"

    def type_qualified_path(self, value):
        owner, trait = self.type(value["self_type"]), value["trait"]
        trait = self.path(trait) if trait and trait["path"] else ""
        name = value["name"] + self.args(value["args"])
        return f"{owner}::{name}" if not trait or "generic" in value["self_type"] else f"<{owner} as {trait}>::{name}"

    def for_lifetimes(self, owner):
        names = [param["name"] for param in owner["generic_params"] if "lifetime" in param["kind"]]
        return f"for<{', '.join(names)}> " if names else ""

    def bounds(self, bounds):
        return " + ".join(map(self.bound, bounds))

    def bound(self, bound):
        [(kind, value)] = bound.items()
        if kind == "outlives":
            return value
        if kind == "use":
            return f"use<{', '.join(next(iter(arg.values())) for arg in value)}>"
        return ("?" if value["modifier"] == "maybe" else "") + self.for_lifetimes(value) + self.path(value["trait"])

    def generics(self, generics):
        """The parameters in angle brackets, and the where clause, each empty or ready to append."""
        params = []
        for param in generics["params"]:
            [(kind, value)] = param["kind"].items()
            if kind == "lifetime":
                if added_by_async_trait(param["name"]):
                    continue
                params.append(param["name"] + (f": {' + '.join(value['outlives'])}" if value["outlives"] else ""))
            elif kind == "const":
                params.append(f"const {param['name']}: {self.type(value['type'])}")
            elif not value["is_synthetic"]:
                bounds = f": {self.bounds(value['bounds'])}" if value["bounds"] else ""
                default = f" = {self.type(value['default'])}" if value["default"] else ""
                params.append(param["name"] + bounds + default)
        predicates = [text for text in map(self.predicate, generics["where_predicates"]) if text]
        return f"<{', '.join(params)}>" if params else "", f" where {', '.join(predicates)}" if predicates else ""

    def predicate(self, predicate):
        [(kind, value)] = predicate.items()
        if kind == "lifetime_predicate":
            added = added_by_async_trait(value["lifetime"])
            return "" if added else f"{value['lifetime']}: {' + '.join(value['outlives'])}"
        if kind == "eq_predicate":
            return f"{self.type(value['lhs'])} = {self.term(value['rhs'])}"
        bounds = [text for text in map(self.bound, value["bounds"]) if text != ASYNC_TRAIT]
        return f"{self.for_lifetimes(value)}{self.type(value['type'])}: {' + '.join(bounds)}" if bounds else ""

    def function(self, function):
        params, where = self.generics(function["generics"])
        header, sig = function["header"], function["sig"]
        output, is_async = sig["output"], header["is_async"]
        if any(param["name"] == ASYNC_TRAIT for param in function["generics"]["params"]):
            output, is_async = future_output(output), True
        words = [word for word in ("const", "async", "unsafe") if header[f"is_{word}"] or word == "async" and is_async]
        inputs = ", ".join(self.input(*pair) for pair in sig["inputs"])
        return " ".join(words + [f"fn{params}({inputs}){self.returns(output)}{where}"])

    def input(self, name, type):
        text = self.type(type)
        if name != "self":
            return f"{name}: {text}"
        return {"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}.get(text, f"self: {text}")


def own_type(summary):
    return summary["crate_id"] == 0 and summary["kind"] in {"struct", "enum", "union", "trait", "type_alias"}


def added_by_async_trait(lifetime):
    return lifetime == ASYNC_TRAIT or lifetime.startswith("'life")


def future_output(type):
    """The output type `T` of `Pin<Box<dyn Future<Output = T>>>`, or None for the unit type."""
    for _ in ("Pin", "Box"):
        type = type["resolved_path"]["args"]["angle_bracketed"]["args"][0]["type"]
    future = type["dyn_trait"]["traits"][0]["trait"]
    output = future["args"]["angle_bracketed"]["constraints"][0]["binding"]["equality"]["type"]
    return None if output == {"tuple": []} else output
