"""The server itself: when it prints its address, and how its connections send."""

import http.client
import socket
import subprocess
import sys
import urllib.parse

from recam.review.server import listen


def test_connections_send_at_once():
    """Without this, head and body of an answer wait for each other: 44 ms per request of a kept connection."""
    with listen(0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=20):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
                assert accepted.proto == socket.IPPROTO_TCP  # what asyncio goes by


def test_the_address_is_printed_when_it_can_be_opened(run):
    """The first try succeeds: nobody waits or tries again."""
    words = [sys.executable, "-m", "recam", "review", str(run), "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            address = urllib.parse.urlsplit(server.stdout.readline().strip())
            assert address.hostname == "127.0.0.1"
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            connection.request("GET", f"{address.path}api/changes")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            server.kill()
