"""A Bicep file as plain values, for policies to look at; no compiler needed.

tree-sitter-bicep makes the model. pycep-parser, a grammar written by other people, makes an
outline of its own (names, types, API versions, keys), and the two must agree: a file that one of
them reads differently is not trusted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pycep
import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_bicep.language()))


@dataclass(frozen=True, slots=True)
class Expression:
    """What only the deployment can evaluate: a name, an interpolated string, a comparison."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, e.g. `union(a, b)`."""

    function: str
    arguments: tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? then : otherwise`."""

    condition: str
    then: "Value"
    otherwise: "Value"


@dataclass(frozen=True, slots=True)
class Loop:
    """`[for variable in items: body]`."""

    variable: str
    items: "Value"
    body: "Value"


type Value = (
    bool | int | str | list[Value] | dict[str, Value] | Expression | Call | Choice | Loop | None
)
"""Literals are Python's own; everything else is one of the four classes above."""


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    type: str
    default: Value
    """None also when there is no default: see `required`."""
    required: bool
    decorators: dict[str, Value]
    """Name of the decorator → its argument, e.g. `maxValue` → 1000; True when it takes none."""


@dataclass(frozen=True, slots=True)
class Resource:
    symbol: str
    type: str
    api_version: str
    existing: bool
    body: dict[str, Value]
    """Of a loop: the body that is repeated."""


@dataclass(frozen=True, slots=True)
class Module:
    symbol: str
    path: str
    body: dict[str, Value]

    @property
    def parameters(self) -> dict[str, Value]:
        return as_dict(self.body.get("params"))


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    type: str
    value: Value
    decorators: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Outline:
    """What both grammars must agree on."""

    parameters: dict[str, str]
    variables: frozenset[str]
    resources: dict[str, tuple[str, str, bool, frozenset[str]]]
    """Symbol → type, API version, existing, keys of the body."""
    modules: dict[str, tuple[str, frozenset[str]]]
    """Symbol → path, names of the parameters given."""
    outputs: dict[str, str]


@dataclass(frozen=True, slots=True)
class BicepFile:
    path: str
    """Relative to infra/."""
    text: str
    scope: str
    errors: list[str]
    """Where tree-sitter could not read the file."""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    types: dict[str, frozenset[str]] = field(default_factory=dict)
    """Name of a declared type → its keys."""
    resources: list[Resource] = field(default_factory=list)
    modules: dict[str, Module] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    """Names used anywhere but in their own declaration."""
    used_outputs: frozenset[tuple[str, str]] = frozenset()
    """(module symbol, output) pairs."""

    def resolve(self, value: Value) -> Value:
        """The value of a variable or of a parameter's default, as far as the file tells."""
        while isinstance(value, Expression) and value.text in self.variables:
            value = self.variables[value.text]
        return value

    def outline(self) -> Outline:
        return Outline(
            parameters={name: one.type for name, one in self.parameters.items()},
            variables=frozenset(self.variables),
            resources={
                one.symbol: (one.type, one.api_version, one.existing, frozenset(one.body))
                for one in self.resources
            },
            modules={
                symbol: (one.path, frozenset(one.parameters))
                for symbol, one in self.modules.items()
            },
            outputs={name: one.type for name, one in self.outputs.items()},
        )


def as_dict(value: Value) -> dict[str, Value]:
    """The value itself, or an empty dict when it is something else."""
    return value if isinstance(value, dict) else {}


def at(value: Value, path: str) -> Value:
    """What stands at a dotted path, None when nothing does."""
    for key in path.split("."):
        value = as_dict(value).get(key)
    return value


def walk(value: Value) -> Iterator[Value]:
    """The value and everything inside it."""
    yield value
    match value:
        case dict():
            inner: list[Value] = list(value.values())
        case list():
            inner = value
        case Call():
            inner = list(value.arguments)
        case Choice():
            inner = [value.then, value.otherwise]
        case Loop():
            inner = [value.items, value.body]
        case _:
            inner = []
    for one in inner:
        yield from walk(one)


def read(path: str, text: str) -> BicepFile:
    """The model of one file."""
    root = _PARSER.parse(text.encode()).root_node
    file = BicepFile(
        path=path,
        text=text,
        scope="resourceGroup",
        errors=[
            f"{path}:{node.start_point.row + 1}: tree-sitter cannot read {_text(node)[:60]!r}"
            for node in _nodes(root)
            if node.is_error or node.is_missing
        ],
        used=frozenset(_used(root)),
        used_outputs=frozenset(_used_outputs(root)),
    )
    decorators: dict[str, Value] = {}
    for node in root.named_children:
        match node.type:
            case "decorators":
                decorators = _decorators(node)
                continue
            case "comment":
                continue
            case "parameter_declaration":
                name, type_, default = _typed(node)
                file.parameters[name] = Parameter(
                    name, type_, _value(default), default is None, decorators
                )
            case "variable_declaration":
                file.variables[_name(node)] = _value(node.named_children[-1])
            case "type_declaration":
                file.types[_name(node)] = frozenset(_object(node.named_children[-1]))
            case "resource_declaration":
                file.resources.append(_resource(node))
            case "module_declaration":
                one = Module(_name(node), _string(node.named_children[1]), _body(node))
                file.modules[one.symbol] = one
            case "output_declaration":
                name, type_, value = _typed(node)
                file.outputs[name] = Output(name, type_, _value(value), decorators)
        decorators = {}
    return file


def outline_by_pycep(text: str) -> Outline:
    """The same outline, read with the other grammar.

    Raises:
        Exception: pycep cannot read the text; the message has the line.
    """
    parsed: dict[str, Any] = pycep.BicepParser().parse(text=text)

    def type_of(declared: Any) -> str:
        return declared if isinstance(declared, str) else str(declared.get("type", declared))

    def body_of(config: dict[str, Any]) -> dict[str, Any]:
        # Conditions and loops wrap the body, once each.
        while isinstance(config.get("config"), dict):
            config = config["config"]
        return config

    def keys(config: dict[str, Any]) -> frozenset[str]:
        return frozenset(key.strip("'") for key in config)

    return Outline(
        parameters={
            name: type_of(one["type"]) for name, one in parsed.get("parameters", {}).items()
        },
        variables=frozenset(parsed.get("variables", {})),
        resources={
            name: (
                one["type"],
                one["api_version"],
                bool(one["existing"]),
                keys(body_of(one["config"])),
            )
            for name, one in parsed.get("resources", {}).items()
        },
        modules={
            name: (one["detail"]["path"], keys(body_of(one["config"]).get("params", {})))
            for name, one in parsed.get("modules", {}).items()
        },
        outputs={name: type_of(one["type"]) for name, one in parsed.get("outputs", {}).items()},
    )


@dataclass(frozen=True, slots=True)
class ParameterFile:
    """A .bicepparam file. Neither grammar knows its two statements, so they are read here and the
    rest is handed to the grammars as variables."""

    using: str
    values: dict[str, Value]
    environment: frozenset[str]
    """Names of the environment variables it reads."""
    as_bicep: str
    errors: list[str]


def read_parameters(path: str, text: str) -> ParameterFile:
    """The model of one parameter file."""
    using = re.search(r"^using '([^']+)'$", text, re.MULTILINE)
    as_bicep = re.sub(r"^using .*$", "", text, flags=re.MULTILINE)
    as_bicep = re.sub(r"^param (\w+) =", r"var \1 =", as_bicep, flags=re.MULTILINE)
    file = read(path, as_bicep)
    return ParameterFile(
        using=using[1] if using else "",
        values=file.variables,
        environment=frozenset(re.findall(r"readEnvironmentVariable\('(\w+)'", text)),
        as_bicep=as_bicep,
        errors=file.errors,
    )


def load(folder: Path) -> dict[str, BicepFile]:
    """Every .bicep file under a folder, by its path relative to it."""
    return {
        (name := path.relative_to(folder).as_posix()): read(name, path.read_text("utf-8"))
        for path in sorted(folder.rglob("*.bicep"))
    }


# From here on: tree-sitter's nodes → values.


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _nodes(child)


def _name(node: Node) -> str:
    return _text(node.named_children[0])


def _typed(node: Node) -> tuple[str, str, Node | None]:
    """Name, type and value of `param name type = value` or `output name type = value`."""
    name, type_, *rest = node.named_children
    return _text(name), _text(type_), rest[0] if rest else None


def _decorators(node: Node) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for decorator in node.named_children:
        match _value(decorator.named_children[0]):
            case Call(function, arguments):
                found[function] = arguments[0] if arguments else True
    return found


def _string(node: Node) -> str:
    value = _value(node)
    return value if isinstance(value, str) else _text(node)


def _unwrapped(node: Node) -> Node:
    """The object inside `if (…) {…}` and `[for … : {…}]`."""
    while node.type in ("if_statement", "for_statement"):
        node = next(
            child
            for child in reversed(node.named_children)
            if child.type in ("object", "if_statement", "for_statement")
        )
    return node


def _body(node: Node) -> dict[str, Value]:
    return _object(_unwrapped(node.named_children[-1]))


def _resource(node: Node) -> Resource:
    type_, _, version = _string(node.named_children[1]).partition("@")
    return Resource(
        symbol=_name(node),
        type=type_,
        api_version=version,
        existing=any(child.type == "existing" for child in node.children),
        body=_body(node),
    )


def _object(node: Node) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for child in node.named_children:
        if child.type == "object_property":
            key, *value = child.named_children
            found[_text(key).strip("'")] = _value(value[-1]) if value else None
    return found


def _value(node: Node | None) -> Value:
    if node is None:
        return None
    match node.type:
        case "string":
            if any(child.type == "interpolation" for child in node.children):
                return Expression(_text(node))
            quote = _text(node.children[0])
            text = _text(node)[len(quote) : -len(quote)]
            return text.removeprefix("\n") if quote == "'''" else _unescaped(text)
        case "number":
            return int(_text(node))
        case "boolean":
            return _text(node) == "true"
        case "null":
            return None
        case "array":
            return [_value(child) for child in _without_comments(node)]
        case "object":
            return _object(node)
        case "call_expression":
            function, arguments = node.named_children[0], node.named_children[-1]
            return Call(
                _text(function), tuple(_value(child) for child in _without_comments(arguments))
            )
        case "ternary_expression":
            condition, then, otherwise = _without_comments(node)
            return Choice(_text(condition), _value(then), _value(otherwise))
        case "for_statement":
            variable, items, *_, body = _without_comments(node)
            return Loop(_text(variable), _value(items), _value(body))
        case _:
            return Expression(" ".join(_text(node).split()))


def _without_comments(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), text
    )


def _used(root: Node) -> Iterator[str]:
    declarations = {
        "parameter_declaration",
        "variable_declaration",
        "type_declaration",
        "resource_declaration",
        "module_declaration",
        "output_declaration",
        "object_property",
        "for_statement",
        "for_loop_parameters",
    }
    for node in _nodes(root):
        parent = node.parent
        if node.type not in ("identifier", "custom_type", "type") or parent is None:
            continue
        declares = parent.type in declarations and parent.named_children[0] == node
        if not declares:
            yield _text(node)


def _used_outputs(root: Node) -> Iterator[tuple[str, str]]:
    for node in _nodes(root):
        if node.type == "member_expression" and (
            found := re.fullmatch(r"(\w+)!?\.outputs\.(\w+)", _text(node))
        ):
            yield found[1], found[2]
