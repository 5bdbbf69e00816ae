"""How good predictions are, and which thresholds and sizes make them better."""
