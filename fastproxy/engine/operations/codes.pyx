"""See codes.pxd."""
