"""The SMTP password of Amazon SES, made of a secret access key: AWS Signature Version 4 of a fixed text.

It is good for one region.  The secret access key itself never goes over the wire.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from gatepost.model.identity import Secret

__all__ = ["smtp_password"]

_DATE: Final = b"11111111"
_VERSION: Final = b"\x04"


def smtp_password(secret_access_key: Secret, region: str) -> Secret:
    """Return the password for the SMTP interface in *region*, such as ``eu-central-1``."""
    signature = b"AWS4" + secret_access_key.reveal()
    for part in (_DATE, region.encode("ascii"), b"ses", b"aws4_request", b"SendRawEmail"):
        signature = hmac.digest(signature, part, "sha256")
    return Secret(base64.b64encode(_VERSION + signature))
