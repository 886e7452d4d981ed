"""Labels that people give, and the thresholds that follow them."""
