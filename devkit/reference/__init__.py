"""The reference of all keys: pages for people, and JSON schemas for editors.

Both are made of the sections of recipes and their docstrings. `make schema` writes them.
"""
