"""Damage done to files: bytes, text, and JSON values, drawn from a generator so that each case can be made again."""

from __future__ import annotations

import copy
import json
import random
import struct
from typing import Any

NAMES = (
    "",
    "a\0b",
    "\udcff",
    "\ud800",
    "../../x",
    "/etc/passwd",
    "x" * 300,
    "a/" * 200,
    ".",
    "~nobody/x",
    "a\nb",
    "é",
    "e\u0301",
    "con\u202e",
)
VALUES: tuple[Any, ...] = (
    None, [], {}, "", "0", "nan", 0, 1, -1, 1.5, 255, 256, 2**31, 2**63, 10**40, 1e308, float("nan"), float("inf"),
    -0.0, True, False,
    [[]], [None], {"": None}, [0] * 50, "x" * 5000,
)  # fmt: skip
DEEP = 20_000
_DEEP_MARK = "deep-nesting-goes-here"
ENCODINGS = (
    "utf-7",
    "rot13",
    "hex",
    "idna",
    "punycode",
    "utf-16",
    "utf-32-be",
    "latin-1",
    "unknown-8",
    "x" * 60,
    "utf\0",
    "ascii",
    "cp037",
)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to three of: bits flipped, cut, bytes put in, taken out, doubled or zeroed, empty."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        size = len(content)
        start = rng.randrange(size + 1)
        end = min(size, start + rng.choice((1, 2, 4, 16, 64, 1000)))
        match rng.randrange(8):
            case 0 | 1:
                changed = bytearray(content)
                for _ in range(rng.choice((1, 1, 2, 8))):
                    if size:
                        changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
                content = bytes(changed)
            case 2:
                content = content[:start]
            case 3:
                content = content[:start] + rng.randbytes(end - start) + content[start:]
            case 4:
                content = content[:start] + content[end:]
            case 5:
                content = content[:end] + content[start:end] * rng.choice((1, 2, 50)) + content[end:]
            case 6:
                content = content[:start] + bytes(end - start) + content[end:]
            case 7:
                content = content[:start] + rng.choice((b"\xff" * 8, b"\0", b"\x7f\xff\xff\xff", b"")) + content[end:]
    return content


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """A word replaced by a strange one, lines swapped, another encoding, a byte-order mark, other ends of lines; or its
    bytes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return mutate_bytes(content, rng)
    match rng.randrange(9):
        case 0 | 1 | 2:
            marks = [place for place, sign in enumerate(text) if sign in "\n,;<>= \"'{}[]:"] or [0]
            start = rng.choice(marks)
            end = next((mark for mark in marks if mark > start), len(text))
            text = (
                text[: start + 1]
                + rng.choice((*NAMES, *map(str, VALUES[:20]), '"', "<!DOCTYPE a>", "&x;"))
                + text[end:]
            )
            return text.encode("utf-8", "surrogateescape" if "\ud800" not in text else "surrogatepass")
        case 3:
            return text.encode(rng.choice(("utf-16", "utf-16-be", "utf-32", "latin-1", "cp037")), "replace")
        case 4:
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\xef\xbb\xbf\xef\xbb\xbf")) + content
        case 5:
            lines = text.splitlines(keepends=True)
            rng.shuffle(lines)
            return "".join(lines[: rng.randrange(len(lines) + 1)] + lines).encode()
        case 6:
            return text.replace("\n", rng.choice(("\r", "\r\n", "\0", "\u2028", "\x0c", ""))).encode()
        case _:
            return mutate_bytes(content, rng)


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """A value, a key or an item of a JSON text replaced, left out or doubled; or its text."""
    if rng.random() < 0.3:
        return mutate_text(content, rng)
    return dump(mutate_tree(json.loads(content), rng), rng)


def mutate_lines(content: bytes, rng: random.Random) -> bytes:
    """`mutate_json` of one line of a file of JSON lines, or its text."""
    lines = content.split(b"\n")
    if rng.random() < 0.3:
        return mutate_text(content, rng)
    place = rng.randrange(len(lines) - 1)
    lines[place] = dump(mutate_tree(json.loads(lines[place]), rng), rng)
    return b"\n".join(lines)


def mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """A value of the head, or of our own JSON in it; or its bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    (length,) = struct.unpack("<Q", content[:8])
    head, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.8:
        head["__metadata__"]["recam"] = dump(mutate_tree(json.loads(head["__metadata__"]["recam"]), rng), rng).decode(
            "utf-8", "replace"
        )
    else:
        head = mutate_tree(head, rng)
    changed = dump(head, rng)
    return struct.pack("<Q", len(changed)) + changed + tensors


def mutate_xml(content: bytes, rng: random.Random) -> bytes:
    """A declared encoding that is wrong or does not exist, nesting without end, or its text."""
    if rng.random() < 0.3:
        return b'<?xml version="1.0" encoding="' + rng.choice(ENCODINGS).encode() + b'"?>' + content
    if rng.random() < 0.05:
        return b"<object>" * DEEP + content
    return mutate_text(content, rng)


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """A deep copy with one to three places changed."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return copy.deepcopy(rng.choice(VALUES))
        holder, key = rng.choice(places)
        match rng.randrange(10):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice((*NAMES, f"{key}s"))] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.extend([copy.deepcopy(holder[key])] * rng.choice((1, 2, 300)))
            case 3:
                holder[key] = [holder[key]]
            case 4:
                holder[key] = rng.choice(NAMES)
            case 5 if rng.random() < 0.3:
                holder[key] = _DEEP_MARK
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return tree if rng.random() > 0.03 else copy.deepcopy(rng.choice(VALUES))


def dump(tree: Any, rng: random.Random) -> bytes:
    """As JSON, in ASCII or not; NaN as Python writes it."""
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    text = text.replace(f'"{_DEEP_MARK}"', rng.choice(("[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP)))
    return text.encode("utf-8", "surrogatepass")


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)
