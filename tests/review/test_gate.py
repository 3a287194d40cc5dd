"""What is refused before an endpoint is reached: tokens, hosts, other sites, bodies that are too large, and values that
are none."""

import pytest
from fastapi.testclient import TestClient

from recam.review import gate
from recam.review.session import Session

TOKEN = "a-token-of-the-tests"
PATHS = [
    "",
    "main.js",
    "openapi.json",
    "api/run",
    "api/images",
    "api/thumbnails?images=0",
    "api/photos/0",
    "api/changes",
]
REFUSED = [
    {"origin": "http://127.0.0.1:3000"},
    {"origin": "https://example.org"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "ä"])
def test_without_the_token_everything_is_refused(only_reading, token, path):
    anybody = TestClient(only_reading, base_url="http://127.0.0.1")
    answer = anybody.get(f"/{token}/{path}")
    assert answer.status_code == 403
    assert "recam review" in answer.text
    assert anybody.post(f"/{token}/api/undo", json={"tab": "x"}).status_code == 403


def test_another_host_is_refused(only_reading):
    for host in ("example.org", "127.0.0.1.example.org", "example.org:8765"):
        assert TestClient(only_reading, base_url=f"http://{host}").get(f"/{TOKEN}/api/run").status_code == 403


@pytest.mark.parametrize(
    "path",
    ["../../../etc/passwd", "%2e%2e/app.py", "..%2f..%2fapp.py", "../app.py", "api/photos/..%2f..%2frun.json", "x.js"],
)
def test_no_path_leads_outside(reader, path):
    answer = reader.get(path)
    assert answer.status_code in (403, 404, 422)
    assert "import" not in answer.text


def test_requests_that_are_too_large(client, monkeypatch):
    monkeypatch.setattr(gate, "MAX_PHOTO", 10_000)
    monkeypatch.setattr(gate, "MAX_JSON", 1_000)
    assert client.post("api/try", content=b"x" * 10_001).status_code == 413
    assert client.post("api/try", content=(b"x" * 1000 for _ in range(20))).status_code == 413  # names no length
    assert client.post("api/try", content=b"x" * 10_000).status_code == 422
    for path in ("decisions", "undo", "recipe", "model", "export"):
        assert (
            client.post(f"api/{path}", content=b" " * 1_001, headers={"content-type": "application/json"}).status_code
            == 413
        )
    streamed = (b'{"tab":' + b" " * 1000 for _ in range(2))
    assert client.post("api/undo", content=streamed, headers={"content-type": "application/json"}).status_code == 413
    assert client.post("api/undo", headers={"content-length": "9" * 5000}).status_code == 413


def test_a_mask_is_bounded_by_the_size_of_its_image(client):
    """No more of the body is taken than the mask of 64×64 pixels has."""
    given = []

    def body():
        for _ in range(1000):
            given.append(1)
            yield bytes(1000)

    answer = client.post("api/masks/0?tab=one", content=body())
    assert answer.status_code == 413
    assert "64×64 pixels" in answer.json()["detail"]
    assert client.get("api/changes").json()["latest"] == 0


@pytest.mark.parametrize("headers", REFUSED, ids=str)
def test_other_sites_may_not_decide(client, session, headers):
    for path in ("decisions", "masks/0?tab=one", "undo", "recipe", "model", "export", "try"):
        assert (
            client.post(
                f"api/{path}", headers=headers, json={"tab": "one", "images": [0], "verdict": "rejected"}
            ).status_code
            == 403
        )
    assert client.get("api/changes", headers=headers).json()["latest"] == 0


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://127.0.0.1", "sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}],
    ids=str,
)
def test_the_page_itself_and_programs_may_decide(client, headers):
    answer = client.post("api/decisions", headers=headers, json={"tab": "one", "images": [0], "verdict": "rejected"})
    assert answer.status_code == 200


def test_every_answer_carries_the_headers_that_protect(only_reading, reader, monkeypatch):
    anybody = TestClient(
        only_reading, base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False
    )
    monkeypatch.setattr(Session, "about", lambda self: 1 / 0)
    answers = [
        (403, anybody.get("/wrong/api/run")),
        (307, anybody.get(f"/{TOKEN}")),
        (403, reader.post("api/undo", headers={"origin": "http://example.org"}, json={"tab": "one"})),
        (413, reader.post("api/undo", headers={"content-length": "99999999"})),
        (404, reader.get("none.js")),
        (422, reader.get("api/photos/x")),
        (500, reader.get("api/run")),
        (200, reader.get("")),
    ]
    for status, answer in answers:
        assert answer.status_code == status
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_thresholds_that_are_no_numbers(reader, number):
    for body in (
        f'{{"layer": "maps/cam/w", "threshold": {number}}}',
        f'{{"layer": "maps/cam/w", "threshold": 0.5, "class_thresholds": {{"cow": {number}}}}}',
    ):
        answer = reader.post("api/recipe", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert "threshold" in answer.json()["detail"][0]["msg"]
        assert "should be" in answer.json()["detail"][0]["msg"]


def test_half_a_surrogate_pair_can_be_refused(reader):
    for body in (r'{"tab": "one", "\ud800": 1}', r'{"tab": "\ud800"}'):
        assert reader.post("api/undo", content=body, headers={"content-type": "application/json"}).status_code == 422


def test_layers_at_full_size_are_few_at_once(reader):
    many = ",".join("0" * 17)
    assert reader.get(f"api/layers?layer=masks&images={many}").status_code == 200
    for side in (0, 4096):
        assert (
            "at most 16 at once at full size"
            in reader.get(f"api/layers?layer=masks&images={many}&side={side}").json()["detail"]
        )
