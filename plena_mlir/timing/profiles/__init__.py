"""The cycle models: each file defines one as `PROFILE`, under the name of the file."""
