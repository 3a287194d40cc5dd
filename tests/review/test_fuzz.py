"""Every endpoint with what nobody would send: always an answer of ours, never a failure of the server."""

import json
import random

import numpy as np
import pytest

from recam.review.judged import jpeg

SEED, CASES = 7, 400
WORDS = [
    "",
    "masks",
    "maps/cam/w",
    "model",
    "predictions/pseudo",
    "truth",
    "corrected",
    "../..",
    "/etc/passwd",
    "cow",
    "one",
    "NaN",
    "accepted",
    "open",
    "copy",
]
WORDS += [
    "\x00",
    "ä",
    "💥",
    "\ud800",
    "a" * 5000,
    "__proto__",
    "<img src=x onerror=alert(1)>",
    "=cmd|'/c calc'!A1",
    "0,1",
    "%2e%2e",
]
NUMBERS = [0, 1, -1, 15, 16, 0.5, 1.5, -0.0, 1e308, 10**30, float("nan"), float("inf"), True, None]
FIELDS = [
    "tab",
    "images",
    "verdict",
    "layer",
    "threshold",
    "class_thresholds",
    "labels",
    "name",
    "photos",
    "everything",
    "n",
    "set",
    "ids",
]
GETS = ["run", "images", "thumbnails", "layers", "photos/{}", "counts", "changes", "", "../app.py"]
POSTS = ["decisions", "decisions/together", "masks/{}", "undo", "redo", "recipe", "export", "try"]
RAW = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'"',
    b"\xff\xfe",
    b"[" * 30_000,
    b'{"a":' * 30_000,
    b"1" * 6000,
    b"\x00",
    b'{"tab": "\\ud800"}',
    b"NaN",
]


def value(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.4:
        return rng.choice(WORDS)
    if kind < 0.7:
        return rng.choice(NUMBERS)
    if kind < 0.85:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice([*FIELDS, *WORDS]): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def body(rng):
    """Half of them right but for one field, so that they come through to what comes after the checks."""
    right = {"tab": "one", "images": [0], "verdict": "rejected", "layer": "maps/cam/w", "threshold": 0.5}
    if rng.random() < 0.5:
        wish = {name: found for name, found in right.items() if rng.random() < 0.8} | {rng.choice(FIELDS): value(rng)}
        return json.dumps(wish).encode()
    return rng.choice([*RAW, json.dumps(value(rng)).encode(), rng.randbytes(rng.choice([1, 100, 4096, 4097]))])


def spoiled_photo(rng, photo):
    spoiled = bytearray(photo)
    for _ in range(rng.randrange(1, 6)):
        spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
    return bytes(spoiled[: rng.randrange(len(spoiled))] if rng.random() < 0.3 else spoiled)


def ask(client, rng, photo):
    number = rng.choice([*range(4), 16, -1, 10**25, "x", "0x1", "%00", "1.5", ""])
    given = {
        name: rng.choice([*WORDS, *NUMBERS])
        for name in ("images", "layer", "side", "since", "tab")
        if rng.random() < 0.7
    }
    params = {name: str(found).encode("utf-8", "surrogatepass") for name, found in given.items()}
    if rng.random() < 0.4:
        return client.get(f"api/{rng.choice(GETS).format(number)}", params=params)
    path = rng.choice(POSTS)
    content = spoiled_photo(rng, photo) if path == "try" else body(rng)
    kind = rng.choice(
        ["application/json", "application/octet-stream", "text/plain", "multipart/form-data; boundary=x", "nonsense"]
    )
    return client.post(f"api/{path.format(number)}", params=params, content=content, headers={"content-type": kind})


@pytest.mark.parametrize("part", range(4))
def test_no_request_makes_the_server_fail(client, session, part):
    """Seeded; of each answer the status is one of ours, and what is refused says why."""
    rng = random.Random(SEED + part)
    photo = jpeg(np.random.default_rng(part).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    statuses = set()
    for case in range(CASES // 4):
        answer = ask(client, rng, photo)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (
            f"part {part}, case {case}: {answer.request.method} {answer.request.url} {answer.text[:300]}"
        )
        if answer.status_code >= 400:
            assert answer.json()["detail"]
    assert {200, 404, 422} <= statuses
    # What came through is a log that reads back.
    again = type(session.decisions)(session.run.review)
    assert again.decided() == session.decisions.decided()
    assert again.damaged == 0
