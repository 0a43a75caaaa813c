"""Who is locked out, and how to let them in again: for people, who ask rarely.

database.open()
for each in lockouts(database, limits, time.time()): ...
forget(database, address="192.0.2.1")
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from gatepost.state.database import Database
from gatepost.state.subjects import Kind, LoginLimits, named, places_of, window

__all__ = ["Lockout", "forget", "lockouts"]


@dataclass(frozen=True, slots=True)
class Lockout:
    """Somebody of whom logins failed.

    Args:
        kind: what is counted.
        value: address, network or login; for a login at home its address, a space and the login.
        failures: how many failed in the window.
        limit: how many may; 0 is no limit.
    """

    kind: Kind
    value: str
    failures: int
    limit: int

    @property
    def is_locked(self) -> bool:
        """Whether no login is judged now."""
        return 0 < self.limit <= self.failures


def lockouts(database: Database, limits: LoginLimits, now: float) -> list[Lockout]:
    """Return of whom logins failed, those with the most failures first.

    Raises:
        StateUnavailable: the state file cannot be read.
    """
    _, first, last = window(limits, now)
    rows = database.read(
        "SELECT subject, sum(count) AS failures FROM guess WHERE slice BETWEEN ? AND ? "
        "AND subject NOT LIKE 't %' GROUP BY subject HAVING failures > 0 ORDER BY failures DESC, subject",
        (first, last),
    )
    found = []
    for subject, failures in rows:
        kind, value = named(subject)
        limit = {"address": limits.per_address, "network": limits.per_network}.get(kind, limits.per_login)
        found.append(Lockout(kind, value, failures, limit))
    return found


def forget(database: Database, *, address: str = "", login: str = "") -> int:
    """Forget the failures of an address and its network, or those of a login (prepared) everywhere, or both.

    Returns:
        How many addresses, networks and logins were forgiven.

    Raises:
        StateUnavailable: the state file cannot be written.
    """
    places = places_of(address) if address else None

    def is_meant(subject: str) -> bool:
        # That it was told of is forgotten, too.
        kind, value = named(subject.removeprefix("t "))
        if kind == "login at home":
            home, _, name = value.partition(" ")
            return bool(login and name == login) or bool(places and home == places.address)
        if kind == "login":
            return value == login
        return places is not None and value in (places.address, places.network)

    def change(connection: sqlite3.Connection) -> int:
        subjects = [row[0] for row in connection.execute("SELECT DISTINCT subject FROM guess") if is_meant(row[0])]
        connection.executemany("DELETE FROM guess WHERE subject = ?", [(each,) for each in subjects])
        return sum(not each.startswith("t ") for each in subjects)

    return database.change(change)
