"""Changes that keep a format: of a source's tokens, of JSON values, of a protobuf message's fields."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\d.eE]*|\*\*=?|//=?|[<>=!]=|\n[ \t]*|[ \t]+|.", re.DOTALL)
_WORDS = (
    *[
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "(",
        ")",
        "[",
        "]",
        ",",
        ":",
        "=",
        "+=",
        "and",
        "or",
        "not",
        "if",
        "else",
        "for",
        "in",
        "while",
    ],
    *[
        "break",
        "continue",
        "pass",
        "return",
        "def",
        "import",
        "math",
        ".",
        "float",
        "int",
        "abs",
        "min",
        "max",
        "sum",
        "round",
        "range",
    ],
    *[
        "lambda",
        "True",
        "None",
        "0",
        "1",
        "-1",
        "0.5",
        "1e308",
        "9007199254740993",
        "1e999",
        "a",
        "b",
        "c",
        "x",
        "i",
    ],
    *(
        "\n",
        "\n    ",
        "\n        ",
        " ",
        "'",
        "#",
        "\\",
        ";",
        "@",
        "->",
        ":=",
        "~",
        "^",
        "\t",
        "\x00",
        "é",
    ),
)
_NUMBERS = (0, 1, -1, 2, 255, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**400, 0.5, 1e308, 1e-320)
_LEAVES = (*_NUMBERS, None, True, "", "0", "nan", "1e999", "é\x00", float("nan"), float("inf"))
_DEEP = 3000
_REAL = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))


def source(text: str, random: Random) -> str:
    """Return a text with a few of its tokens replaced, dropped, doubled, exchanged or nested."""
    tokens = _TOKEN.findall(text) or ["\n"]
    for _ in range(random.choice((1, 1, 2, 4))):
        at, other = random.randrange(len(tokens)), random.randrange(len(tokens))
        match random.randrange(12):
            case 7 | 8 | 9 | 10 | 11:
                _exchange(tokens, random)
            case 0:
                tokens[at] = random.choice(_WORDS)
            case 1:
                tokens[at] = tokens[other]
            case 2:
                tokens.insert(at, random.choice((*_WORDS, tokens[other])))
            case 3:
                tokens[at:at] = tokens[other : other + random.randint(1, 12)]
            case 4 if len(tokens) > 1:
                del tokens[at : at + random.choice((1, 1, 1, 3))]
            case 5:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case _:
                _nest(tokens, at, random)
        tokens = tokens or ["\n"]
    return "".join(tokens)


_ALIKE = (
    ["+", "-", "*", "/", "//", "%", "**"],
    ["<", "<=", ">", ">=", "==", "!="],
    ["+=", "-=", "*=", "/=", "//=", "%=", "**="],
    ["and", "or"],
    ["break", "continue", "pass"],
    ["min", "max", "sum"],
    ["abs", "int", "round", "float"],
    [
        "atan",
        "ceil",
        "cos",
        "exp",
        "expm1",
        "fabs",
        "floor",
        "log",
        "log10",
        "log1p",
        "log2",
        "sin",
        "sqrt",
        "tanh",
        "trunc",
    ],
    ["sort", "argsort", "reverse", "cumsum", "nonzero", "copy", "zeros", "ones", "arange"],
    [
        "mean",
        "any",
        "all",
        "argmin",
        "argmax",
        "len",
        "shape0",
        "shape1",
        "row_sums",
        "column_sums",
        "transpose",
        "flatten",
    ],
    ["minimum", "maximum", "take", "concat", "repeat", "column", "dot", "bincount"],
)
_RESERVED = frozenset(word for group in _ALIKE for word in group) | frozenset(_WORDS)


def _exchange(tokens: list[str], random: Random) -> None:
    """Replace one token by another of its sort, so that the text most often stays valid."""
    at = random.randrange(len(tokens))
    for at in random.sample(range(len(tokens)), min(len(tokens), 20)):
        if not tokens[at].isspace():
            break
    token = tokens[at]
    if token[0].isdigit():
        tokens[at] = random.choice(("0", "1", "2", "3", "7", "0.5", "1e-3", "1e200", "709.5", "16"))
        return
    groups = [group for group in _ALIKE if token in group]
    names = [each for each in tokens if each.isidentifier() and each not in _RESERVED]
    if groups:
        tokens[at] = random.choice(groups[0])
    elif token.isidentifier() and token not in _RESERVED and names:
        tokens[at] = random.choice(names)


def _nest(tokens: list[str], at: int, random: Random) -> None:
    """Repeat a piece so often that it meets the limits of depth and size."""
    count = random.choice((2, 10, 60, 150, 400))
    left, right = random.choice(
        (("(", ")"), ("-", ""), ("not ", ""), (f"{tokens[at]} and ", ""), (f"{tokens[at]} < ", ""),
         (f"{tokens[at]} + ", ""), (f"abs({tokens[at]} - ", ")"), (f"{tokens[at]} / b or ", ""),
         (f"{tokens[at]} if a else ", ""))
    )  # fmt: skip
    tokens[at] = left * count + tokens[at] + right * count


def value(root: Any, random: Random) -> Any:
    """Return JSON values with one of them replaced, dropped, doubled or wrapped; the root is changed."""
    holder = [root]
    places = list(_places(holder))
    inside, key = places[random.randrange(len(places))]
    match random.randrange(6):
        case 0 | 1:
            inside[key] = random.choice(_LEAVES)
        case 2:
            other, named = random.choice(places)
            inside[key] = other[named] if not isinstance(other[named], dict | list) else {}
        case 3:
            inside[key] = [inside[key]]
        case 4 if isinstance(inside, dict) or (inside is not holder and len(inside) > 1):
            del inside[key]
        case _:
            _stretch(inside, key, random)
    return holder[0]


def _places(holder: Any) -> Any:
    stack = [holder]
    while stack:
        inside = stack.pop()
        keys = inside if isinstance(inside, dict) else range(len(inside))
        for key in keys:
            yield inside, key
            if isinstance(inside[key], dict | list):
                stack.append(inside[key])


def _stretch(inside: Any, key: Any, random: Random) -> None:
    found = inside[key]
    if isinstance(found, list) and found:
        found.append(found[random.randrange(len(found))])
    elif isinstance(found, dict):
        found["more"] = random.choice(_LEAVES)
    elif isinstance(found, str):
        inside[key] = found * random.choice((0, 2, 300)) + random.choice(("", "\n", "\ud800", "/"))
    else:
        inside[key] = random.choice(_NUMBERS)


def json_bytes(data: bytes, random: Random) -> bytes:
    """Return JSON with one value changed; what is no JSON comes back as it is, or very deep."""
    if random.randrange(40) == 0:
        return b'{"a":' * _DEEP + b"1" + b"}" * _DEEP if random.random() < 0.5 else b"[" * _DEEP
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return json.dumps(value(found, random)).encode("utf-8", "surrogatepass")


def message(kind: type[Message], data: bytes, random: Random) -> bytes:
    """Return a serialised message with one field of one message in it changed."""
    try:
        root = kind.FromString(data)
    except DecodeError:
        return data
    every = [root, *_inside(root)]
    _change(random.choice(every), random)
    return root.SerializeToString(deterministic=True)


def _inside(root: Message) -> Any:
    for field, content in root.ListFields():
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        if _is_map(field):
            continue
        for part in content if _repeated(field) else [content]:
            yield part
            yield from _inside(part)


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == 3)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _change(part: Any, random: Random) -> None:
    fields = [each for each in part.DESCRIPTOR.fields if not _is_map(each)]
    if not fields:
        return
    field = random.choice(fields)
    if not _repeated(field):
        _set(part, field, random)
        return
    held = getattr(part, field.name)
    if len(held) and random.random() < 0.4:
        del held[random.randrange(len(held))]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        held.add().CopyFrom(random.choice(held)) if len(held) else held.add()
    elif len(held) and random.random() < 0.5:
        held[random.randrange(len(held))] = _scalar(field, random)
    else:
        held.extend([_scalar(field, random)] * random.choice((1, 1, 3, 40)))


def _set(part: Any, field: Any, random: Random) -> None:
    if random.random() < 0.2:
        part.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(part, field.name).SetInParent()
    else:
        found = getattr(part, field.name)
        setattr(part, field.name, _scalar(field, random, found))


def _scalar(field: Any, random: Random, found: Any = None) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            data = bytearray(found or b"")
            if data and random.random() < 0.6:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                return bytes(data)
            return bytes(data[: len(data) // 2]) + random.randbytes(
                random.choice((0, 1, 8, 16, 32))
            )
        case FieldDescriptor.CPPTYPE_STRING:
            text = found or ""
            return random.choice(
                ("", text + "x", text[:-1], text * 50, "é\n", "../" + text, "\x00")
            )
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return random.choice((*_REAL, (found or 0.0) + 1.0))
        case FieldDescriptor.CPPTYPE_FLOAT:
            return random.choice((0.0, 0.5, 1.0, -1.0, float("nan")))
        case FieldDescriptor.CPPTYPE_BOOL:
            return not found
        case FieldDescriptor.CPPTYPE_ENUM:
            return random.choice((0, 1, 2, 3, 4, 5, 6, 99))
        case FieldDescriptor.CPPTYPE_INT64:
            return random.choice((0, 1, -1, 2**53, 2**63 - 1, -(2**63), (found or 0) // 2))
        case FieldDescriptor.CPPTYPE_UINT64:
            return random.choice((0, 1, 2**53, 2**63, 2**64 - 1, (found or 0) // 2))
        case FieldDescriptor.CPPTYPE_INT32:
            return random.choice((0, 1, -1, 2**31 - 1, -(2**31)))
    return random.choice((0, 1, 2, 2**31, 2**32 - 1))
