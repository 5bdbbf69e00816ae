"""What the tests of a GPU and its benchmark import, as pip names it."""

__all__ = ["FROM_THE_MACHINE", "HEAVY", "MODULES", "REQUIREMENTS"]

# What kernelkit's way of an image and the tests import. The versions are the oldest that will do.
REQUIREMENTS = (
    "numba>=0.60",
    "opencv-python-headless>=4.9",
    "matplotlib>=3.8",
    "pandas>=2.2",
    "psutil>=5.9",
    "pydantic>=2.10",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pyyaml>=6",
    "rasterio>=1.4",
    "safetensors>=0.4",
    "scipy>=1.11",
    "segmentation-models-pytorch>=0.5",
    "tifffile>=2024.1",
    "timm>=1.0.15",
    "tqdm>=4.66",
)
# These come with the machine's Python, always. Others would not fit its driver, or each other.
FROM_THE_MACHINE = ("torch", "torchvision", "numpy")
# Machines for science have these. They are gathered only if they are named.
HEAVY = (
    "huggingface-hub",
    "matplotlib",
    "numba",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "scipy",
)
# Modules that other packages may bring too, and the requirement that they fulfil.
MODULES = {"cv2": "opencv-python-headless>=4.9"}
