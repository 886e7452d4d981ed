"""One module per stage, each a factory over streams."""
