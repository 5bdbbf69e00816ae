"""The store, where the two halves of a run meet: masks or probabilities of each image.

`store` finds an image's entry. `file` is the database of one writing process. A `payload` is what
one entry holds, and `packing` makes layers small. `other_stores` are those of other runs.
"""
