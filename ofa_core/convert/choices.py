"""Choices of conversion that parameters and `ofa export` name."""

from typing import Literal

Format = Literal["uint8", "int8", "dynamic", "float16", "float", "saved_model", "frozen", "onnx", "torch"]
"""What a network can be exported as.

uint8, int8   full-integer TFLite, including I/O         float     float32 TFLite
dynamic       TFLite, 8-bit weights, float activations   float16   TFLite, 16-bit weights
saved_model   TensorFlow SavedModel in a .zip archive    frozen    TensorFlow graph of constants, .pb
onnx          float32 ONNX                               torch     PyTorch weights, safetensors
"""
HardSwishChoice = Literal["fused", "composed", "auto"]
"""See `HardSwish`. auto measures both on this machine and takes the faster."""
