"""One interpreter for each dialect: it runs the IR of that level."""
