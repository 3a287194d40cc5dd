"""A review of a copy of the tiny run, with and without a server in between."""

import os
import shutil

import pytest
from fastapi.testclient import TestClient

from recam.review.app import make_app
from recam.review.layers import ReviewedRun
from recam.review.session import Session

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="session")
def reviewed_run(tiny_run, tmp_path_factory):
    """A copy of the tiny run with an index, as it stands after a first start. Never write into it."""
    root = shutil.copytree(tiny_run, tmp_path_factory.mktemp("reviewed") / "run", symlinks=True)
    Session(ReviewedRun(root), quiet=True)
    return root


@pytest.fixture
def run(reviewed_run, tmp_path):
    """To change as one likes, but by new files: they are hard links, since the weights are large."""
    return shutil.copytree(reviewed_run, tmp_path / "run", symlinks=True, copy_function=os.link)


@pytest.fixture
def session(run):
    return Session(ReviewedRun(run), quiet=True)


@pytest.fixture(scope="session")
def only_reading(reviewed_run):
    """The endpoints of a run that no test changes."""
    return make_app(Session(ReviewedRun(reviewed_run), quiet=True), TOKEN)


@pytest.fixture(scope="session")
def reader(only_reading):
    """Talks to the endpoints of a run that no test changes."""
    return TestClient(only_reading, base_url=f"http://127.0.0.1/{TOKEN}", raise_server_exceptions=False)


@pytest.fixture
def client(session):
    """Talks to the endpoints, with the token in its address."""
    return TestClient(make_app(session, TOKEN), base_url=f"http://127.0.0.1/{TOKEN}", raise_server_exceptions=False)
