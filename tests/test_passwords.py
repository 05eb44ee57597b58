"""Passwords: one hash at a time, a right one remembered, wrong ones slowed, and nobody locked out for good."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from piapi.errors import Invalid, TooManyRequests
from piapi.services import passwords as module
from piapi.services.attempts import FORGET_S, MOST_KNOWN, Attempts, Brake, network_of
from piapi.services.passwords import COST, REMEMBER_S, Passwords
from tests.fakes import FakeClock
from tests.people import CHEAP, PASSWORD, House
from tests.service import ROOT

HERE, THERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.users.create("anna", PASSWORD, role="viewer", by="console")
    yield house
    house.database.close()


# Hashes ---------------------------------------------------------------------------------------------------------------


def test_a_hash_names_its_cost_and_has_a_salt_of_its_own(clock: FakeClock) -> None:
    passwords = Passwords(clock)
    stored = passwords.hash(PASSWORD)
    assert stored.startswith("scrypt$16384$8$5$") and COST == (2**14, 8, 5)
    assert stored != passwords.hash(PASSWORD) and PASSWORD not in stored
    assert passwords.is_right(PASSWORD, stored)
    assert not passwords.is_right(PASSWORD + "x", stored)


def test_a_hash_of_another_cost_is_still_known(clock: FakeClock) -> None:
    assert Passwords(clock).is_right(PASSWORD, Passwords(clock, cost=CHEAP).hash(PASSWORD))


def test_nobodys_password_takes_the_same_hash_and_is_never_right(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(module.hashlib, "scrypt", lambda password, **cost: asked.append(cost) or bytes(64))
    passwords = Passwords(clock)
    stored = passwords.hash(PASSWORD)
    assert not passwords.is_right(PASSWORD, None)  # though the digest, all zeros, fits
    passwords.is_right(PASSWORD, stored)
    assert [{**cost, "salt": 0} for cost in asked] == [{**asked[0], "salt": 0}] * 3


def test_an_accent_may_be_typed_in_one_or_two_characters(clock: FakeClock) -> None:
    passwords = Passwords(clock, cost=CHEAP)
    assert passwords.is_right("caf\u00e9 au lait", passwords.hash("cafe\u0301 au lait"))


MANY_THREADS = """
import re, threading
from pathlib import Path
from piapi.clock import SystemClock
from piapi.services.passwords import Passwords

passwords, kept = Passwords(SystemClock(), cost=(2**14, 8, 1)), []
turns = [threading.Semaphore(0) for _ in range(17)]

def rss_kb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def hash_at_each_turn(number):
    for _ in range(3):
        turns[number].acquire()
        passwords.hash("wrong")
        kept.append(bytes(3000))  # other things of the same thread lie about
        turns[number + 1].release()

for number in range(16):
    threading.Thread(target=hash_at_each_turn, args=[number], daemon=True).start()
before = rss_kb()
for _ in range(3):
    turns[0].release()
    turns[16].acquire()
print(rss_kb() - before)
"""


def test_hashes_on_many_threads_leave_no_memory_taken() -> None:
    """As those of a flood, which lasts: a thread of the pool after the other."""
    command = [sys.executable, "-c", MANY_THREADS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20 * 1024, f"{done.stdout.strip()} kB"


def test_one_password_is_hashed_and_one_waits_and_the_rest_are_refused(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, at_once, most = threading.Semaphore(0), threading.Event(), 0, 0

    def slow(*_: object, **__: object) -> bytes:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        begun.release()
        assert go_on.wait(30)
        at_once -= 1
        return bytes(64)

    monkeypatch.setattr(module.hashlib, "scrypt", slow)
    passwords = Passwords(clock)
    refused: list[int] = []
    done = threading.Semaphore(0)

    def attempt() -> None:
        try:
            passwords.is_right(PASSWORD, None)
        except TooManyRequests as error:
            refused.append(error.retry_after_s)
        finally:
            done.release()

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=30)
    for _ in range(18):  # all but the one that is hashed and the one that waits
        assert done.acquire(timeout=30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 18 and min(refused) >= 1 and most == 1
    assert not passwords.is_right(PASSWORD, None)  # places are free again


def test_a_right_password_is_remembered_for_five_minutes_and_only_as_a_keyed_hash(clock: FakeClock) -> None:
    passwords = Passwords(clock, cost=CHEAP)
    stored = passwords.hash(PASSWORD)
    assert not passwords.is_remembered(PASSWORD, stored)
    passwords.remember(PASSWORD, stored)
    assert passwords.is_remembered(PASSWORD, stored) and not passwords.is_remembered("wrong horse", stored)
    assert not passwords.is_remembered(PASSWORD, passwords.hash(PASSWORD))
    assert PASSWORD not in repr(vars(passwords))
    clock.advance(REMEMBER_S)
    assert not passwords.is_remembered(PASSWORD, stored)


def test_no_more_than_a_hundred_are_remembered(clock: FakeClock) -> None:
    passwords = Passwords(clock, cost=CHEAP)
    for number in range(300):
        passwords.remember(PASSWORD, str(number))
    assert len(passwords._remembered) == 100 and passwords.is_remembered(PASSWORD, "299")


# Slowing --------------------------------------------------------------------------------------------------------------


def test_the_first_few_cost_nothing_and_then_the_waits_double_up_to_a_bound(clock: FakeClock) -> None:
    brake, waits = Brake(clock, free=3, longest_s=10), []
    for _ in range(8):
        brake.failed("x")
        waits.append(brake.wait_s("x"))
        clock.advance(brake.wait_s("x"))
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10]
    assert brake.wait_s("y") == 0


def test_a_brake_forgets_with_time_and_after_success(clock: FakeClock) -> None:
    brake = Brake(clock, free=1, longest_s=100)
    brake.failed("x")
    brake.failed("x")
    assert brake.wait_s("x") == 2
    clock.advance(FORGET_S + 1)
    brake.failed("x")
    assert brake.wait_s("x") == 1
    brake.forget("x")
    assert brake.wait_s("x") == 0


def test_the_wall_clock_shortens_no_wait(clock: FakeClock) -> None:
    brake = Brake(clock, free=1, longest_s=100)
    brake.failed("x")
    clock.jump(86_400)
    assert brake.wait_s("x") == 1


def test_memory_is_bounded_whatever_names_and_addresses_come(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    for number in range(MOST_KNOWN * 2):
        attempts.failed(f"user{number}{'x' * 8000}", f"10.{number >> 8 & 255}.{number & 255}.1")
        attempts.succeeded(f"user{number}", f"10.{number >> 8 & 255}.{number & 255}.2")
    for known in (attempts._pairs, attempts._addresses, attempts._accounts, attempts._welcome):
        assert len(known) == MOST_KNOWN
    assert max(map(len, attempts._pairs._known)) < 100


def test_an_attacker_slows_themselves_and_not_the_owner_elsewhere(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    for _ in range(10):
        attempts.failed("anna", THERE)
    with pytest.raises(TooManyRequests) as refused:
        attempts.check("ANNA", THERE)
    assert 16 <= refused.value.retry_after_s <= 300
    attempts.check("anna", HERE)


def test_many_addresses_cannot_keep_the_owner_out(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    attempts.succeeded("anna", HERE)
    for number in range(1000):
        attempts.failed("anna", f"10.0.{number >> 8}.{number & 255}")
    attempts.check("anna", HERE)  # known from before: does not wait for the others
    with pytest.raises(TooManyRequests) as refused:
        attempts.check("anna", THERE)
    assert refused.value.retry_after_s <= 5


def test_an_address_that_tries_many_accounts_is_slowed_and_does_not_free_itself_by_its_own(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    for number in range(20):
        attempts.failed(f"user{number}", THERE)
    attempts.succeeded("mallory", THERE)
    with pytest.raises(TooManyRequests):
        attempts.check("somebody", THERE)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_what_a_client_can_choose_at_will_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network


# Together -------------------------------------------------------------------------------------------------------------


def test_wrong_passwords_are_slowed_and_the_right_one_passes_after_the_wait(house: House) -> None:
    for _ in range(5):
        assert house.users.authenticate("anna", "wrong horse", HERE) is None
    with pytest.raises(TooManyRequests) as refused:
        house.users.authenticate("anna", PASSWORD, HERE)
    house.clock.advance(refused.value.retry_after_s)
    caller = house.users.authenticate("anna", PASSWORD, HERE)
    assert caller is not None and caller.actor == "user:anna"
    house.events.write_counts()
    assert house.journal().count("auth.failed") == 1, "five of them are one entry"


def test_an_unknown_user_is_slowed_as_a_known_one(house: House) -> None:
    for _ in range(5):
        assert house.users.authenticate("nobody", "wrong horse", HERE) is None
    with pytest.raises(TooManyRequests):
        house.users.authenticate("nobody", "wrong horse", HERE)


def test_a_remembered_password_passes_while_an_attacker_at_the_same_address_waits(house: House) -> None:
    assert house.users.authenticate("anna", PASSWORD, HERE)
    for _ in range(5):
        house.users.authenticate("anna", "wrong horse", HERE)
    with pytest.raises(TooManyRequests):
        house.users.authenticate("anna", "wrong horse", HERE)
    assert house.users.authenticate("anna", PASSWORD, HERE)


def test_a_remembered_password_is_forgotten_when_the_command_line_changes_it(house: House) -> None:
    assert house.users.authenticate("anna", PASSWORD, HERE)
    house.beside().change("anna", password="another horse", by="console")
    assert house.users.authenticate("anna", PASSWORD, HERE) is None
    assert house.users.authenticate("anna", "another horse", HERE)
    house.beside().remove("anna", by="console")
    assert house.users.authenticate("anna", "another horse", HERE) is None


def test_a_user_made_anew_is_another_one(house: House) -> None:
    caller = house.users.authenticate("anna", PASSWORD, HERE)
    assert caller is not None and house.sessions.access_of(caller) == ("*:*:view",)
    house.users.remove("anna", by="console")
    house.users.create("anna", PASSWORD, role="admin", by="console")
    assert house.sessions.access_of(caller) is None


def test_neither_password_nor_hash_is_in_the_journal_or_a_caller(house: House) -> None:
    house.users.change("anna", password="another horse", by="console")
    caller = house.users.authenticate("anna", "another horse", HERE)
    house.users.authenticate("another horse", "anna", HERE)  # typed into the wrong field
    told = repr([tuple(row) for row in house.database.read("SELECT * FROM events")]) + repr(caller)
    assert "horse" not in told and "scrypt" not in told and "proof" not in told


@pytest.mark.parametrize("name", ["", "a" * 41, "1a", "a b", "a/b", "ä", "a\n", "token", "TOKEN", "-a"])
def test_a_wrong_name_is_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid):
        house.users.create(name, PASSWORD, role="viewer", by="console")


@pytest.mark.parametrize("password", ["", "1234567", "x" * 129])
def test_a_password_of_a_wrong_length_is_refused(house: House, password: str) -> None:
    with pytest.raises(Invalid):
        house.users.create("bert", password, role="viewer", by="console")
    with pytest.raises(Invalid):
        house.users.change("anna", password=password, by="console")
