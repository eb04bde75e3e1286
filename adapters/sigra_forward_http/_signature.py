"""Signatures by Standard Webhooks: https://www.standardwebhooks.com, version 1.0.0 of its specification."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest

from sigra_forward import ConfigurationError

PREFIX = "whsec_"

KEY_BYTES = range(24, 65)
"""Bytes of a key, by the specification."""


class Signer:
    """
    Signs with each of several keys, so that receivers can go from one to the next.

    Args:
        secrets: One, or several: ``whsec_`` and the base64 of 24 to 64 random bytes. Any of them verifies.
        option: What they were given as, for messages, which never quote them.

    Raises:
        ConfigurationError: One of them is no such secret, or there is none.
    """

    __slots__ = ("_keys",)

    def __init__(self, secrets: object, option: str) -> None:
        several = [secrets] if isinstance(secrets, str) else list(secrets) if isinstance(secrets, Sequence) else []
        self._keys = [_key(secret) for secret in several]
        if not self._keys or None in self._keys:
            msg = (
                f"{option} must be a secret, or several while you change it: 'whsec_' and the base64 of "
                f"{KEY_BYTES[0]} to {KEY_BYTES[-1]} random bytes"
            )
            raise ConfigurationError(msg)

    def __repr__(self) -> str:
        return "Signer(…)"

    def signed(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return the value of the header ``webhook-signature``."""
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (b64encode(digest(key, content, sha256)).decode() for key in self._keys if key is not None)
        return " ".join(f"v1,{signature}" for signature in signatures)


def _key(secret: object) -> bytes | None:
    if not isinstance(secret, str) or not secret.startswith(PREFIX):
        return None
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) in KEY_BYTES else None
