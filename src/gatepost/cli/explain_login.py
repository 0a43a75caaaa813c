"""Whether a login may log in and send a message, judged by the stores and policies of the configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatepost.cli.node import act_as_owner, check_state_dir
from gatepost.cli.output import Told
from gatepost.errors import Malformed, StoreUnavailable
from gatepost.message.prepare import examine
from gatepost.model.envelope import Transaction
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer
from gatepost.model.verdict import Hold, Refuse, Verdict
from gatepost.parts import rules
from gatepost.policy.chain import Chain
from gatepost.policy.policy import Stage

if TYPE_CHECKING:
    from gatepost.config.schema import Config
    from gatepost.identity.store import Account, Credential

__all__ = ["Attempt", "judge", "look_up"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What somebody would send.

    Args:
        address: where they would come from; empty does not judge it.
        listener: the listener they would come in by; empty takes one that the credential may use.
        transaction: sender, recipients and declared size, without the identity.
        section: the header section.
    """

    address: str
    listener: str
    transaction: Transaction
    section: bytes


async def look_up(config: Config, login: str, wanted: str, attempt: Attempt) -> tuple[Identity, list[dict[str, Any]]]:
    """Find who *login* is; return that, and a row that says whether they may log in.

    Args:
        config: says where the stores are.
        login: as somebody would write it.
        wanted: id or label of the credential; empty takes the first that may log in.
        attempt: how they would come.

    Raises:
        Told: there is no such account or credential, or a store cannot be asked.
    """
    from gatepost.app import RealClock
    from gatepost.identity.stores.order import StoresInOrder
    from gatepost.observe.emit import Emitter
    from gatepost.sasl.prepare import prepare_name
    from gatepost.state.keys import load_keys
    from gatepost.store_parts import open_stores

    check_state_dir(config.state_dir)
    act_as_owner(config.state_dir)
    stores = StoresInOrder(open_stores(config, load_keys(config.secret_key_file, create=False), RealClock(), Emitter()))
    try:
        account = await stores.find(prepare_name(login))
    except (StoreUnavailable, Malformed) as error:
        raise Told(f"{login}: cannot be looked up: {error}") from None
    finally:
        stores.close()
    if account is None:
        raise Told(f"{login}: no store knows this login")
    credential, why = _choose(account, wanted, attempt, config)
    said = why or ("may log in" if credential.id else "its store shows no credentials: what they may is not judged")
    return account.identity(credential), [{"step": "login", "ok": not why, "reply": None, "reason": said}]


def _choose(account: Account, wanted: str, attempt: Attempt, config: Config) -> tuple[Credential, str]:
    from gatepost.identity.store import Credential

    found = [each for each in account.credentials if not wanted or wanted in (each.id, each.label)]
    if wanted and not found:
        raise Told(f"{account.login}: has no credential {wanted}")
    judged = [(each, _why_not(account, each, attempt, config)) for each in found]
    if not judged:
        judged = [(Credential(""), _why_not(account, Credential(""), attempt, config))]
    return next((each for each in judged if not each[1]), judged[0])


def _why_not(account: Account, credential: Credential, attempt: Attempt, config: Config) -> str:
    from gatepost.identity.admission import CANARY, why_not_account, why_not_credential

    if credential.is_canary and credential.revoked is None:
        return CANARY
    listener = attempt.listener or next(iter(sorted(credential.listeners)), config.listener[0].name)
    mechanism = next(iter(sorted(credential.mechanisms)), "PLAIN")
    now = time.time()
    if not attempt.address:
        credential = replace(credential, networks=())
    return why_not_account(account, now) or why_not_credential(
        credential, Peer(attempt.address, 0, listener), mechanism, now
    )


async def judge(config: Config, identity: Identity, attempt: Attempt) -> list[dict[str, Any]]:
    """Ask the policies as a session would; quotas are not touched.  Return one row for each step."""
    chain = Chain(rules(config))
    given = attempt.transaction
    transaction = replace(given, identity=identity, recipients=[])
    rows = [_row("MAIL", str(given.reverse_path or "<>"), await chain.check(Stage.MAIL, transaction))]
    for recipient in given.recipients:
        transaction.pending = recipient
        verdict = await chain.check(Stage.RCPT, transaction)
        rows.append(_row("RCPT", str(recipient), verdict))
        if not isinstance(verdict, Refuse):
            transaction.recipients.append(recipient)
    try:
        examined = examine(attempt.section)
    except Malformed as error:
        reply = f"{error.code} {error.enhanced} {error.text}"
        return [*rows, {"step": "header", "ok": False, "reply": reply, "reason": error.reason}]
    transaction.header_from, transaction.header_sender = examined.from_addresses, examined.sender
    shown = ", ".join(map(str, examined.from_addresses))
    return [*rows, _row("header", shown, await chain.check(Stage.HEADER, transaction))]


def _row(step: str, what: str, verdict: Verdict) -> dict[str, Any]:
    if isinstance(verdict, Refuse):
        return {"step": step, "ok": False, "reply": str(verdict.reply), "reason": verdict.reason}
    return {"step": step, "ok": True, "reply": None, "reason": verdict.reason if isinstance(verdict, Hold) else what}
