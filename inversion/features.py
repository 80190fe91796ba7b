"""Networks to look through, for losses and metrics: EfficientNet-Lite0, LPIPS, dlib's of faces, a discriminator."""

import urllib.request
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from generators.base import Generator
from generators.parts.lite import unit_length, unit_maps
from generators.pictures.image import to_pil
from inversion.errors import FeatureError, SettingsError
from inversion.faces.identity import chip_of, cut_chips, face_network

Maps = tuple[Float[Tensor, "batch _ _ _"], ...]  # one map of features a level

FACE_PX = 256  # the size at which faces are looked at
LPIPS_SIZES = (64, 256)  # pixels, smallest and largest image that LPIPS looks at
BACKBONES = {  # file name, ends in the start of its sha256
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}


class Lpips(nn.Module):
    """Perceptual distance, one number per image, 0 for equal ones (Zhang et al. 2018), around a `lpips.LPIPS`.

    Images are RGB or grey in [-1, 1]. The linear heads were trained on 64 px patches and the backbones on 224 px:
    images over 256 px are averaged down to 256, images under 64 px enlarged to 64. So at 1024 px this is LPIPS at 256.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def features(self, image: Float[Tensor, "batch channels height width"]) -> Maps:
        """The backbone's maps, each pixel scaled to unit length; compute those of a fixed image once."""
        rgb = fit_size(image, *LPIPS_SIZES).expand(-1, 3, -1, -1)
        maps = self.model.net(self.model.scaling_layer(rgb))  # type: ignore[operator]
        return tuple(unit_length(m) for m in maps)

    def distance(self, a: Maps, b: Maps) -> Float[Tensor, " batch"]:
        """Weighted squared difference of two images' features, averaged over pixels and summed over levels."""
        heads = self.model.lins
        assert isinstance(heads, nn.ModuleList)
        levels = [head((x - y).square()).mean(dim=(1, 2, 3)) for head, x, y in zip(heads, a, b, strict=True)]
        return torch.stack(levels).sum(dim=0)

    def forward(
        self, a: Float[Tensor, "batch channels height width"], b: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, " batch"]:
        return self.distance(self.features(a), self.features(b))


def fit_size(
    image: Float[Tensor, "batch channels h w"], smallest: int, largest: int
) -> Float[Tensor, "batch channels h2 w2"]:
    """Average down where the longer side is over largest, enlarge where the shorter is under smallest (pixels)."""
    height, width = image.shape[-2:]
    if max(height, width) > largest:
        scale = largest / max(height, width)
        return F.interpolate(image, (round(height * scale), round(width * scale)), mode="area")
    if min(height, width) < smallest:
        scale = smallest / min(height, width)
        return F.interpolate(image, (round(height * scale), round(width * scale)), mode="bilinear")
    return image


def perceptual_maps(image: Float[Tensor, "batch channels height width"]) -> Maps:
    """EfficientNet-Lite0's maps at a half to a thirty-second of the size, each pixel scaled to unit length.

    Images are RGB or grey in [-1, 1]; over 256 px they are averaged down to that, under 64 px enlarged to it.
    """
    return unit_maps(fit_size(image, *LPIPS_SIZES).expand(-1, 3, -1, -1))


class Faces:
    """dlib's face network on the largest face of each of some images, RGB in [-1, 1], in places that stay."""

    def __init__(self, images: Float[Tensor, "batch 3 height width"]) -> None:
        small = fit_size(images, FACE_PX, FACE_PX)
        found = [chip_of(to_pil(image)) for image in small]
        self.seen = torch.tensor([float(chip is not None) for chip in found], device=images.device)
        whole = torch.tensor([[2 / 149, 0, -1], [0, 2 / 149, -1]])
        self.chips = torch.stack([whole if chip is None else chip for chip in found]).to(images.device)
        self.network = face_network(str(images.device))

    def maps(self, images: Float[Tensor, "batch 3 height width"]) -> Maps:
        """The network's maps of other images, at the same places."""
        return self.network.maps(cut_chips(fit_size(images, FACE_PX, FACE_PX), self.chips))

    def describe(self, maps: Maps) -> Float[Tensor, "batch 128"]:
        """The descriptors that maps end in."""
        return self.network.describe(maps)


def lpips_network(net: str = "alex", device: str | torch.device = "cpu") -> Lpips:
    """LPIPS 0.1 with the backbone alex, vgg or squeeze, frozen, in eval mode.

    The backbone is read from torch's cache, or downloaded there; FeatureError where neither works, SettingsError for
    another net. Linear heads come with the lpips package.
    """
    if net not in BACKBONES:
        raise SettingsError(f"no LPIPS net named {net!r}; choose one of {', '.join(BACKBONES)}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[net]
    if not path.is_file():
        download(f"https://download.pytorch.org/models/{path.name}", path)

    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it draws weights before it loads them
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")  # its old-style arguments
        try:
            model = lpips.LPIPS(net=net, verbose=False)
        except (RuntimeError, UnpicklingError, EOFError) as error:
            raise FeatureError(f"{path} is damaged; delete it, and it is downloaded again") from error
    return Lpips(model).eval().requires_grad_(False).to(device)


def download(url: str, path: Path) -> None:
    """Fetch url to path, checked by the hash in its name; FeatureError, after seconds, where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5):
            pass  # torch waits for ever where nothing answers
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise FeatureError(
            f"LPIPS needs {url}, which could not be fetched ({error}); put the file at {path}, "
            "or leave LPIPS out: the default objective needs none"
        ) from error


def discriminator_features(generator: Generator) -> Callable[[Float[Tensor, "batch channels height width"]], Maps]:
    """The function image -> maps of the discriminator that came with the model; FeatureError where none came."""
    features = getattr(generator.discriminator, "features", None)
    if features is None:
        raise FeatureError(f"{generator.name} has no discriminator features; use --loss pixel=1,laplacian=1")
    return features
