"""What kernelkit keeps on this machine: where it lies, how large it is, and how to remove it.

`places` knows what there may be. `usage` measures it. `removal` removes it, and nothing else.
"""
