"""The notebook on Kaggle, which Kaggle calls a kernel.

Its folder is written, it is pushed, its run is followed, and its output is fetched.
"""
