"""The whole way to a checked submission, at home, as Kaggle would run it.

`__main__` is the command line of `make dry-run`, and `run` says what happens, step by step.
"""
