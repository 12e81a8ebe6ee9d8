"""Choices of quantisation that parameters name."""

from typing import Literal

Quantization = Literal["post", "aware"]
"""post: ranges are observed after training. aware: trained with the rounding of the integer file."""
Calibration = Literal["minmax", "moving_average", "percentile", "mse"]
"""How ranges come from what activations were on images.

minmax          the smallest and the largest value
moving_average  of the smallest and largest values of batches (Jacob et al. 2018, section 3.1, https://arxiv.org/abs/1712.05877)
percentile      without the outermost values (Wu et al. 2020, section 3.2, https://arxiv.org/abs/2004.09602)
mse             with the least squared error of rounding and clipping (Nagel et al. 2021, section 3.1,
                https://arxiv.org/abs/2106.08295)
"""
