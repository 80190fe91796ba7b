"""Terms of use of what others published, by their code; shown wherever it is used."""

TERMS = {
    "stylegan2": "NVIDIA Source Code License-NC, non-commercial: https://nvlabs.github.io/stylegan2/license.html",
    "stylegan2-ada": (
        "NVIDIA Source Code License, non-commercial: https://nvlabs.github.io/stylegan2-ada-pytorch/license.html"
    ),
    "stylegan3": (
        "NVIDIA Source Code License, non-commercial: https://github.com/NVlabs/stylegan3/blob/main/LICENSE.txt"
    ),
}
FFHQ_TERMS = (
    "MobileStyleGAN, in the package random-face, which says Apache-2.0; its teacher is StyleGAN2 (NVIDIA Source Code "
    "License-NC) on FFHQ (CC BY-NC-SA 4.0): treat it as non-commercial"
)
