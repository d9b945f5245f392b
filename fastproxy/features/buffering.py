"""Read requests and responses completely before passing them on, and retry failed requests.

The backend gets requests with a Content-Length; the retry expression is evaluated after each
answer and replays the request, at most 10 times (`features.md` 3.20). Upgrades are not buffered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastproxy.annotation_values import read_field, scalar, shown, yaml_integer, yaml_mapping
from fastproxy.engine.operations.writer import Buffer as BufferOperation
from fastproxy.engine.operations.writer import Operation
from fastproxy.expression import RETRY, Expression, parse, retry_program
from fastproxy.feature import (
    Annotation,
    BuildContext,
    Feature,
    Invalid,
    Notes,
    OnInvalid,
    Refs,
    Scope,
)
from fastproxy.model.configuration import Config

SIZES = (
    "maxrequestbodybytes",
    "memrequestbodybytes",
    "maxresponsebodybytes",
    "memresponsebodybytes",
)
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
    keys_inside=dict.fromkeys((*SIZES, "retryexpression")),
    public=True,
    unusable=OnInvalid.DROP,
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
    program = b"" if config.retry is None else retry_program(config.retry)
    sizes = config.max_request, config.mem_request or MEMORY, config.max_response
    return [BufferOperation(*sizes, config.mem_response, program)]


FEATURE = Feature(
    name="Buffering",
    scope=Scope.SERVICE,
    annotations=(BUFFERING,),
    read=read,
    on_invalid=OnInvalid.DROP,
    config=Buffering,
    build=build,
    doc=__doc__ or "",
)
