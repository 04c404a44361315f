"""Ways to damage a document: each takes a random generator and bytes, and gives other bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

Mutation = Callable[[random.Random, bytes], bytes]

JUNK = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\x1a", b"\x85", b"\xc0\xaf", b"\xed\xa0\x80",
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"1e999", b"-1e999", b"9" * 25, b"9" * 400, b"-0", b"0x10",
    b"1_000", b"+5", b"1e5", b"null", b"true", b"{}", b"[]", b'""', b"[[", b"]]", b"}{", b'\\ud800', b"\\u0000", b"'",
    b'"', b";", b";;", b",", b":", b"|", b"../", b"..\\", b"%2e%2e/", b"<a href=", b"</a>", b"<", b"&#0;", b"&lt;",
    b"!!python/object:x", b"!!timestamp x", b"!!bool x", b"!!int ''", b"*a", b"&a", b"<<: ", b"eor", b"-999",
    b"2024-02-30", b"00000000", b"99991231", b"20240101", b"9999123123", b"   ", b"\t", b"\xc2\xa0", b"${HOME}",
    b"--- ", b"#",
]  # fmt: skip


def flip(rng: random.Random, data: bytes) -> bytes:
    """A few bytes become others."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    """The end is gone."""
    return data[: rng.randrange(len(data) + 1)]


def remove(rng: random.Random, data: bytes) -> bytes:
    """A piece in the middle is gone."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice([1, 1, 3, 40]) :]


def insert(rng: random.Random, data: bytes) -> bytes:
    """Something that does not belong there."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(JUNK) * rng.choice([1, 1, 1, 3]) + data[at:]


def replace_word(rng: random.Random, data: bytes) -> bytes:
    """A number, word or text becomes junk."""
    ends = [n for n, byte in enumerate(data) if byte in b',:;[]{}"\n =<>|']
    if len(ends) < 2:
        return insert(rng, data)
    at = rng.randrange(len(ends) - 1)
    return data[: ends[at] + 1] + rng.choice(JUNK) + data[ends[at + 1] :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A piece comes again, as with a doubled line or key."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 2 and rng.random() < 0.7:
        at = rng.randrange(len(lines))
        return b"".join([*lines[: at + 1], *[lines[at]] * rng.choice([1, 2, 20]), *lines[at + 1 :]])
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice([5, 40, 200])]
    return data[:start] + piece + data[start:]


def shuffle(rng: random.Random, data: bytes) -> bytes:
    """Lines in another order."""
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def nest(rng: random.Random, data: bytes) -> bytes:
    """Brackets, many of them."""
    depth = rng.choice([100, 300, 2000, 20_000])
    opening, closing = rng.choice(
        [(b"[", b"]"), (b'{"a":', b"}"), (b"{a: ", b"}"), (b"<a ", b""), (b"<a href=x>", b"")]
    )
    at = rng.randrange(len(data) + 1)
    return data[:at] + opening * depth + closing * rng.choice([depth, 0]) + data[at:]


def encode(rng: random.Random, data: bytes) -> bytes:
    """The same text in another encoding or with other line ends."""
    text = data.decode("latin-1")
    return rng.choice(
        [
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-32"),
            lambda: b"\xef\xbb\xbf" + data,
            lambda: text.encode("utf-8"),
            lambda: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            lambda: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
            lambda: data.replace(b"e", b"\xe9"),
            lambda: data.upper(),
        ]
    )()


def junk_only(rng: random.Random, data: bytes) -> bytes:
    """Nothing of the document."""
    return rng.choice([b"", b" ", rng.choice(JUNK), rng.randbytes(rng.choice([1, 20, 300])), rng.choice(JUNK) * 1000])


MUTATIONS: list[Mutation] = [
    flip, flip, cut, remove, insert, insert, replace_word, replace_word, replace_word, repeat, repeat, shuffle, nest,
    encode, junk_only,
]  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    """One to three mutations, now and then none: a sound document must stay accepted."""
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        data = rng.choice(MUTATIONS)(rng, data)
    return data
