"""Checking sections; see `fastproxy._core.check`."""
