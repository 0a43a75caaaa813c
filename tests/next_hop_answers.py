"""What each answer of a next hop, at each step, must come to for each of three recipients: a table."""

from __future__ import annotations

from collections.abc import Sequence

from gatepost.model.delivery import Cause, Deferred, Result
from next_hop import Act, babble, cut, say

__all__ = ["AGAIN", "CLOSING", "NEVER", "OUT_OF_STEP", "TABLE", "seen"]


def seen(results: Sequence[Result]) -> list[str]:
    """Write results as text, short enough for a table."""
    marks = {Cause.MESSAGE: "", Cause.NEXT_HOP: " next-hop", Cause.ROUTE: " route"}
    return [
        f"{type(each).__name__.lower()}{marks[each.cause] if isinstance(each, Deferred) else ''} {each.reply.code}"
        for each in results
    ]


AGAIN = "451 4.3.0 try again"
NEVER = "550 5.1.1 no such user"
CLOSING = "421 4.3.2 closing"

# What it proves, what the next hop does at which step, what becomes of a@x.net, b@x.net and c@x.net.
TABLE: list[tuple[str, dict[str, Act], list[str]]] = [
    ("all is well", {}, ["delivered 250", "delivered 250", "delivered 250"]),
    ("251 is a yes", {"RCPT": say("251 2.1.5 will forward")}, ["delivered 250"] * 3),
    ("greeting 421", {"greeting": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    ("greeting 554", {"greeting": say("554 5.3.2 no service")}, ["deferred next-hop 554"] * 3),
    ("greeting 250", {"greeting": say("250 hello")}, ["deferred next-hop 250"] * 3),
    ("greeting cut", {"greeting": cut()}, ["deferred next-hop 451"] * 3),
    ("EHLO 421", {"EHLO": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    ("EHLO 451", {"EHLO": say(AGAIN)}, ["deferred next-hop 451"] * 3),
    ("EHLO 502, then HELO", {"EHLO": say("502 5.5.1 what")}, ["delivered 250"] * 3),
    ("EHLO and HELO 550", {"EHLO": say("550 no"), "HELO": say("550 no")}, ["deferred next-hop 550"] * 3),
    ("EHLO cut", {"EHLO": cut()}, ["deferred next-hop 451"] * 3),
    ("MAIL 451", {"MAIL": say(AGAIN)}, ["deferred 451"] * 3),
    ("MAIL 550", {"MAIL": say("550 5.7.1 not you")}, ["failed 550"] * 3),
    ("MAIL 552", {"MAIL": say("552 5.3.4 too big")}, ["failed 552"] * 3),
    ("MAIL 555: offered but not known", {"MAIL": say("555 5.5.4 SIZE?")}, ["failed 555"] * 3),
    ("MAIL 530", {"MAIL": say("530 5.7.0 login first")}, ["deferred route 530"] * 3),
    ("MAIL 421", {"MAIL": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    ("MAIL 354", {"MAIL": say("354 what")}, ["deferred next-hop 451"] * 3),
    ("MAIL cut", {"MAIL": cut()}, ["deferred next-hop 451"] * 3),
    ("one RCPT 451", {"RCPT b@x.net": say(AGAIN)}, ["delivered 250", "deferred 451", "delivered 250"]),
    ("one RCPT 550", {"RCPT a@x.net": say(NEVER)}, ["failed 550", "delivered 250", "delivered 250"]),
    (
        "each RCPT another way",
        {"RCPT a@x.net": say("550-5.1.1 no such", "550 5.1.1 user"), "RCPT b@x.net": say("452 4.2.2 full")},
        ["failed 550", "deferred 452", "delivered 250"],
    ),
    ("every RCPT 550", {"RCPT": say(NEVER)}, ["failed 550"] * 3),
    (
        "every RCPT refused, DATA taken all the same",
        {"RCPT": say(NEVER), "DATA": say("354 go on")},
        ["failed 550"] * 3,
    ),
    ("every RCPT refused, end cut", {"RCPT": say(NEVER), "DATA": say("354 go on"), "end": cut()}, ["failed 550"] * 3),
    (
        "RCPT 421 in between",
        {"RCPT a@x.net": say(NEVER), "RCPT c@x.net": say(CLOSING, cut=True)},
        ["failed 550", "deferred next-hop 421", "deferred next-hop 421"],
    ),
    (
        "RCPT cut in between",
        {"RCPT a@x.net": say(NEVER), "RCPT c@x.net": cut()},
        ["failed 550", "deferred next-hop 451", "deferred next-hop 451"],
    ),
    ("RCPT 530", {"RCPT c@x.net": say("530 5.7.0 login first")}, ["deferred route 530"] * 3),
    ("too many, said the old way", {"RCPT c@x.net": say("552 too many")}, ["delivered 250"] * 2 + ["deferred 552"]),
    ("mailbox full is for ever", {"RCPT c@x.net": say("552 5.2.2 full")}, ["delivered 250"] * 2 + ["failed 552"]),
    ("DATA 451", {"DATA": say(AGAIN)}, ["deferred 451"] * 3),
    ("DATA 554", {"DATA": say("554 5.6.0 no")}, ["failed 554"] * 3),
    ("DATA 250", {"DATA": say("250 ok")}, ["deferred next-hop 451"] * 3),
    ("DATA 421", {"DATA": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    ("DATA cut", {"DATA": cut()}, ["deferred next-hop 451"] * 3),
    ("RCPT refused, DATA 451", {"RCPT a@x.net": say(NEVER), "DATA": say(AGAIN)}, ["failed 550"] + ["deferred 451"] * 2),
    ("end 451", {"end": say(AGAIN)}, ["deferred 451"] * 3),
    ("end 554", {"end": say("554 5.7.1 spam")}, ["failed 554"] * 3),
    ("end 354", {"end": say("354 what")}, ["deferred next-hop 451"] * 3),
    ("end 421", {"end": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    ("end cut: nobody knows", {"end": cut()}, ["deferred next-hop 451"] * 3),
    (
        "RCPT refused, end 554",
        {"RCPT a@x.net": say(AGAIN), "end": say("554 no")},
        ["deferred 451"] + ["failed 554"] * 2,
    ),
    ("garbage", {"MAIL": babble(b"\xff\x00garbage\r\n")}, ["deferred next-hop 451"] * 3),
    ("HTTP", {"greeting": babble(b"HTTP/1.1 400 Bad Request\r\n\r\n")}, ["deferred next-hop 451"] * 3),
    ("two codes in one reply", {"end": say("250-ok", "550 no")}, ["deferred next-hop 451"] * 3),
    ("a huge line", {"MAIL": babble(b"250 " + b"x" * 100_000)}, ["deferred next-hop 451"] * 3),
    ("a huge reply", {"EHLO": babble(b"250-again\r\n" * 20_000)}, ["deferred next-hop 451"] * 3),
    ("a long reply", {"end": say(*("250-go on",) * 1000, "250 done")}, ["delivered 250"] * 3),
    ("more replies than asked for", {"end": say("250 ok", "250 ok")}, ["delivered 250"] * 3),
]

# A next hop that is out of step, or says what no server should: the same columns.
OUT_OF_STEP: list[tuple[str, dict[str, Act], list[str]]] = [
    ("MAIL 503: it has lost the thread", {"MAIL": say("503 5.5.1 nested MAIL")}, ["deferred 503"] * 3),
    ("MAIL 502", {"MAIL": say("502 what?")}, ["deferred 502"] * 3),
    ("MAIL 221", {"MAIL": say("221 bye")}, ["deferred next-hop 451"] * 3),
    ("one RCPT 500", {"RCPT b@x.net": say("500 what?")}, ["delivered 250", "deferred 500", "delivered 250"]),
    ("one RCPT 503 about the address", {"RCPT a@x.net": say("503 5.1.1 who?")}, ["failed 503"] + ["delivered 250"] * 2),
    ("one RCPT 252", {"RCPT a@x.net": say("252 2.5.2 will try")}, ["delivered 250"] * 3),
    ("one RCPT 220", {"RCPT a@x.net": say("220 hello")}, ["deferred next-hop 451"] * 3),
    ("DATA 503", {"DATA": say("503 5.5.1 MAIL first")}, ["deferred 503"] * 3),
    # One reply too many: nobody knows whose the no is.
    (
        "two replies to MAIL, one RCPT refused",
        {"MAIL": say("250 ok", "250 ok"), "RCPT b@x.net": say(NEVER)},
        ["deferred next-hop 451"] * 3,
    ),
    ("two replies to one RCPT", {"RCPT a@x.net": say(NEVER, NEVER)}, ["deferred next-hop 451"] * 3),
    (
        "two replies to MAIL, and the last no looks like one to DATA",
        {"MAIL": say("250 ok", "250 ok"), "RCPT c@x.net": say("554 no")},
        ["deferred next-hop 451"] * 3,
    ),
    ("two replies to DATA", {"DATA": say("554 no", "250 ok")}, ["deferred next-hop 451"] * 3),
    ("DATA 554, and goodbye", {"DATA": say("554 5.6.0 no", CLOSING, cut=True)}, ["failed 554"] * 3),
    ("end 221", {"end": say("221 bye")}, ["deferred next-hop 451"] * 3),
    ("end 500: a line is too long", {"end": say("500 5.5.2 line too long")}, ["failed 500"] * 3),
]
