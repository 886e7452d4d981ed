"""The five barcode rules."""
