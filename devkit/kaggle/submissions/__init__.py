"""Submissions to a competition: sent once, scored, and noted in a ledger at home."""
