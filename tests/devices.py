"""The devices that a test is run on: a CPU always, CUDA where it is."""

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])
DEVICES = ["cpu", CUDA]
