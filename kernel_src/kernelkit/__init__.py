"""kernelkit: gigapixel segmentation inside an offline code-competition notebook."""

__version__ = "0.1.0"
