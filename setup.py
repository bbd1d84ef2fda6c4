"""What pyproject.toml cannot say: two folders of a clone become part of the one library package once installed."""

from setuptools import find_packages, setup

SHIPPED = {
    "deepfake.checkpoints.compact": "checkpoints/compact",
    "deepfake.configs.augmentation": "configs/augmentation",
}
PACKAGES = ("deepfake", "data_prep", "evaluation", "model_card", "app")

setup(
    packages=[*find_packages(include=[*PACKAGES, *(f"{name}.*" for name in PACKAGES)]), *SHIPPED],
    package_dir=SHIPPED,
)
