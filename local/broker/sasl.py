"""The SASL exchange that precedes AMQP on a connection (AMQP 1.0, part 5, section 5.3).

Proton's Python binding knows a fixed set of mechanisms, and `MSSBCBS`, the only one of the .NET
SDK, is not among them. So the exchange happens here, in front of Proton, which is given the bytes
behind it. No mechanism but `PLAIN` carries anything: the right to use an entity comes from a token
that the client puts to `$cbs` later.
"""

from collections.abc import Callable, Sequence
from typing import Any

from . import encoding
from .encoding import Described, EncodingError

MECHANISMS = ("MSSBCBS", "ANONYMOUS", "EXTERNAL", "PLAIN")

_SASL_HEADER = b"AMQP\x03\x01\x00\x00"
_HEADER_BYTES = 8
_MAX_FRAME_BYTES = 512  # MIN-MAX-FRAME-SIZE; larger frames are not allowed here
_MECHANISMS_CODE, _INIT_CODE, _OUTCOME_CODE = 0x40, 0x41, 0x44
_OK, _AUTHENTICATION_FAILED = 0, 1


class SaslError(ValueError):
    """The bytes are not a SASL exchange; the connection cannot go on."""


class SaslServer:
    """The server's side of one exchange, from bytes to bytes.

    Args:
        log_in: accepts or refuses a user name and a password, for `PLAIN`.
    """

    def __init__(self, log_in: Callable[[str, str], bool]) -> None:
        self._log_in = log_in
        self._input = b""
        self._greeted = False
        self._output = b""
        self.done = False
        """Whether the exchange is over; what follows is AMQP."""
        self.failed = False
        """Whether the client was refused; the connection must be closed."""

    def receive(self, data: bytes) -> bytes:
        """Take in bytes; return those behind the exchange, once it is over. Raise SaslError."""
        self._input += data
        if not self._greeted:
            self._greet()
        if self._greeted and not self.done:
            self._read_init()
        rest = b""
        if self.done:
            rest, self._input = self._input, b""
        return rest

    def take_output(self) -> bytes:
        """Return the bytes that must go to the client next."""
        output, self._output = self._output, b""
        return output

    def _greet(self) -> None:
        if len(self._input) < _HEADER_BYTES:
            return
        self._greeted = True
        if self._input[:_HEADER_BYTES] != _SASL_HEADER:
            self.done = True  # a client that skips SASL, or one that Proton will refuse
            return
        self._input = self._input[_HEADER_BYTES:]
        symbols = encoding.symbols(MECHANISMS)
        self._output += _SASL_HEADER + _frame(_MECHANISMS_CODE, [symbols])

    def _read_init(self) -> None:
        size = int.from_bytes(self._input[:4])
        if len(self._input) >= 4 and not _HEADER_BYTES < size <= _MAX_FRAME_BYTES:
            raise SaslError("a SASL frame has a wrong size")
        if len(self._input) < max(size, _HEADER_BYTES):
            return
        frame, self._input = self._input[:size], self._input[size:]
        mechanism, response = _parse_init(frame)
        accepted = mechanism in MECHANISMS and (
            mechanism != "PLAIN" or self._log_in_plain(response)
        )
        code = _OK if accepted else _AUTHENTICATION_FAILED
        self._output += _frame(_OUTCOME_CODE, [encoding.ubyte(code)])
        self.done = accepted
        self.failed = not accepted

    def _log_in_plain(self, response: bytes) -> bool:
        try:
            _, user, password = response.decode().split("\0")
        except ValueError:
            return False
        return self._log_in(user, password)


def _parse_init(frame: bytes) -> tuple[str, bytes]:
    """Return the mechanism and the initial response of a sasl-init frame."""
    data_offset, frame_type = 4 * frame[4], frame[5]
    try:
        init: Any = encoding.decode(frame, data_offset)[0]
    except EncodingError as error:
        raise SaslError("a SASL frame is not readable") from error
    if frame_type != 1 or not isinstance(init, Described) or init.descriptor != _INIT_CODE:
        raise SaslError("sasl-init was expected")
    fields = init.value if isinstance(init.value, list) else []
    mechanism, response, *_ = [*fields, None, None]
    return str(mechanism), response if isinstance(response, bytes) else b""


def _frame(code: int, fields: Sequence[bytes]) -> bytes:
    body = encoding.described(code, encoding.sequence(fields))
    return (8 + len(body)).to_bytes(4) + b"\x02\x01\x00\x00" + body
