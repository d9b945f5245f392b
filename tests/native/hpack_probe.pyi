from collections.abc import Sequence

class Refused(Exception):
    reason: str

class Decoder:
    def __init__(self, limit: int = ..., wire_limit: int = ...) -> None: ...
    def decode(self, data: bytes, rounds: int = ...) -> list[tuple[bytes, bytes, bool]]: ...
    flaws: list[int]
    kinds: list[int]
    too_large: bool
    block_size: int
    table_size: int
    table_entries: int
    memory: int

def encode(
    fields: Sequence[tuple[bytes, bytes, bool]],
    *,
    huffman: bool = ...,
    start: bool = ...,
    capacity: int = ...,
    rounds: int = ...,
) -> bytes | None: ...
def encode_status(status: int) -> bytes: ...
def encode_indexed(index: int) -> bytes: ...
def huffman(data: bytes) -> bytes: ...
def text_of(data: bytes) -> bytes | None: ...
