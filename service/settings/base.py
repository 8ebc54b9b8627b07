"""What every section of the configuration is made of: strict frozen models and shared types."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
)


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error.

    ``refused`` names keys that somebody may well try, with the reason why they are not taken;
    the reason becomes the error message.
    """

    # inputs stay out of errors: one may be a secret that landed under the wrong key
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    refused: ClassVar[Mapping[str, str]] = {}


def _split(value: Any) -> Any:
    """Take ``a,b`` for a list, as environment variables write one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _topic(value: str) -> str:
    if value in {".", ".."}:
        msg = "is no topic name"
        raise ValueError(msg)
    return value


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):  # noqa: PLR2004 -- the port range of TCP
        msg = "should look like host:port"
        raise ValueError(msg)
    if "/" in host:
        msg = "should look like host:port, without a scheme or a path"
        raise ValueError(msg)
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        msg = f"names {', '.join(twice)} more than once"
        raise ValueError(msg)
    return values


TOPIC_PATTERN = r"^[A-Za-z0-9._-]{1,249}$"
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"

Topic = Annotated[str, Field(pattern=TOPIC_PATTERN), AfterValidator(_topic)]
"""A name that Kafka accepts for a topic."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A key of ours: it appears in record headers, metric attributes and URLs."""

Address = Annotated[
    str,
    AfterValidator(_address),
    # what a chart or an editor can check before the service does
    WithJsonSchema({"type": "string", "pattern": r"^.+:[0-9]{1,5}$"}),
]
NonEmpty = Annotated[str, Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65535)]
Strings = Annotated[tuple[NonEmpty, ...], BeforeValidator(_split), AfterValidator(_unique)]
Topics = Annotated[tuple[Topic, ...], BeforeValidator(_split), AfterValidator(_unique)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_split), AfterValidator(_unique)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Millis = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]


def read_secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret given in place or in ``file``, without the newline that editors append.

    Files are read at each call, so that a rotated secret is seen by the next connection.

    Raises:
        OSError: If the file cannot be read, or holds no text.
    """
    if value is not None:
        return value.get_secret_value()
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except UnicodeDecodeError:  # names a byte of the secret, and is no OSError
            raise OSError(f"{file}: is no UTF-8") from None
    return None
