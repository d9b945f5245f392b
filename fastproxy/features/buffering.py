"""Read requests and responses completely before passing them on, and retry failed requests.

The backend gets requests with a Content-Length; the retry expression is evaluated after each
answer and replays the request, at most 10 times (`features.md` 3.20). Upgrades are not buffered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastproxy.annotation_values import read_field, scalar, shown, yaml_integer, yaml_mapping
from fastproxy.engine.operations import Buffer as BufferOperation
from fastproxy.engine.operations import Operation, Phase, Scripted
from fastproxy.errors import TooLarge
from fastproxy.expression import RETRY, Expression, Literal, evaluate, parse
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Filter,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model import Config
from fastproxy.reply import Reply, plain

if TYPE_CHECKING:
    from fastproxy.engine.exchange import Exchange

SIZES = (
    "maxrequestbodybytes",
    "memrequestbodybytes",
    "maxresponsebodybytes",
    "memresponsebodybytes",
)
MAX_ATTEMPTS = 11
MEMORY = 1 << 20  # bytes of a request kept in memory where the annotation does not say


@dataclass(frozen=True, slots=True)
class Text:
    """The annotation with its types checked, but not its values."""

    sizes: tuple[int, ...] = (0, 0, 0, 0)
    retry: str = ""


def buffering(value: str) -> Text:
    fields = yaml_mapping(value)
    sizes = tuple(read_field(fields, name, yaml_integer, 0) for name in SIZES)
    return Text(sizes, read_field(fields, "retryexpression", scalar, ""))


BUFFERING: Annotation[Text] = Annotation(
    name="buffering",
    parse=buffering,
    default=Text(),
    doc="YAML: sizes in bytes `maxrequestbodybytes`, `memrequestbodybytes`, "
    "`maxresponsebodybytes`, `memresponsebodybytes` (max 0: unlimited; above mem a temporary "
    "file is used) and `retryexpression` over "
    "`IsNetworkError()`, `Attempts()`, `ResponseCode()`, `RequestMethod()`.",
    example=(
        "maxrequestbodybytes: 10485760\n"
        "memrequestbodybytes: 1048576\n"
        "retryexpression: IsNetworkError() && Attempts() <= 2\n"
    ),
    on_invalid=OnInvalid.OFF,
)


@dataclass(frozen=True, slots=True)
class Buffering(Config):
    """Sizes in bytes; 0 = unlimited."""

    max_request: int = 0
    mem_request: int = 0
    max_response: int = 0
    mem_response: int = 0
    retry: Expression | None = None


def read(notes: Notes, refs: Refs) -> Buffering | None:
    """Not None as soon as the annotation is present: `{}` buffers too."""
    if not notes.has(BUFFERING):
        return None
    text = notes.get(BUFFERING)
    for name, size in zip(SIZES, text.sizes, strict=True):
        if size < 0:
            raise Invalid(BUFFERING.name, f"{name} is {size}; write 0 or more", OnInvalid.DROP)
    try:
        retry = parse(text.retry, RETRY) if text.retry else None
    except ValueError as problem:
        sentence = f"retryexpression {shown(text.retry)}: {problem}"
        raise Invalid(BUFFERING.name, sentence, OnInvalid.DROP) from None
    max_request, mem_request, max_response, mem_response = text.sizes
    return Buffering(max_request, mem_request, max_response, mem_response, retry)


def build(config: Buffering, context: BuildContext) -> Sequence[Operation]:
    around = Scripted(in_phase=Phase.AROUND, config=config)
    if config.retry is not None:
        return [around]
    return [BufferOperation(config.max_request, config.max_response, config.mem_response), around]


class Buffer(Filter):
    """Requests whose body arrives in pieces, and retries; the rest is done by the engine."""

    __slots__ = ("_config",)

    def __init__(self, config: Buffering) -> None:
        self._config = config

    async def around(self, exchange: Exchange) -> Reply | None:
        if exchange.header("Upgrade") is not None:
            return None
        try:
            await exchange.body(self._config.max_request, self._config.mem_request or MEMORY)
        except TooLarge:
            return plain(413)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                response = await exchange.forward(
                    self._config.max_response, self._config.mem_response
                )
            except TooLarge:
                return plain(500)  # FIX 23: never a truncated response
            if attempt == MAX_ATTEMPTS or not self._again(exchange, response.status, attempt):
                break
        return Reply(response.status, response.body, response.headers)

    def _again(self, exchange: Exchange, status: int, attempt: int) -> bool:
        if self._config.retry is None:
            return False
        values: dict[str, Any] = {
            "Attempts": attempt,
            "ResponseCode": status,
            "RequestMethod": exchange.method,
            "IsNetworkError": status in (502, 504),
        }

        def value_of(function: str, arguments: tuple[Literal, ...]) -> Any:
            return values[function]

        return evaluate(self._config.retry, value_of)


FEATURE = Feature(
    name="Buffering",
    scope=Scope.SERVICE,
    annotations=(BUFFERING,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Buffering,
    build=build,
    filter=Buffer,
    doc=__doc__ or "",
)
