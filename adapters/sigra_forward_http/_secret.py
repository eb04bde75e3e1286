"""`Secret`: a text that no representation shows."""

from __future__ import annotations

from sigra_forward import ConfigurationError


class Secret:
    """
    Holds a secret, and shows it to nobody who does not ask for it by name.

    Args:
        text: The secret.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret. Let no frame that may raise hold it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    def __reduce__(self) -> str:
        msg = "a secret is not to be pickled"
        raise TypeError(msg)


def secret(text: object, option: str) -> Secret:
    """
    Return *text* as a secret that may stand in a header.

    Raises:
        ConfigurationError: It may not. The message does not quote it.
    """
    if isinstance(text, Secret):
        return text
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
        msg = f"{option} must be a str of ASCII characters without blanks"
        raise ConfigurationError(msg)
    return Secret(text)
