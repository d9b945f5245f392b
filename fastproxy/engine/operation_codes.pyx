"""See operation_codes.pxd."""
