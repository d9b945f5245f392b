"""Basic authentication: hashes, answers, the executor, what is remembered."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import threading
import time

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.features.auth import Auth, Basic, passwords
from fastproxy.features.auth import basic as module
from fastproxy.features.auth.basic import BasicAuth, Checker
from fastproxy.features.auth.passwords import kind_of, md5_crypt, verify
from fastproxy.model.reply import Reply, plain
from tests.support.exchange import MemoryExchange, run

SALT = b"abcdefghijklmnopqrstuu"  # the same in every run: hashes are part of tests' names
BCRYPT = bcrypt.hashpw(b"secret", b"$2b$04$" + SALT)
STORED = [
    (b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", b"secret"),
    (b"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", b"secret"),
    (b"$1$xy$.zlXiWjR/ANa0c3.B3uWb0", b"p w"),
    *[(BCRYPT.replace(b"$2b$", kind), b"secret") for kind in (b"$2a$", b"$2b$", b"$2x$", b"$2y$")],
    (bcrypt.hashpw(b"x" * 72, b"$2b$04$" + SALT), b"x" * 80),
]


@pytest.mark.parametrize(("stored", "password"), STORED)
def test_right_and_wrong_passwords(stored, password):
    assert verify(password, stored)
    assert not verify(password[:-9] + b"?", stored)
    assert not verify(b"", stored)


NEVER = [b"secret", b"", b"$secret", b"$6$salt$hash", b"{SHA}", b"$2y$bad", b"$1$", b"{SSHA}x"]


@pytest.mark.parametrize("stored", NEVER)
def test_hashes_nobody_understands_never_match(stored):
    assert not verify(b"secret", stored)
    assert not verify(stored, stored)


def test_endless_passwords_are_refused():
    long = b"x" * 1025
    assert not verify(long, md5_crypt(long, b"salt", b"$1$"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="compares with openssl passwd")
@settings(max_examples=10, deadline=None)
@given(st.text("abcXYZ 019$", min_size=1, max_size=40), st.sampled_from(["1", "apr1"]))
def test_md5_crypt_agrees_with_openssl(password, kind):
    command = ["openssl", "passwd", f"-{kind}", "-salt", "s4lt", "-stdin"]
    found = subprocess.run(command, input=password.encode(), capture_output=True, check=True)
    assert md5_crypt(password.encode(), b"s4lt", f"${kind}$".encode()) == found.stdout.strip()


USERS = Basic(
    (
        (b"ann", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        (b"bob", b"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
        (b"joe", BCRYPT),
        (b"", b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
    )
)


def header(text, scheme="Basic"):
    return [("Authorization", f"{scheme} {base64.b64encode(text.encode()).decode()}")]


REFUSED = Reply(
    401,
    b"401 Unauthorized\n",
    [("Content-Type", "text/plain"), ("WWW-Authenticate", 'Basic realm="traefik"')],
)
ANSWERS = [
    ([], REFUSED),
    (header("ann:secret"), None),
    (header("bob:secret"), None),
    (header("joe:secret"), None),
    (header("ann:wrong"), REFUSED),
    (header("bob:wrong"), REFUSED),
    (header("joe:wrong"), REFUSED),
    (header("eve:secret"), REFUSED),
    (header(":secret"), REFUSED),
    (header("ann"), REFUSED),
    (header("ann:secret", "basic"), REFUSED),
    ([("Authorization", "Basic ????")], REFUSED),
    ([("Authorization", "Basic")], REFUSED),
    (header("ann:secret:more"), REFUSED),
]


@pytest.mark.parametrize(("headers", "answer"), ANSWERS)
def test_answers(headers, answer):
    exchange = MemoryExchange(headers=headers)
    assert run(BasicAuth(Auth(USERS)).on_request(exchange)) == answer
    assert bool(exchange.user) is (answer is None)


def test_the_user_is_told_and_the_credentials_are_kept_back():
    headers = [*header("bob:secret"), ("x-user", "root"), ("X_USER", "root")]
    exchange = MemoryExchange(headers=headers)
    assert run(BasicAuth(Auth(USERS, "X-User", True)).on_request(exchange)) is None
    assert exchange.items() == [("X-User", "bob")]
    assert exchange.user == "bob"


class Counting(Checker):
    def __init__(self, **options):
        super().__init__(**options)
        self.calls = 0

    def check(self, password, stored, others):
        self.calls += 1
        return super().check(password, stored, others)


async def ask(live, text):
    found = live.on_request(MemoryExchange(headers=header(text)))
    return await found if asyncio.iscoroutine(found) else found


def test_right_credentials_are_checked_once_and_wrong_ones_every_time():
    checker = Counting()
    live = BasicAuth(Auth(USERS), checker)

    async def scenario():
        assert await asyncio.gather(*(ask(live, "bob:secret") for _ in range(5))) == [None] * 5
        assert checker.calls == 1
        assert live.on_request(MemoryExchange(headers=header("bob:secret"))) is None
        assert [await ask(live, "bob:wrong") for _ in range(2)] == [REFUSED] * 2
        assert checker.calls == 3

    asyncio.run(scenario())


def test_unknown_users_cost_a_check_too():
    checker = Counting()
    live = BasicAuth(Auth(Basic(((b"bob", BCRYPT),))), checker)
    assert asyncio.run(ask(live, "eve:secret")) == REFUSED
    assert checker.calls == 1


SHA = b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
APR = b"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
DEAR = bcrypt.hashpw(b"secret", b"$2b$06$" + SALT)
TOO_DEAR = b"$2y$18$" + BCRYPT[7:]
# the hashes of a file, and the kinds a failed check of anybody costs
FILES = [
    ([SHA], [0]),
    ([APR], [1]),
    ([BCRYPT], [4]),
    ([SHA, SHA, APR, BCRYPT, DEAR, BCRYPT], [0, 1, 4, 6]),
    ([BCRYPT, DEAR], [4, 6]),
    ([DEAR, BCRYPT], [4, 6]),
    ([SHA, b"plain text"], [0]),
    ([APR, b"$2y$10$cut"], [1]),
    ([BCRYPT, TOO_DEAR], [4]),
    ([BCRYPT, BCRYPT + b"x", BCRYPT[:28] + b"z" + BCRYPT[29:]], [4]),
    ([b"plain text"], []),
    ([], []),
]


@pytest.mark.parametrize(("hashes", "kinds"), FILES)
def test_whoever_is_refused_costs_one_check_of_every_kind(monkeypatch, hashes, kinds):
    """So the time says nothing about whether a user exists."""
    checked = []

    def counted(password, stored, verify=verify):
        checked.append(kind_of(stored))
        return verify(password, stored)

    for place in (module, passwords):
        monkeypatch.setattr(place, "verify", counted)
    users = tuple((f"user{number}".encode(), stored) for number, stored in enumerate(hashes))
    live = BasicAuth(Auth(Basic(users)), Checker())
    for name in ["nobody", "", *(name.decode() for name, _ in users)]:
        checked.clear()
        assert asyncio.run(ask(live, f"{name}:wrong")) == REFUSED
        assert sorted(checked) == kinds, name


@pytest.mark.alone
def test_the_time_does_not_tell_who_exists():
    hashes = {
        "sha": SHA,
        "apr": APR,
        "cheap": BCRYPT,
        "dear": bcrypt.hashpw(b"secret", bcrypt.gensalt(9)),
        "plain": b"secret",
    }
    users = tuple((name.encode(), stored) for name, stored in hashes.items())
    live = BasicAuth(Auth(Basic(users)), Checker())
    least: dict[str, float] = {}
    for _ in range(5):  # the least of several is what the work takes
        for name in [*hashes, "nobody"]:
            started = time.process_time()  # of all threads; a busy machine does not count
            assert asyncio.run(ask(live, f"{name}:wrong")) == REFUSED
            took = time.process_time() - started
            least[name] = min(least.get(name, took), took)
    assert max(least.values()) < 2 * min(least.values()), least


@pytest.mark.parametrize("own", [SHA, APR, BCRYPT, DEAR])
def test_right_passwords_of_every_kind_are_right_beside_others(own):
    users = (("cheap", SHA), ("apr", APR), ("slow", BCRYPT), ("dear", DEAR), ("ann", own))
    live = BasicAuth(Auth(Basic(tuple((name.encode(), stored) for name, stored in users))))
    assert [asyncio.run(ask(live, "ann:secret")) for _ in range(2)] == [None, None]


def test_of_equal_users_the_last_counts_also_when_nobody_can_be_him():
    live = BasicAuth(Auth(Basic(((b"ann", SHA), (b"ann", b"plain text")))))
    assert asyncio.run(ask(live, "ann:secret")) == REFUSED


def test_a_full_queue_answers_503(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(passwords, "verify", lambda password, stored: gate.wait(10))
    live = BasicAuth(Auth(USERS), Checker(threads=1, waiting=2))

    async def scenario():
        waiting = [asyncio.ensure_future(ask(live, f"bob:{i}")) for i in range(2)]
        await asyncio.sleep(0)
        assert await ask(live, "bob:3") == plain(503)
        gate.set()
        assert await asyncio.gather(*waiting) == [None, None]
        assert await ask(live, "bob:4") is None

    asyncio.run(scenario())


def test_a_client_that_goes_away_takes_nothing_from_the_others(monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(passwords, "verify", lambda password, stored: gate.wait(10))
    live = BasicAuth(Auth(USERS))

    async def scenario():
        first = asyncio.ensure_future(ask(live, "bob:secret"))
        second = asyncio.ensure_future(ask(live, "bob:secret"))
        await asyncio.sleep(0)
        first.cancel()
        gate.set()
        assert await second is None

    asyncio.run(scenario())


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    monkeypatch.setattr(passwords, "verify", lambda password, stored: True)
    live = BasicAuth(Auth(USERS))

    async def scenario():
        for number in range(10):
            assert await ask(live, f"bob:{number}") is None

    asyncio.run(scenario())
    assert len(live._remembered) == 3
