"""Training of whole fleets of series into one bundle."""
