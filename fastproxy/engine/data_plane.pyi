"""The engine of one worker as `fastproxy.processes.worker` sees it."""

import asyncio
from collections.abc import Sequence
from typing import Any, final

from fastproxy.model.configuration import Endpoint
from fastproxy.tables.change import BackendSpecification as BackendSpecification
from fastproxy.tables.change import Change as Change

@final
class DataPlane:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Any,
        *,
        worker: int,
        shared: int,
        observed: Any = None,
    ) -> None:
        """`settings` is `fastproxy.settings.options.Settings`; `shared` a file descriptor of the
        shared region, or -1; `observed`: `fastproxy.processes.rings.Observed`, or None. Hooks the
        engine into the loop's own libuv loop."""
    def listen(self, descriptor: int, entry_point: int) -> None:
        """Accept from a listening socket owned by the parent. `entry_point` is the index of the
        entry point in `sorted(settings.entry_points)`."""
    def prepare(self, generation: int, block: int, change: Change) -> None:
        """Map the compiled table (a sealed memfd) and build what changed, beside the running one.
        Raises ValueError when the block is damaged; the running generation is untouched."""
    def activate(self, generation: int) -> None: ...
    def discard(self, generation: int) -> None: ...
    def set_endpoints(self, slot: int, endpoints: tuple[Endpoint, ...]) -> None:
        """Replace one backend's endpoints in place; surviving endpoints keep their connections."""
    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        """Replace the keys of TLS session tickets (`engine.tls.ServerContext`)."""
    def answer_ping(self, healthy: bool, ready: bool) -> None:
        """What `/ping` and `/ready` say from now on."""
    def stop_accepting(self) -> None: ...
    def drain(self) -> None:
        """Close idle keep-alive connections, send `Connection: close` on the rest."""
    @property
    def active(self) -> int:
        """Open client connections."""
    def statistics(self) -> dict[str, int]: ...
    async def close(self) -> None: ...
