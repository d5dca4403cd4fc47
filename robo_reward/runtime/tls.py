"""TLS of the link: the learner's certificate, and what an actor trusts; read and checked before anything is said."""

from __future__ import annotations

import ssl
from pathlib import Path

from robo_reward.config import RuntimeConfig

Keys = tuple[bytes, bytes]
"""Private key and certificate chain, PEM."""


def read_keys(settings: RuntimeConfig) -> Keys | None:
    """Of `runtime.key` and `runtime.certificate`; None where there are none.

    Raises:
        ValueError: a file that cannot be read, or two that do not belong together.
    """
    if settings.key is None or settings.certificate is None:
        return None
    keys = _read(settings.key, "runtime.key"), _read(settings.certificate, "runtime.certificate")
    try:
        # Without a password here, a key that has one would be asked for at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.certificate, settings.key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"runtime.certificate={settings.certificate} and runtime.key={settings.key} are no certificate with its "
            f"own key, without a password ({_reason(error)}): docs/runtime.md says how to make them"
        ) from None
    return keys


def read_root(settings: RuntimeConfig) -> bytes | None:
    """Of `runtime.root`, PEM; None where it is not set. ValueError for a file that holds no certificate."""
    if settings.root is None:
        return None
    root = _read(settings.root, "runtime.root")
    try:
        ssl.create_default_context(cadata=root.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"runtime.root={settings.root} holds no certificate ({_reason(error)}): copy the learner's "
            "runtime.certificate here"
        ) from None
    return root


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{setting}={path} cannot be read ({error.strerror}): give a PEM file") from None


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or str(error)).lower().replace("_", " ")
