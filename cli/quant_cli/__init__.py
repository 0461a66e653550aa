"""The ways in: the ``quant`` command."""
