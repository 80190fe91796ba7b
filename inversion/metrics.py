"""Measures of a reconstruction, each with its convention; images are RGB in [-1, 1].

A reconstruction is measured at the generator's resolution, or averaged down to MEASURE_PX where that is larger.
"""

from collections.abc import Iterable
from math import ceil, floor, log2, log10

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from generators.base import averaged
from generators.parts.lite import maps_distance
from generators.parts.ops import smooth
from generators.pictures.image import to_pil
from inversion.errors import SettingsError
from inversion.faces.detect import describe, landmarks
from inversion.features import (
    Lpips,
    perceptual_maps,
)

MEASURE_PX = 256  # photographs of faces seldom hold more, and what is looked through saw no more
SAME_PERSON = 0.6  # identity distance under which dlib calls two faces one person's; different people average 0.81


def compare(
    image: Float[Tensor, "1 channels height width"],
    target: Float[Tensor, "1 channels height width"],
    *,
    faces: bool,
    kept: Bool[Tensor, "1 1 height width"] | None = None,
) -> dict[str, float | None]:
    """psnr_db and ssim; perceptual, None under 32 px; identity and landmarks, None without faces. See `metrics`.

    kept: the pixels that count. psnr_db is over those, ssim and perceptual are of pictures that are equal elsewhere;
    the faces are the whole ones.
    """
    size = image.shape[-1]
    while size > MEASURE_PX:
        size //= 2
    a, b = averaged(image, size), averaged(target, size)
    first, second = to_pil(a), to_pil(b)
    share = 1.0
    if kept is not None:
        counts = averaged(kept.float(), size) > 0.5
        a, share = torch.where(counts, a, b), float(counts.float().mean())
    return {
        "psnr_db": float(psnr(a, b)[0]) + 10 * log10(max(share, 1e-9)),
        "ssim": float(ssim(a, b)[0]),
        "perceptual": float(perceptual(a, b)[0]) if size >= 32 else None,
        "identity": identity_distance(first, second) if faces else None,
        "landmarks": landmark_distance(first, second) if faces else None,
    }


def psnr(
    a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio in dB, 10 log10(4 / MSE) over all channels; inf for equal images."""
    return 10 * torch.log10(4 / (a - b).square().mean(dim=(1, 2, 3)))


def ssim(
    a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """Structural similarity, 1 for equal images; the mean over RGB channels, not on luma.

    Wang et al. 2004: a Gaussian window of 11 px, sigma 1.5, whole windows only; as on images in [0, 1] with range 1.
    """
    return ssim_and_contrast(a, b)[0]


@torch.no_grad()
def lpips_distance(
    a: Float[Tensor, "batch channels height width"],
    b: Float[Tensor, "batch channels height width"],
    network: Lpips,
) -> Float[Tensor, " batch"]:
    """LPIPS through `features.lpips_network(net)`: 0 for equal images. Name the net and the size beside the number.

    The size is the images' own between 64 and 256 px; others are brought to the nearer of the two first.
    """
    return network(a, b)


def identity_distance(a: Image.Image, b: Image.Image) -> float | None:
    """Euclidean distance of dlib's face descriptors, on the images enlarged to 256 px; None where either has no face.

    Under SAME_PERSON (0.6) two faces count as one person's.
    """
    first, second = describe(a), describe(b)
    if first is None or second is None:
        return None
    return float(((first - second) ** 2).sum() ** 0.5)


@torch.no_grad()
def perceptual(
    a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, " batch"]:
    """Distance of EfficientNet-Lite0's maps at 256 px, as `lite.maps_distance` has it: 0 for equal images."""
    return maps_distance(perceptual_maps(a), perceptual_maps(b))


def landmark_distance(a: Image.Image, b: Image.Image) -> float | None:
    """Mean distance of dlib's 68 landmarks over the distance of b's eyes; None where either has no face.

    The images are of one size. The eyes' places are the means of their six points.
    """
    first, second = landmarks(a), landmarks(b)
    if first is None or second is None:
        return None
    eyes = np.linalg.norm(second[42:48].mean(axis=0) - second[36:42].mean(axis=0))
    return float(np.linalg.norm(first - second, axis=1).mean() / eyes)


def laplacian_energy(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
    """Sharpness: mean square of luma minus blurred luma, in units of [-1, 1]; 0 for a constant, 1 for a checkerboard.

    Luma is 0.299 R + 0.587 G + 0.114 B, or the one channel of a grey image; the blur has the taps 1 4 6 4 1, edges
    reflected. It depends on resolution: compare images of one size.
    """
    weights = {3: (0.299, 0.587, 0.114), 1: (1.0,)}.get(images.shape[1])
    if weights is None:
        raise SettingsError(f"the images have {images.shape[1]} channels; sharpness wants 3 (RGB) or 1 (grey)")
    luma = (images * images.new_tensor(weights)[:, None, None]).sum(dim=1, keepdim=True)
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    blurred = smooth(F.pad(luma, (2, 2, 2, 2), mode="reflect"), taps)
    return (luma - blurred).square().mean(dim=(1, 2, 3))


def summary(values: Iterable[float | None]) -> dict[str, float | None]:
    """Median, p10 and p90 of the values that are not None, between neighbours linearly; each None if all are."""
    ordered = sorted(value for value in values if value is not None)
    return {name: quantile(ordered, q) for name, q in (("median", 0.5), ("p10", 0.1), ("p90", 0.9))}


def quantile(ordered: list[float], q: float) -> float | None:
    """The value at the fraction q of a sorted list; unlike numpy's, sound where several values are inf."""
    if not ordered:
        return None
    position = q * (len(ordered) - 1)
    low, high = ordered[floor(position)], ordered[ceil(position)]
    return low if low == high else low + (high - low) * (position - floor(position))


def unit_energy(x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
    """Scale each pixel to mean square one over its channels."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def ssim_and_contrast(
    a: Float[Tensor, "batch c h w"], b: Float[Tensor, "batch c h w"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """SSIM and its contrast-structure part, means over channels and pixels; the same as on images in [0, 1].

    Wang et al. 2004: a Gaussian window of 11 px, sigma 1.5, whole windows only, K = (0.01, 0.03). In an image under
    11 px the window shrinks to the largest odd size that fits.
    """
    side = min(11, (min(a.shape[-2:]) - 1) // 2 * 2 + 1)
    taps = (-(torch.arange(side) - side // 2).float().square() / (2 * 1.5**2)).exp()
    blurred = smooth(torch.cat([a, b, a * a, b * b, a * b], dim=1), taps / taps.sum())
    mean_a, mean_b, aa, bb, ab = blurred.chunk(5, dim=1)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # data range 2
    contrast = (2 * (ab - mean_a * mean_b) + c2) / (aa - mean_a.square() + bb - mean_b.square() + c2)
    mean_a, mean_b = mean_a + 1, mean_b + 1  # luminance is a ratio: it counts from black
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return (luminance * contrast).mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def ms_ssim(a: Float[Tensor, "batch c h w"], b: Float[Tensor, "batch c h w"]) -> Float[Tensor, " batch"]:
    """Structural similarity over up to five scales, 1 for equal images (Wang et al. 2003).

    Scales stop where the shorter side would fall under 11 px (256 px has five, 128 px four); the weights of those left
    are rescaled to sum to one.
    """
    scales = max(1, min(5, int(log2(min(a.shape[-2:]) / 11)) + 1))
    weights = torch.tensor([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    total = a.new_ones(len(a))
    for i, weight in enumerate((weights / weights.sum()).tolist()):
        similarity, contrast = ssim_and_contrast(a, b)
        factor = similarity if i == scales - 1 else contrast
        total = total * factor.clamp_min(1e-4) ** weight  # a power of a number below zero is none
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total
