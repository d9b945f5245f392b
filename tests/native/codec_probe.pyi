"""A client's codec without a connection, for tests."""

from typing import Any, final

from fastproxy.engine.python.exchange import Exchange

def use(exchange: Exchange) -> None:
    """The engine of this exchange is the one which streams are made for."""

@final
class StreamProbe:
    """One stream; its methods are called in the engine's thread."""

    events: list[tuple[Any, ...]]
    """What the exchange asked for: ("head", status, fields, length), ("reply", status, lines,
    length), ("end",), ("reset",), ("resume",), ("ask body",), ("upgrade",)."""
    body: bytes
    over: bool
    room: int | None
    def __init__(self, entry_point: int = 0) -> None: ...
    def ask(self, head: bytes, body: bytes = b"", last: bool = True) -> None:
        """A request: `head` as HTTP/1.1 writes it, and what of the body is here."""
    def send(self, body: bytes, last: bool) -> bool:
        """More of the body; True: nothing more is wanted until ("resume",)."""
    def refuse(self, status: int) -> None: ...
    def drain(self) -> None:
        """The client has taken everything."""
    def leave(self) -> None: ...
