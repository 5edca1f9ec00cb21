"""The SASL exchange in front of AMQP, byte by byte."""

import pytest

from local.broker import encoding
from local.broker.sasl import MECHANISMS, SaslError, SaslServer

HEADER = b"AMQP\x03\x01\x00\x00"
AMQP = b"AMQP\x00\x01\x00\x00and more"


def frame(code: int, *fields: bytes) -> bytes:
    body = encoding.described(code, encoding.sequence(fields))
    return (8 + len(body)).to_bytes(4) + b"\x02\x01\x00\x00" + body


def init(mechanism: str, response: bytes | None = None) -> bytes:
    answer = encoding.NULL if response is None else encoding.binary(response)
    return frame(0x41, encoding.symbol(mechanism), answer)


def server() -> SaslServer:
    return SaslServer(lambda user, password: (user, password) == ("key name", "key"))


def outcome(output: bytes) -> int:
    """The code of the outcome frame that the output ends with."""
    code: int = encoding.decode(output[-18:], output[-18:].index(b"\x00\x53\x44"))[0].value[0]
    return code


@pytest.mark.parametrize("mechanism", ["MSSBCBS", "ANONYMOUS", "EXTERNAL"])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_lets_every_sdk_in(mechanism: str, chunk: int) -> None:
    """In pieces of any size, each mechanism is accepted and what follows it is passed on."""
    sasl = server()
    sent = HEADER + init(mechanism, b"") + AMQP
    rest = b"".join(sasl.receive(sent[at : at + chunk]) for at in range(0, len(sent), chunk))
    output = sasl.take_output()
    assert rest == AMQP
    assert sasl.done
    assert output.startswith(HEADER)
    offered = encoding.decode(output, len(HEADER) + 8)[0]
    assert offered.descriptor == 0x40
    assert offered.value == [list(MECHANISMS)]
    assert outcome(output) == 0
    assert sasl.take_output() == b""


@pytest.mark.parametrize(
    ("response", "accepted"),
    [
        (b"\0key name\0key", True),
        (b"someone\0key name\0key", True),
        (b"\0key name\0wrong", False),
        (b"key name", False),
        (b"\xff\0a\0b", False),
        (None, False),
    ],
)
def test_plain_needs_a_shared_access_key(response: bytes | None, accepted: bool) -> None:
    """With PLAIN, key name and key must be right."""
    sasl = server()
    sasl.receive(HEADER + init("PLAIN", response))
    assert (sasl.done, sasl.failed) == (accepted, not accepted)
    assert outcome(sasl.take_output()) == (0 if accepted else 1)


def test_an_unknown_mechanism_is_refused() -> None:
    """The client gets the outcome "not authenticated", and nothing is passed on."""
    sasl = server()
    assert sasl.receive(HEADER + init("GSSAPI") + AMQP) == b""
    assert sasl.failed
    assert outcome(sasl.take_output()) == 1


def test_a_client_may_skip_sasl() -> None:
    """AMQP without SASL is passed on as it comes."""
    sasl = server()
    assert sasl.receive(AMQP[:3]) == b""
    assert sasl.receive(AMQP[3:]) == AMQP
    assert sasl.take_output() == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x04",
        frame(0x44, b"\x50\x00"),
        b"\x00\x00\x00\x0a\x02\x01\x00\x00\xff\xff",
        b"\x00\x00\x00\x0a\xff\x01\x00\x00\x40\x40",
    ],
)
def test_what_is_not_sasl_ends_the_exchange(sent: bytes) -> None:
    """Frames of a wrong size or kind are refused rather than waited for."""
    with pytest.raises(SaslError):
        server().receive(HEADER + sent)
