"""The stages of the daily data cycle."""
