from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from fastproxy.settings.options import EntryPoint, Settings
from fastproxy.system.listeners import ListenError, open_listeners, refuse_handshakes


def settings(**addresses: str) -> Settings:
    return Settings(entry_points={name: EntryPoint(a) for name, a in addresses.items()})


def test_one_socket_for_each_worker_and_entry_point() -> None:
    bound, rows = open_listeners(settings(b="127.0.0.1:0", a="127.0.0.1:0"), 3)
    ports = [[(index, s.getsockname()[1]) for index, s in row] for row in rows]
    expected = [(0, bound.entry_points["a"].port), (1, bound.entry_points["b"].port)]
    assert ports == [expected] * 3
    assert 0 not in (bound.entry_points["a"].port, bound.entry_points["b"].port)
    for row in rows:
        for _, listener in row:
            listener.close()


FAMILIES = [(":0", ["127.0.0.1", "::1"]), ("[::]:0", ["127.0.0.1", "::1"]), ("[::1]:0", ["::1"])]


@pytest.mark.parametrize(("address", "clients"), FAMILIES)
def test_both_families(address: str, clients: list[str]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    bound, rows = open_listeners(settings(http=address), 1)
    (_, listener), *_ = rows[0]
    with listener:
        listener.setblocking(True)
        for client in clients:
            with socket.create_connection((client, bound.entry_points["http"].port), 5):
                listener.accept()[0].close()


def test_a_port_in_use_is_refused_even_when_it_could_be_shared() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as caught:
            open_listeners(settings(web=f"127.0.0.1:{port}"), 2)
    assert str(caught.value) == (
        f"entry point 'web' cannot listen on 127.0.0.1:{port}: another program listens there;"
        " stop it or choose another port"
    )


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match="does not have that address"):
        open_listeners(settings(web="203.0.113.1:8080"), 1)


def test_deferred_accept() -> None:
    point = replace(EntryPoint("127.0.0.1:0"), defer_accept=True)
    _, rows = open_listeners(Settings(entry_points={"http": point}), 1)
    with rows[0][0][1] as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) > 0


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_a_deaf_listener_keeps_what_is_queued_and_refuses_the_rest(address: str) -> None:
    try:
        bound, rows = open_listeners(settings(http=address), 1)
    except ListenError:
        pytest.skip("this machine has no IPv6")
    (_, listener), *_ = rows[0]
    place = (bound.entry_points["http"].host, bound.entry_points["http"].port)
    with listener, socket.create_connection(place, 5) as queued:
        refuse_handshakes(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(place, 0.2)
        queued.sendall(b"hello")
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(5) == b"hello"
        with pytest.raises(BlockingIOError):
            listener.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, 5)
