"""Talking to Kaggle: the official client with time limits, clear errors and no leaked secrets."""
