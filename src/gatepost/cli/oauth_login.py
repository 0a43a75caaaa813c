"""The ways in which somebody lets a route have tokens: in a browser here, by an address brought back, by a device code.

RFC 6749 §4.1 with PKCE (RFC 7636) on a loopback address (RFC 8252), and RFC 8628.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from gatepost.cli.output import Told, printable
from gatepost.model.identity import Secret
from gatepost.relay.oauth_client import OAuthClient
from gatepost.relay.token_answer import Answer, Away, Granted, Refused, read_answer, read_object
from gatepost.relay.token_endpoint import TokenEndpoint

__all__ = ["Way"]

_PATIENCE: Final = 900.0
_REQUEST_SECONDS, _REQUEST_BYTES = 10.0, 16_384
# RFC 8628 §3.2, §3.5: how often is asked if the issuer does not say, and how much rarer if that is too often.
_INTERVAL, _SLOWER = 5.0, 5.0
_INTERVAL_LIMIT = 60.0
_PAGE: Final = """\
HTTP/1.1 {status}\r
Content-Type: text/html; charset=utf-8\r
Cache-Control: no-store\r
Referrer-Policy: no-referrer\r
Connection: close\r
\r
<!doctype html><title>gatepost</title><p>{text}</p>
"""


class Way:
    """Gets the first tokens of a route.

    Args:
        client: what we are to the issuer.
        endpoint: asks it.
        login: the mailbox that sends.
        say: tells the person at the terminal something.

    Each way raises `Told` when there are none to be had, and `OSError` when the issuer cannot be asked.
    """

    def __init__(self, client: OAuthClient, endpoint: TokenEndpoint, login: str, say: Callable[[str], None]) -> None:
        self._client = client
        self._endpoint = endpoint
        self._login = login
        self._say = say
        # RFC 7636 §4.1: 43 to 128 characters that nobody can guess.
        self._verifier = secrets.token_urlsafe(64)
        # RFC 6749 §10.12: what comes back without it was not begun here.
        self._state = secrets.token_urlsafe(32)

    async def as_itself(self) -> Granted:
        """Let the client log in as itself."""
        return self._granted(await self._endpoint.ask(self._client.renewal(Secret(b""))))

    async def by_browser(self, port: int) -> Granted:
        """Wait for a browser of this machine; *port* 0 is any that is free."""
        self._want(self._client.authorize_url, "authorize_url", "use --device")
        came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, came)

        # RFC 8252 §7.3, §8.3: on the loopback address only, and only as long as the login takes.
        server = await asyncio.start_server(serve, "127.0.0.1", port, limit=_REQUEST_BYTES)
        try:
            redirect = f"http://{self._client.redirect_host}:{server.sockets[0].getsockname()[1]}"
            self._say(
                f"Open this address in a browser on this machine, and sign in as {self._login}:\n\n"
                f"{self._address(redirect)}\n"
            )
            async with asyncio.timeout(_PATIENCE):
                code = await came
        except TimeoutError:
            raise Told(f"nobody signed in within {_PATIENCE / 60:g} minutes; run this again") from None
        finally:
            server.close()
            await server.wait_closed()
        return await self._exchange(code, redirect)

    async def by_pasting(self, ask: Callable[[], str]) -> Granted:
        """Let somebody bring back the address at which a browser elsewhere ended."""
        self._want(self._client.authorize_url, "authorize_url", "use --device")
        redirect = f"http://{self._client.redirect_host}:1"
        self._say(
            f"Open this address in a browser, and sign in as {self._login}:\n\n{self._address(redirect)}\n\n"
            "At the end the browser says that it cannot reach a page: that is right.  Copy the address of that page."
        )
        code = self._code(urlsplit((await asyncio.to_thread(ask)).strip()).query)
        if code is None:
            raise Told("this address is not the one at which this login ended; run this again")
        return await self._exchange(code, redirect)

    async def by_device(self) -> Granted:
        """Show a code to be typed into a browser elsewhere, and wait until that was done."""
        self._want(self._client.device_url, "device_url", "use --paste, or ssh -L with --port")
        client = self._client
        answer = await self._endpoint.post(client.device_url, *client.signed(client.device_login()))
        begun = read_object(answer[1])
        if answer[0] != 200 or begun is None:
            raise self._trouble(read_answer(answer, self._hidden()))
        device, user = begun.get("device_code"), begun.get("user_code")
        place = begun.get("verification_uri") or begun.get("verification_url")  # Google's own word
        if not isinstance(device, str) or not isinstance(user, str) or not isinstance(place, str):
            raise Told("the issuer answers without a code; is device_url right?")
        self._say(
            f"Open {printable(place)} in a browser, type the code {printable(user)}, and sign in as {self._login}."
        )
        patience = min(_number(begun.get("expires_in"), _PATIENCE), 2 * _PATIENCE)
        interval = min(max(_number(begun.get("interval"), _INTERVAL), 1.0), _INTERVAL_LIMIT)
        try:
            async with asyncio.timeout(patience):
                return await self._poll(device, interval)
        except TimeoutError:
            raise Told(f"nobody signed in within {patience / 60:g} minutes; run this again") from None

    # The browser.

    def _address(self, redirect: str) -> str:
        return self._client.authorization(redirect, self._state, self._verifier, self._login)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came: asyncio.Future[str]
    ) -> None:
        status, text = "400 Bad Request", "This is not the end of the login that was begun."
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            words = head.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
            if len(words) == 3 and words[0] == "GET":
                try:
                    code = self._code(urlsplit(words[1]).query)
                except Told as error:
                    status, text = "200 OK", "Access was not granted. You can close this window."
                    if not came.done():
                        came.set_exception(error)
                else:
                    if code is not None:
                        status, text = "200 OK", "Done: you can close this window, and go on at the terminal."
                        if not came.done():
                            came.set_result(code)
            writer.write(_PAGE.format(status=status, text=text).encode())
            await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # somebody else, or a browser that only looks ahead
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _code(self, query: str) -> str | None:
        """Return the code that a browser brought; None if it is none of this login's.

        Raises:
            Told: access was not granted.
        """
        try:
            found = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=50))
        except ValueError:
            return None
        if not hmac.compare_digest(found.get("state", "").encode(), self._state.encode()):
            return None
        if "error" in found:
            # RFC 6749 §4.1.2.1: why not.
            said = f"{found['error']} {found.get('error_description', '')}".strip()
            raise Told(f"the issuer did not grant access: {printable(said)[:300]}")
        return found.get("code") or None

    async def _exchange(self, code: str, redirect: str) -> Granted:
        return self._granted(await self._endpoint.ask(self._client.exchange(code, redirect, self._verifier)))

    # The device code.

    async def _poll(self, device: str, interval: float) -> Granted:
        while True:
            await asyncio.sleep(interval)
            try:
                answer = await self._endpoint.ask(self._client.device_poll(device))
            except OSError:
                # RFC 8628 §3.5: whoever gets no answer asks half as often.
                interval = min(interval * 2, _INTERVAL_LIMIT)
                continue
            error = (read_object(answer[1]) or {}).get("error")
            if error == "authorization_pending":
                continue
            if error == "slow_down":
                interval = min(interval + _SLOWER, _INTERVAL_LIMIT)
                continue
            return self._granted(answer)

    # What came of it.

    def _want(self, url: str, key: str, otherwise: str) -> None:
        if not url:
            raise Told(f"the issuer gives no tokens this way, as far as is known ({key} is not set): {otherwise}")

    def _hidden(self) -> tuple[Secret, ...]:
        secret = self._client.secret
        return () if secret is None else (secret,)

    def _granted(self, answer: Answer) -> Granted:
        found = read_answer(answer, self._hidden())
        if not isinstance(found, Granted):
            raise self._trouble(found)
        if found.refresh_token is None and not self._client.is_itself:
            raise Told(
                "the issuer gave no refresh token, without which a route works for an hour: add offline_access to "
                "scopes, or allow it to this client at the issuer"
            )
        return found

    def _trouble(self, found: Refused | Away | Granted) -> Told:
        if isinstance(found, Refused):
            return Told(f"the issuer refuses: {found.reason}")
        reason = found.reason if isinstance(found, Away) else "an answer of another kind"
        return Told(f"the issuer cannot be asked now: {reason}")


def _number(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else otherwise
