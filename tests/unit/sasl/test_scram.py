"""SCRAM, server side, and its records."""

from __future__ import annotations

import base64
import dataclasses
import functools

import pytest
import scramp
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.errors import Malformed, Misuse
from gatepost.model.identity import Identity, Secret
from gatepost.sasl import client, scram
from gatepost.sasl.mechanism import Context
from gatepost.sasl.registry import MECHANISMS
from gatepost.sasl.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Record, derive, parse_record, stored_key, verify
from gatepost.sasl.steps import Candidate, Challenge, Denied, FetchSecret, Granted, Held

TIM = Identity("user", "1")
SCHEMES = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
CLIENT_NONCE = "client.nonce"
SERVER_NONCE = "fixed.nonce.with.enough.bits"


@pytest.mark.rfc("5802 §3")
@pytest.mark.rfc("7677 §3")
@pytest.mark.parametrize("scheme", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_it_gives_the_exchange_of_the_standard(vectors, scheme):
    vector = vectors["scram"][scheme]
    exchange = MECHANISMS[scheme].start(
        vector["client_first"].encode(), Context("host", lambda: vector["server_nonce"])
    )
    assert next(exchange) == FetchSecret("user", scheme)
    record = derive(b"pencil", base64.b64decode(vector["salt"]), 4096, scheme)
    assert exchange.send(Held((Candidate(TIM, Secret(record.encode())),))) == Challenge(vector["server_first"].encode())
    with pytest.raises(StopIteration) as stop:
        exchange.send(vector["client_final"].encode())
    assert stop.value.value == Granted(TIM, "", vector["server_final"].encode())


def scramp_answer(other: scramp.ScramClient, challenge: bytes) -> bytes:
    """Answer as the client of scramp does."""
    if challenge.startswith(b"v="):
        other.set_server_final(challenge.decode())
        return b""
    other.set_server_first(challenge.decode())
    answer: str = other.get_client_final()
    return answer.encode()


def first(name: str = "user", header: str = "n,,", extensions: str = "") -> bytes:
    return f"{header}n={name},r={CLIENT_NONCE}{extensions}".encode()


def final(
    password: str = "secret",
    *,
    bare: str = f"n=user,r={CLIENT_NONCE}",
    binding: str = "biws",
    nonce: str = CLIENT_NONCE + SERVER_NONCE,
    extensions: str = "",
    salt: bytes = b"0123456789abcdef",
) -> bytes:
    """Compute client-final-message by the book, apart from our own client."""
    server_first = f"r={CLIENT_NONCE}{SERVER_NONCE},s={base64.b64encode(salt).decode()},i=4096"
    without_proof = f"c={binding},r={nonce}{extensions}"
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    hf = mechanism.hf
    from scramp.core import _c_key_stored_key_s_key, hi, hmac, uenc, xor

    key, stored, _ = _c_key_stored_key_s_key(hf, hi(hf, uenc(password), salt, 4096))
    signature = hmac(hf, stored, uenc(f"{bare},{server_first},{without_proof}"))
    return f"{without_proof},p={base64.b64encode(xor(key, signature)).decode()}".encode()


def test_a_proof_computed_by_others_is_good_and_is_answered_with_ours(play, stores):
    stores.add("user", "secret")
    outcome = play(SCRAM_SHA_256, first(), final(), b"")
    assert isinstance(outcome, Granted)
    assert outcome.identity == stores.identity("user")
    assert play.challenges == [
        f"r={CLIENT_NONCE}{SERVER_NONCE},s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096".encode(),
        outcome.final,
    ]


def test_without_initial_response_the_challenge_is_empty(play, stores):
    stores.add("user", "secret")
    assert isinstance(play(SCRAM_SHA_256, None, first(), final(), b""), Granted)
    assert play.challenges[0] == b""


@pytest.mark.rfc("4954 §4")
def test_the_last_message_of_ours_wants_an_empty_response(play, stores):
    stores.add("user", "secret")
    with pytest.raises(Malformed, match="empty response"):
        play(SCRAM_SHA_256, first(), final(), b"more")


@pytest.mark.parametrize(("name", "password"), [("user", "wrong"), ("nobody", "secret"), ("nobody", "nobody has this")])
def test_wrong_proof_and_unknown_name_are_the_same_no_after_the_same_steps(play, stores, name, password):
    stores.add("user", "secret")
    outcome = play(SCRAM_SHA_256, first(name), final(password, bare=f"n={name},r={CLIENT_NONCE}"))
    assert outcome == Denied("wrong proof or unknown name")
    assert stores.asked == [FetchSecret(name, "SCRAM-SHA-256")]
    assert play.challenges == [f"r={CLIENT_NONCE}{SERVER_NONCE},s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096".encode()]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_of_several_secrets_is_good_and_answered_with_its_own_key(play, stores, place):
    passwords = ("first", "second", "third")
    stores.add("user", *passwords)
    login = client.SCRAM_SHA_256.start(client.Credentials("user", Secret(passwords[place].encode())))
    outcome = play.with_client(SCRAM_SHA_256, login)
    assert isinstance(outcome, Granted)
    assert outcome.identity == stores.identity("user", place)
    assert login.succeed() is True


def test_all_secrets_are_tried_and_the_first_that_fits_counts(play, stores):
    stores.add("user", "same", "same")
    outcome = play(SCRAM_SHA_256, first(), final("same"), b"")
    assert isinstance(outcome, Granted)
    assert outcome.identity == stores.identity("user", 0)


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(
    ("sent", "meant"), [("a=2Cb", "a,b"), ("a=3Db", "a=b"), ("=3D2C", "=2c"), ("ÜNAL", "ünal"), ("User", "user")]
)
def test_the_store_is_asked_for_the_name_without_escapes_and_prepared(play, stores, sent, meant):
    with pytest.raises(IndexError):  # there is no second message
        play(SCRAM_SHA_256, first(sent))
    assert stores.asked == [FetchSecret(meant, "SCRAM-SHA-256")]


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"n,,", b"n,,n=user", b"n,,r=nonce", b"n,,n=,r=nonce", b"n,,n=user,r=", b"n,,r=nonce,n=user",
        b"n,,n=a=b,r=x", b"n,,n=a=2c,r=x", b"n,,n=a=,r=x", b"n,,n=user,r=no nonce", b"n,,n=user,r=n\xc3\xb6nce",
        b"n,,n=us\0er,r=x", b"n,,n=us\xffer,r=x", b"n,,n=user,r=x,", b"n,,n=user,r=x,y", b"n,,n=user,r=x,1=y",
        b"n,,n=user,r=x,y=",
        b"n,,n=user,r=x,y=\0", b"n,,N=user,r=x", b"n,,n=us\x07er,r=x", b"n,,n=\xc2\xad,r=x", b"n,a=\x07,n=user,r=x",
        b"n,a=,n=user,r=x", b"x,,n=user,r=x", b"n=user,r=x", b"n,,n=" + b"x" * 256 + b",r=x", b"n,,n=user,r=x\n",
    ],
)  # fmt: skip
def test_a_first_message_of_another_form_is_malformed_and_no_store_is_asked(play, stores, message):
    with pytest.raises(Malformed) as error:
        play(SCRAM_SHA_256, message)
    assert (error.value.code, error.value.enhanced) == (501, "5.5.2")
    assert stores.asked == []


@pytest.mark.rfc("5802 §5.1")
def test_unknown_extensions_are_ignored_and_still_covered_by_the_proof(play, stores):
    stores.add("user", "secret")
    bare = f"n=user,r={CLIENT_NONCE},x=some,y=thing=else"
    outcome = play(SCRAM_SHA_256, first(extensions=",x=some,y=thing=else"), final(bare=bare, extensions=",z=more"), b"")
    assert isinstance(outcome, Granted)
    outcome = play(SCRAM_SHA_256, first(extensions=",x=some"), final())
    assert outcome == Denied("wrong proof or unknown name")


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize("message", [b"n,,m=ext,n=user,r=x", b"n,a=tim,m=ext,n=user,r=x", b"n,,n=user,r=x,m=ext"])
def test_a_mandatory_extension_fails_at_once(play, stores, message):
    assert play(SCRAM_SHA_256, message) == Denied("mandatory SCRAM extension")
    assert stores.asked == []


@pytest.mark.rfc("5802 §5.1")
def test_a_mandatory_extension_in_the_final_message_fails(play, stores):
    stores.add("user", "secret")
    assert play(SCRAM_SHA_256, first(), final(extensions=",m=ext")) == Denied("mandatory SCRAM extension")


@pytest.mark.rfc("5802 §6")
def test_channel_binding_under_the_plain_name_fails(play, stores):
    outcome = play(SCRAM_SHA_256, first(header="p=tls-exporter,,"))
    assert outcome == Denied("channel binding under the plain name")
    assert stores.asked == []


@pytest.mark.rfc("5802 §6")
def test_a_client_that_thinks_we_cannot_bind_channels_is_right_unless_we_offer_it(play, stores):
    stores.add("user", "secret")
    assert isinstance(play(SCRAM_SHA_256, first(header="y,,"), final(binding="eSws"), b""), Granted)
    play.context = dataclasses.replace(play.context, offered=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
    outcome = play(SCRAM_SHA_256, first(header="y,,"))
    assert outcome == Denied("client did not see that we offer channel binding")
    assert isinstance(play(SCRAM_SHA_256, first(), final(), b""), Granted)


@pytest.mark.rfc("5802 §6")
def test_what_is_bound_with_another_hash_function_says_nothing_about_what_a_client_saw(play, stores):
    stores.add("user", "secret")
    play.context = dataclasses.replace(play.context, offered=("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256"))
    assert isinstance(play(SCRAM_SHA_256, first(header="y,,"), final(binding="eSws"), b""), Granted)


CHANNEL = bytes(range(32))
BOUND_HEADER = "p=tls-exporter,,"
BOUND = base64.b64encode(BOUND_HEADER.encode() + CHANNEL).decode()


@pytest.fixture
def bound_play(play):
    names = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
    play.context = dataclasses.replace(play.context, offered=names, bindings={"tls-exporter": CHANNEL})
    return play


@pytest.mark.rfc("5802 §6")
def test_a_login_bound_to_our_connection_is_granted(bound_play, stores):
    stores.add("user", "secret")
    outcome = bound_play(SCRAM_SHA_256_PLUS, first(header=BOUND_HEADER), final(binding=BOUND), b"")
    assert isinstance(outcome, Granted)
    # The records are those of the mechanism without channel binding.
    assert stores.asked == [FetchSecret("user", "SCRAM-SHA-256")]


@pytest.mark.rfc("5802 §6")
@pytest.mark.parametrize(
    "binding",
    [
        BOUND_HEADER.encode() + bytes(32),
        BOUND_HEADER.encode() + CHANNEL[:-1],
        BOUND_HEADER.encode() + CHANNEL + b"\0",
        BOUND_HEADER.encode(),
        b"p=tls-unique,," + CHANNEL,
        b"n,,",
        CHANNEL,
    ],
)
def test_a_login_bound_to_another_connection_is_a_no_also_with_the_right_proof(bound_play, stores, binding):
    stores.add("user", "secret")
    answer = final(binding=base64.b64encode(binding).decode())
    assert bound_play(SCRAM_SHA_256_PLUS, first(header=BOUND_HEADER), answer) == Denied("other end of another channel")


@pytest.mark.rfc("5802 §6")
@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("n,,", "no channel binding under the -PLUS name"),
        ("y,,", "no channel binding under the -PLUS name"),
        ("p=tls-unique,,", "channel binding of a type that we do not have"),
        ("p=tls-server-end-point,,", "channel binding of a type that we do not have"),
        ("p=TLS-EXPORTER,,", "channel binding of a type that we do not have"),
    ],
)
def test_under_the_plus_name_only_the_binding_that_we_have_is_taken(bound_play, stores, header, reason):
    stores.add("user", "secret")
    assert bound_play(SCRAM_SHA_256_PLUS, first(header=header)) == Denied(reason)
    assert stores.asked == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("others", ["scramp", "ours"])
def test_each_hash_function_binds(play, stores, scheme, others):
    stores.add("user", "secret")
    plus = f"{scheme}-PLUS"
    play.context = dataclasses.replace(play.context, offered=(plus,), bindings={"tls-unique": b"finished"})
    if others == "ours":
        credentials = client.Credentials("user", Secret(b"secret"), binding=("tls-unique", b"finished"))
        login = next(each for each in client.MECHANISMS if each.name == plus).start(credentials)
        outcome = play.with_client(MECHANISMS[plus], login)
        assert login.succeed() is True
    else:
        other = scramp.ScramClient([plus], "user", "secret", channel_binding=("tls-unique", b"finished"))
        outcome = play.with_responder(
            MECHANISMS[plus], other.get_client_first().encode(), lambda challenge: scramp_answer(other, challenge)
        )
    assert isinstance(outcome, Granted)


@pytest.mark.rfc("5802 §6")
def test_our_client_says_that_it_could_have_bound(play, stores):
    stores.add("user", "secret")
    credentials = client.Credentials("user", Secret(b"secret"), binding=("tls-exporter", CHANNEL))
    login = client.SCRAM_SHA_256.start(credentials)
    assert login.initial is not None
    assert login.initial.startswith(b"y,,n=user,")
    assert isinstance(play.with_client(SCRAM_SHA_256, login), Granted)
    # Where we offer it, somebody has cut it from what the client was shown.
    play.context = dataclasses.replace(play.context, offered=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"))
    outcome = play.with_client(SCRAM_SHA_256, client.SCRAM_SHA_256.start(credentials))
    assert outcome == Denied("client did not see that we offer channel binding")


def test_our_client_binds_nothing_where_there_is_nothing():
    with pytest.raises(Malformed, match="channel binding is needed"):
        client.SCRAM_SHA_256_PLUS.start(client.Credentials("user", Secret(b"secret")))


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(
    ("header", "binding"),
    [
        ("n,,", "eSws"),
        ("y,,", "biws"),
        ("n,,", "biw="),
        ("n,,", "biwsYQ=="),
        ("n,a=tim,", "biws"),
        ("n,,", "bixhPXRpbSw="),
    ],
)
def test_the_gs2_header_must_come_back_as_it_was(play, stores, header, binding):
    stores.add("user", "secret")
    outcome = play(SCRAM_SHA_256, first(header=header), final(binding=binding))
    assert outcome == Denied("GS2 header changed on the way")


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(
    "nonce", [CLIENT_NONCE, SERVER_NONCE, CLIENT_NONCE + SERVER_NONCE + "x", CLIENT_NONCE + SERVER_NONCE[:-1] + "X"]
)
def test_the_nonce_must_come_back_as_it_was(play, stores, nonce):
    stores.add("user", "secret")
    assert play(SCRAM_SHA_256, first(), final(nonce=nonce)) == Denied("wrong nonce")


@pytest.mark.rfc("5802 §5.1")
@pytest.mark.parametrize(("authzid", "meant"), [("ursel", "ursel"), ("Ursel=2C=3D", "ursel,="), ("ÜNAL", "ünal")])
def test_whom_to_act_as_is_passed_on_prepared(play, stores, authzid, meant):
    stores.add("user", "secret")
    header = f"n,a={authzid},"
    outcome = play(SCRAM_SHA_256, first(header=header), final(binding=base64.b64encode(header.encode()).decode()), b"")
    assert isinstance(outcome, Granted)
    assert outcome.authzid == meant


@pytest.mark.rfc("5802 §7")
@pytest.mark.parametrize(
    "message",
    [
        b"", b"c=biws", b"c=biws,r=x", b"r=x,c=biws,p=eA==", b"c=,r=x,p=eA==", b"c=biws,r=,p=eA==", b"c=biws,r=x,p=",
        b"c=biws,r=x,p=eA", b"c=biws,r=x,p=e?==", b"c=biws,r=x,p=eA==",
        b"c=biws,r=x,p=eA==,x=y", b"c=biws,r=x,y,p=eA==",
        b"c=biws,r=x,p=\xff", b"c=biws,r=x,p=" + base64.b64encode(bytes(31)),
        b"c=biws,r=x,p=" + base64.b64encode(bytes(33)),
        b"c=biws,r=x,p=" + base64.b64encode(bytes(32)) + b"\n",
    ],
)  # fmt: skip
def test_a_final_message_of_another_form_is_malformed(play, stores, message):
    stores.add("user", "secret")
    with pytest.raises(Malformed) as error:
        play(SCRAM_SHA_256, first(), message)
    assert error.value.enhanced == "5.5.2"


def test_the_last_bits_of_the_proof_count_too(play, stores):
    stores.add("user", "secret")
    good = final()
    assert good.endswith(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = good[:-2] + alphabet[alphabet.index(good[-2]) + 1 : alphabet.index(good[-2]) + 2] + b"="
    assert base64.b64decode(good.rpartition(b"p=")[2]) == base64.b64decode(twin.rpartition(b"p=")[2])
    with pytest.raises(Malformed):
        play(SCRAM_SHA_256, first(), twin)


@pytest.mark.parametrize(
    "others",
    [
        derive(b"other", b"another salt....", 4096),
        derive(b"other", b"0123456789abcdef", 4097),
        derive(b"other", b"0123456789abcdef", 4096, "SCRAM-SHA-512"),
    ],
)
def test_records_that_cannot_share_one_challenge_are_our_own_trouble(others):
    good = Candidate(TIM, Secret(derive(b"secret", b"0123456789abcdef", 4096).encode()))
    exchange = SCRAM_SHA_256.start(first(), Context("host", lambda: SERVER_NONCE))
    next(exchange)
    with pytest.raises(Misuse):
        exchange.send(Held((good, Candidate(TIM, Secret(others.encode())))))


def test_records_of_another_scheme_are_our_own_trouble():
    exchange = SCRAM_SHA_256.start(first(), Context("host", lambda: SERVER_NONCE))
    next(exchange)
    with pytest.raises(Misuse):
        exchange.send(Held((Candidate(TIM, Secret(derive(b"x", b"salt", 4096, "SCRAM-SHA-1").encode())),)))


@pytest.mark.rfc("5803 §2")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_record_is_read_as_it_was_written(scheme):
    text = derive(b"secret", b"salt", 4096, scheme)
    record = parse_record(text)
    assert str(record) == text
    assert (record.scheme, record.salt, record.iterations) == (scheme, b"salt", 4096)
    assert text.startswith(f"{scheme}$4096:c2FsdA==$")
    assert record.stored_key == stored_key(b"secret", b"salt", 4096, scheme)


@pytest.mark.rfc("5803 §2")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_record_holds_the_keys_that_others_compute(scheme):
    salt, stored, server, iterations = scramp.ScramMechanism(scheme).make_auth_info("secret", 10_000, b"s" * 16)
    assert parse_record(derive(b"secret", b"s" * 16, 10_000, scheme)) == Record(
        scheme, salt, iterations, stored, server
    )
    assert len(stored) == len(server) == scram.key_size(scheme)


@pytest.mark.parametrize(
    ("password", "fits"), [(b"secret", True), (b"Secret", False), (b"", False), (b"secrets", False)]
)
def test_a_password_is_checked_against_a_record(password, fits):
    assert verify(parse_record(derive(b"secret", b"salt", 4096)), password) is fits


def test_a_record_shows_no_keys():
    record = parse_record(derive(b"secret", b"salt", 4096))
    assert repr(record) == "<SCRAM-SHA-256 record>"
    assert "StoredKey" not in repr(scram.keys_of(b"secret", b"salt", 4096))
    assert scram.keys_of(b"secret", b"salt", 4096).client_key.hex() not in repr(scram.keys_of(b"secret", b"salt", 4096))


@pytest.mark.rfc("5803 §2")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCRAM-SHA-256$", "SCRAM-SHA-3$"), ("SCRAM-SHA-256$", "SCRAM-SHA-512$"), ("SCRAM-SHA-256$", ""),
        ("$4096:", "$0:"),
        ("$4096:", "$04096:"), ("$4096:", "$-1:"), ("$4096:", "$:"), ("$4096:", "$4096$"), ("c2FsdA==", "c2FsdA"),
        ("c2FsdA==", ""), (":c2FsdA==", ""), ("c2FsdA==$", "c2FsdA==$AAAA"), ("SCRAM", " SCRAM"), ("=:", "=:AAAA"),
    ],
)  # fmt: skip
def test_what_is_no_record_is_an_error_of_ours_and_shows_nothing(old, new):
    text = derive(b"secret", b"salt", 4096)
    assert old in text
    with pytest.raises(ValueError, match="SCRAM record") as error:
        parse_record(text.replace(old, new, 1))
    assert not isinstance(error.value, Malformed)
    assert text[-20:] not in str(error.value)


@given(st.text())
@settings(max_examples=50)
def test_any_text_is_a_record_or_an_error(text):
    with pytest.raises(ValueError, match="SCRAM record"):
        parse_record(text)


@pytest.mark.parametrize(
    ("name", "password"),
    [("user", "pencil"), ("user,=", "p,=q"), ("ünal", "pä\u00adss\u2168"), ("\u2168", " two  spaces ")],
)
def test_the_client_of_scramp_logs_in_at_our_server(play, stores, name, password):
    stores.add(name, password)
    for scheme in SCHEMES:
        other = scramp.ScramClient([scheme], name, password)
        first_message = other.get_client_first().encode()
        outcome = play.with_responder(MECHANISMS[scheme], first_message, functools.partial(scramp_answer, other))
        assert isinstance(outcome, Granted)


@pytest.mark.parametrize(
    ("name", "password"),
    [("user", "pencil"), ("user,=", "p,=q"), ("ünal", "pä\u00adss\u2168"), ("ü,", " two  spaces ")],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_our_client_logs_in_at_the_server_of_scramp(scheme, name, password):
    mechanism = scramp.ScramMechanism(scheme)
    info = mechanism.make_auth_info(password)
    asked: list[str] = []

    def find(username: str) -> object:
        asked.append(username)
        return info

    server = mechanism.make_server(find)
    ours = next(each for each in client.MECHANISMS if each.name == scheme)
    login = ours.start(client.Credentials(name, Secret(password.encode())))
    assert login.initial is not None
    server.set_client_first(login.initial.decode())
    server.set_client_final(login.respond(server.get_server_first().encode()).decode())
    assert login.respond(server.get_server_final().encode()) == b""
    assert login.succeed() is True
    assert asked == [name]


@pytest.mark.parametrize("authzid", ["", "ursel", "Ür,=sel"])
def test_our_client_logs_in_at_our_server(play, stores, authzid):
    stores.add("Tim ,=ü", "pä ss")
    login = client.SCRAM_SHA_256.start(client.Credentials("Tim ,=ü", Secret("pä ss".encode()), authzid=authzid))
    outcome = play.with_client(SCRAM_SHA_256, login)
    assert isinstance(outcome, Granted)
    assert (outcome.identity, outcome.authzid) == (stores.identity("tim ,=ü"), authzid.lower())
    assert login.succeed() is True
