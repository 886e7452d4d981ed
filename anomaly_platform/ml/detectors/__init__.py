"""One detector per file; the contract is in ``base``."""
