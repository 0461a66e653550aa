"""The flows: cycles of stages, and the gate before production."""
