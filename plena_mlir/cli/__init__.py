"""The commands `plena` and `plena-opt`."""
