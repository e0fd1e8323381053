"""The sizes of the tiny checkpoint that the tests of commands run."""

SEQ, LAYERS, VOCAB = 5, 2, 40
