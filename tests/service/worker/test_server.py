"""Connections at the end of a service."""

import socket

import pytest

from service.worker.server import accept_no_more


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_asks_for_a_connection_at_the_last_moment_is_refused_and_not_reset(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as late:
        try:
            listener.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as early:
            accept_no_more(listener)
            late.settimeout(0.2)
            with pytest.raises(TimeoutError):
                late.connect(listener.getsockname())
            early.sendall(b"asked")
            accepted, _ = listener.accept()
            with accepted:
                listener.close()
                assert accepted.recv(5) == b"asked"
                accepted.sendall(b"answered")
                assert early.recv(8) == b"answered"
