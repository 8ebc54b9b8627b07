"""Unsigned LEB128 numbers: seven bits a byte, lowest first, the high bit says "more".

The encoding that Kafka itself uses for small numbers (DWARF 5, section 7.6).
"""

_PAYLOAD = 0x7F
_MORE = 0x80
_SHIFT_MAX = 63


def varint(number: int) -> bytes:
    """Encode ``number``, which must not be negative."""
    encoded = bytearray()
    while number > _PAYLOAD:
        encoded.append(number & _PAYLOAD | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def varint_size(number: int) -> int:
    """Bytes that :func:`varint` makes of ``number``."""
    return max((number.bit_length() + 6) // 7, 1)


class VarintReader:
    """Takes numbers off the front of ``data``."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def varint(self) -> int:
        """The next number.

        Raises:
            ValueError: If the data ends before the number does, or it has more than 70 bits.
        """
        number = shift = 0
        while True:
            if self._at >= len(self._data) or shift > _SHIFT_MAX:
                raise ValueError("truncated or oversize number")
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & _PAYLOAD) << shift
            if not byte & _MORE:
                return number
            shift += 7

    def take(self, size_bytes: int) -> bytes:
        """The next ``size_bytes``.

        Raises:
            ValueError: If there are fewer.
        """
        taken = self._data[self._at : self._at + size_bytes]
        if len(taken) != size_bytes:
            raise ValueError("truncated data")
        self._at += size_bytes
        return taken

    def rest(self) -> bytes:
        """Everything not read yet."""
        return self._data[self._at :]
