"""The matcher and the balancers as Python sees them; the engine uses the C side (`_core.pxd`)."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, final

from typing_extensions import Buffer

from fastproxy.rules import Matcher
