"""The workshop: what runs on your own machine and never on Kaggle."""
