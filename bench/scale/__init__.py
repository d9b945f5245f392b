"""How the control path behaves in a large cluster; run `python -m bench.scale`."""
