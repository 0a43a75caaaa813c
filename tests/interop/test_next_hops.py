"""Real servers as next hops of a real gatepost: what they take arrives octet for octet, what they refuse is told.

Each is Debian's, but for aiosmtpd.  Where they want a login, a wrong password pauses the route, and nothing bounces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from interop.next_hops import LOCKED, LOGIN, SPOILT, WITH_LOGIN, Station
from interop.postfix_hops import MECHANISMS
from interop.test_clients import message
from servers import Authority, wait_for

# Whether it takes internationalised mail.
HOPS = {
    "postfix": True,
    "exim": True,
    "chasquid": True,
    "aiosmtpd": True,
    "dovecot-socket": False,
    "dovecot-tcp": False,
}

LARGE = b"".join(b"%07d " % number + b"." * (number % 60) + b"\r\n" for number in range(130_000))


@pytest.fixture(scope="module")
def here(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """Return a running station."""
    with Station(authority, tmp_path_factory.mktemp("next-hops")) as station:
        yield station


@pytest.mark.parametrize("name", HOPS)
def test_mail_arrives_octet_for_octet_and_who_is_refused_is_told(here: Station, name: str) -> None:
    hop = here.hop(name)
    ann, bob, nobody = (f"{user}@{hop.domain}" for user in ("ann", "bob", "nobody"))
    sent = message(ann, f"first-{name}")
    here.submit(sent, ann, nobody, bob)
    here.arrives(hop, sent, ann)
    here.arrives(hop, sent, bob)
    failed = here.told("failed", recipient=nobody)
    assert (failed["route"], failed["reply"][:3]) == (name, "550")
    # The sender hears of it, on a route that throws mail away.
    bounce = here.told("bounce queued", message=failed["message"])["bounce"]
    assert here.told("discarded", message=bounce)["recipient"] == LOGIN


@pytest.mark.parametrize("name", HOPS)
def test_internationalised_mail_arrives_or_comes_back(here: Station, name: str) -> None:
    hop = here.hop(name)
    recipient = f"jörg@{hop.domain}"
    sent = message(recipient, f"grüße-{name}")
    here.submit(sent, recipient, smtputf8=True)
    if HOPS[name]:
        here.arrives(hop, sent, recipient)
    else:
        assert here.told("failed", recipient=recipient)["status"] == "5.6.7"
        assert hop.messages(recipient) == []


@pytest.mark.parametrize("name", HOPS)
def test_a_large_message_arrives_octet_for_octet(here: Station, name: str) -> None:
    assert len(LARGE) > 4 << 20
    hop = here.hop(name)
    recipient = f"bob@{hop.domain}"
    sent = message(recipient, f"large-{name}") + LARGE
    here.submit(sent, recipient)
    here.arrives(hop, sent, recipient)


@pytest.mark.rfc("2033 §4.2")
@pytest.mark.parametrize("name", ["dovecot-socket", "dovecot-tcp"])
def test_a_reply_after_the_final_dot_counts_for_its_recipient_alone(here: Station, name: str) -> None:
    hop = here.hop(name)
    ann, spoilt, bob = (f"{user}@{hop.domain}" for user in ("ann", SPOILT, "bob"))
    sent = message(ann, f"three-{name}")
    here.submit(sent, ann, spoilt, bob)
    here.arrives(hop, sent, ann)
    here.arrives(hop, sent, bob)
    deferred = here.told("deferred", recipient=spoilt)
    assert (deferred["cause"], deferred["reply"][:9]) == ("message", "451 4.2.0")
    kept = json.loads(here.gatepost.run("queue", "show", deferred["message"], "--json"))
    assert {each["recipient"]: each["status"] for each in kept["recipients"]} == {
        ann: "delivered",
        spoilt: "pending",
        bob: "delivered",
    }


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_each_mechanism_logs_in(here: Station, mechanism: str) -> None:
    hop = here.hop(mechanism)
    recipient = f"ann@{hop.domain}"
    sent = message(recipient, f"login-{mechanism}")
    here.submit(sent, recipient)
    here.arrives(hop, sent, recipient)
    assert f"sasl_method={mechanism}, sasl_username=" in hop.log()


def test_a_wrong_secret_pauses_the_route_and_the_right_one_sends_the_mail(here: Station) -> None:
    hops = here.running(*WITH_LOGIN)
    sent = {name: message(f"bob@{hop.domain}", f"locked-{name}") for name, hop in hops.items()}
    for name, hop in hops.items():
        here.submit(sent[name], f"bob@{hop.domain}", sender=LOCKED)
    for name in hops:
        assert here.told("route paused", route=f"locked-{name}")["reason"].startswith("535 ")
        assert not here.lines("failed", route=f"locked-{name}")
    rows = json.loads(here.gatepost.run("queue", "list", "--json"))
    assert [row["pending"] for row in rows if row["sender"] == LOCKED] == [1] * len(hops)

    here.mend()
    here.gatepost.run("reload")
    wait_for("the new configuration", lambda: here.lines("config reloaded"))
    try:
        here.gatepost.run("queue", "retry", "--from", LOCKED)
    except RuntimeError as error:
        # The reload lets it go at once: by now nothing may be left to retry.
        if "retried: 0" not in str(error):
            raise
    for name, hop in hops.items():
        here.arrives(hop, sent[name], f"bob@{hop.domain}")
