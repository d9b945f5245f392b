"""llhttp from the installed httptools, verified at import."""

def check(path: str, version: str) -> None:
    """Do with a library file what the import does with httptools: ImportError when the engine could
    not use it."""
