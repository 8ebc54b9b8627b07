"""Bearer tokens that an issuer signs: JSON Web Tokens, checked against a key set in a file.

The algorithms are fixed by configuration and asymmetric: what a token says about itself is never
believed before its signature is.  Needs the extra ``jwt``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from service.errors import ConfigurationError
from service.server.principal import Principal
from service.settings import JwtSettings

CLOCK_SKEW_S = 30
"""How far the issuer's clock may be off."""

MAX_TOKEN_BYTES = 8192

PIPELINES_CLAIM = "headrace_pipelines"
TOPICS_CLAIM = "headrace_topics"


class SignedTokens:
    """Checks tokens against the keys of one key set.

    Args:
        settings: Audience, issuer and algorithms.
        key_set: The parsed JSON Web Key Set.

    Raises:
        ConfigurationError: If the extra is missing or the key set is unusable.
    """

    def __init__(self, settings: JwtSettings, key_set: Mapping[str, Any]) -> None:
        try:
            import jwt  # noqa: PLC0415 -- an extra
        except ImportError:
            raise ConfigurationError(["server.jwt: needs the extra: headrace[jwt]"]) from None
        self._jwt = jwt
        self._settings = settings
        try:
            keys = jwt.PyJWKSet.from_dict(dict(key_set)).keys
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            reason = type(error).__name__
            raise ConfigurationError([f"server.jwt.jwks_file: not usable ({reason})"]) from None
        self._keys = {key.key_id: key for key in keys if isinstance(key.key_id, str)}

    def check(self, token: str) -> Principal | None:
        """The principal of ``token``, or ``None`` for any token that is not good now."""
        jwt = self._jwt
        if len(token) > MAX_TOKEN_BYTES:
            return None
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key=key,
                algorithms=list(self._settings.algorithms),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=CLOCK_SKEW_S,
                options={"require": ["exp", "aud", "iss", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        return Principal(
            name=str(claims["sub"])[:100],
            pipelines=_names(claims.get(PIPELINES_CLAIM)),
            topics=_names(claims.get(TOPICS_CLAIM)),
            expires_at_s=float(claims["exp"]) + CLOCK_SKEW_S,
        )


def _names(claim: Any) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    if isinstance(claim, list):
        return frozenset(name for name in claim if isinstance(name, str))
    return frozenset()


def load_signed_tokens(settings: JwtSettings) -> SignedTokens:
    """Read the key set; blocks.

    Raises:
        ConfigurationError: If it cannot be read or used.
    """
    path: Path = settings.jwks_file
    try:
        key_set = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigurationError([f"server.jwt.jwks_file: {error}"]) from None
    if not isinstance(key_set, dict):
        raise ConfigurationError(["server.jwt.jwks_file: not a JSON object"])
    return SignedTokens(settings, key_set)
