"""Datasets on Kaggle: a built folder becomes the current version of a dataset."""
