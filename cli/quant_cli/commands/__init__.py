"""The commands of ``quant``, one noun a module."""
