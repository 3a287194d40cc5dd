"""Whether published weights can be had is known at once, whatever the site does."""

import http.server
import socket
import threading
import time

import pytest

from recam.errors import WeightsError
from recam.models import hub
from recam.models.encoders import load_encoder
from recam.models.weights import read_state


@pytest.fixture(autouse=True)
def _forget():
    asked = hub.site_answers
    asked.cache_clear()
    yield
    asked.cache_clear()


@pytest.fixture
def site(monkeypatch):
    """Any address of this machine as the site."""

    def at(port):
        monkeypatch.setattr(hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)

    return at


class Refuses(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(403)

    def log_message(self, *words):
        pass


def test_an_answer_of_any_kind_is_one(site):
    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site(server.server_port)
        assert hub.site_answers()
        server.shutdown()


def test_nobody_there(site):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site(port)
    assert not hub.site_answers()


def test_a_site_that_says_nothing_is_left_after_two_seconds(site):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        site(silent.getsockname()[1])
        start = time.monotonic()
        assert not hub.site_answers()
        assert time.monotonic() - start < 2.5


def test_nobody_is_asked_offline(site, monkeypatch):
    monkeypatch.setattr(hub, "_responds", lambda address: True)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not hub.site_answers()


def test_weights_of_the_cache_need_no_site(monkeypatch):
    asked = []

    def look(repository, file, revision):
        asked.append((repository, file))
        return "/cache/model.safetensors" if file == hub.FILES[0] else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", look)
    monkeypatch.setattr(hub, "site_answers", lambda: False)
    assert hub.can_download("tf_efficientnet_lite0")
    assert hub.can_download("resnet101")
    assert asked[0][0].startswith("timm/tf_efficientnet_lite0")
    assert not hub.can_download("no_such_network")


def test_weights_out_of_reach_are_refused_at_once_with_ways_out(monkeypatch):
    monkeypatch.setattr(hub, "site_answers", lambda: False)
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"does not answer\.\nThree ways out"):
        read_state("resnet50", "imagenet")
    with pytest.raises(WeightsError, match=r"does not answer\. Without network: give a local file"):
        load_encoder(None, "resnet101", "imagenet")
    assert time.monotonic() - start < 2
