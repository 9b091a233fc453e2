"""``python -m sgfd``: what is installed, which kernels run, and how to install what is missing."""

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import sgfd
from sgfd.graph import backend
from sgfd.graph._backend import COMPILE, kernels_line

# What each extra brings.
EXTRAS = {
    "train": ("lightning", "tensorboard"),
    "export": ("safetensors", "faiss-cpu", "onnx", "onnxscript", "onnxruntime"),
    "data": ("pandas",),
    "viz": ("matplotlib", "scikit-learn"),
    "labels": ("scikit-learn",),
}


def installed(package: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Print versions, the kernel backend with its reason, and install lines."""
    cuda = torch.version.cuda or "none (CPU build)"
    if torch.cuda.is_available():
        cuda += f", {torch.cuda.get_device_name()}"
    rows = {
        "sgfd": sgfd.__version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": torch.__version__,
        "CUDA": cuda,
    }
    optional = [package for packages in EXTRAS.values() for package in packages]
    for package in ("torch-geometric", "torch-sparse", "torch-scatter", *optional):
        rows[package] = installed(package) or "not installed"
    try:
        name, reason = backend()
        rows["kernel backend"] = f"{name} ({reason})"
    except (ImportError, ValueError) as error:
        rows["kernel backend"] = f"error: {error}"
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")

    extras = [extra for extra, names in EXTRAS.items() if not all(map(installed, names))]
    if extras:
        print(f'\nTo install the rest:\n  pip install "sgfd[{",".join(extras)}]"')
    if not (installed("torch-sparse") and installed("torch-scatter")):
        print(
            f"\nTo install torch-sparse and torch-scatter (optional) for this torch:\n"
            f"  {kernels_line()}\n"
            f"or, where there is no wheel for it (compiles for 20 minutes or more):\n  {COMPILE}"
        )


if __name__ == "__main__":
    main()
