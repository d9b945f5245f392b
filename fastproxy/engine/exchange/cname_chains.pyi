"""Where the CNAME chains of hosts end. See cname_chains.pyx."""

class Aliases:
    """4,096 names at most; times are nanoseconds of any one clock."""

    def put(self, host: bytes, alias: bytes, now_ns: int, until_ns: int) -> None:
        """Remember where the chain of a host ends; an empty alias: where it begins."""

    def find(self, host: bytes, now_ns: int) -> bytes | None:
        """Return the alias, empty where there is none; None when it is not known (any more)."""

def is_name(host: bytes) -> bool:
    """Say whether a lookup makes sense: an address has no CNAME."""
