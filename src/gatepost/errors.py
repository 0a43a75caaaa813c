"""Our exceptions: trouble that is not an answer.

What a client may not do and what a next hop said are values (`Verdict`, `Outcome`, `Result`), never raised.

    GatepostError
    ├── Malformed (ValueError)        -> 501, with its own enhanced code
    │   ├── UnwantedInitialResponse   -> 501 5.7.0 (RFC 4954 §4)
    │   ├── Cancelled                 -> 501 5.7.0
    │   └── TooLong                   -> 500 5.5.6
    ├── ConfigError                   before start: file, key and remedy, never a traceback
    ├── Unavailable                   somebody we depend on is away; try later
    │   ├── StoreUnavailable          -> 454 4.7.0
    │   ├── SpoolUnavailable          -> 451 4.3.0
    │   │   └── SpoolFull             -> 452 4.3.1
    │   ├── StateUnavailable          nobody is turned away for it
    │   └── ResolverUnavailable       the attempt is deferred
    └── Misuse                        our bug: wrong order of calls -> 451 4.3.0, with a traceback
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "ConfigError",
    "GatepostError",
    "Malformed",
    "Misuse",
    "ResolverUnavailable",
    "SpoolFull",
    "SpoolUnavailable",
    "StateUnavailable",
    "StoreUnavailable",
    "TooLong",
    "Unavailable",
    "UnwantedInitialResponse",
]


class GatepostError(Exception):
    """Every exception of ours."""


class Malformed(GatepostError, ValueError):
    """The client spoke badly.

    Args:
        reason: what is wrong, for the log; never holds a secret.
        enhanced: enhanced status code of the 501 (RFC 3463), such as ``5.5.2``.
        code: basic code, if it is not 501.
        text: what the client hears, if the usual text does not fit.
    """

    def __init__(self, reason: str = "malformed", *, enhanced: str = "5.5.2", code: int = 501, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.enhanced = enhanced
        self.code = code
        self.text = text


class UnwantedInitialResponse(Malformed):
    """An initial response came with a mechanism in which the server speaks first (RFC 4954 §4)."""

    def __init__(self) -> None:
        super().__init__("initial response with a server-first mechanism", enhanced="5.7.0")


class Cancelled(Malformed):
    """The client ended the exchange with ``*`` (RFC 4954 §4)."""

    def __init__(self) -> None:
        super().__init__("cancelled by the client", enhanced="5.7.0", text="Authentication cancelled")


class TooLong(Malformed):
    """A line of an exchange was longer than our buffer (RFC 4954 §4)."""

    def __init__(self) -> None:
        super().__init__("line too long", enhanced="5.5.6", code=500, text="Authentication exchange line is too long")


class ConfigError(GatepostError):
    """The configuration cannot be used.

    Args:
        problems: one line each: ``file:line: key: what is wrong, what to do``.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unavailable(GatepostError):
    """Somebody we depend on is away; try later."""


class StoreUnavailable(Unavailable):
    """A credential store or token issuer cannot be asked now."""


class SpoolUnavailable(Unavailable):
    """The spool cannot keep mail now."""


class SpoolFull(SpoolUnavailable):
    """The spool has no room for more mail now."""


class StateUnavailable(Unavailable):
    """What the processes of the node share cannot be read or written now."""


class ResolverUnavailable(Unavailable):
    """A name cannot be resolved now."""


class Misuse(GatepostError):
    """Our own bug: calls in the wrong order."""
