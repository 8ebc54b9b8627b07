"""The file of bearer tokens, which holds their hashes only.

.. code-block:: yaml

    tokens:
      - name: shop-frontend                # for logs and limits
        sha256: 9f86d081884c7d65...        # of the token's bytes
        pipelines: [orders]                # may send to; "*" is all; none by default
        topics: [alerts]                   # may watch; "*" is all; none by default
        expires_at: 2027-01-31T00:00:00Z   # optional

A token is a long random string, so a plain hash is enough: there is nothing to guess from it, and
looking it up by its hash tells a client nothing by how long it takes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from service.errors import ConfigurationError
from service.server.principal import Principal

_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$"), AfterValidator(str.lower)]


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: _Hash
    pipelines: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    expires_at: AwareDatetime | None = None


class _TokenFile(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    tokens: list[_Token]


def hash_token(token: str) -> str:
    """What the file holds in place of ``token``."""
    return hashlib.sha256(token.encode()).hexdigest()


def parse_tokens(text: str) -> Mapping[str, Principal]:
    """Principals by the hash of their token.

    Raises:
        ConfigurationError: If ``text`` is no such file; no message carries a hash.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # ValueError and OverflowError are of dates that there are not: 2027-02-30
        raise ConfigurationError([f"tokens_file: not YAML ({type(error).__name__})"]) from None
    try:
        file = _TokenFile.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(
            [
                f"tokens_file: {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors(include_input=False)
            ]
        ) from None
    principals: dict[str, Principal] = {}
    for token in file.tokens:
        if token.sha256 in principals:
            raise ConfigurationError([f"tokens_file: {token.name}: token given twice"])
        principals[token.sha256] = Principal(
            name=token.name,
            pipelines=token.pipelines,
            topics=token.topics,
            expires_at_s=None if token.expires_at is None else token.expires_at.timestamp(),
        )
    return principals


def load_tokens(path: Path) -> Mapping[str, Principal]:
    """Read and parse ``path``; blocks.

    Raises:
        ConfigurationError: If it cannot be read or is no token file.
    """
    try:
        return parse_tokens(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"tokens_file: {error}"]) from error
