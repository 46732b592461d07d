"""The backbones by name: one row each drives the building, the options' defaults and the tests. Imports no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Argument:
    """An argument of a builder that changes the network: its type, and bounds (both inclusive) for numbers."""

    kind: type[bool] | type[int] | type[float]
    low: float = 0
    high: float = 0


@dataclass(frozen=True)
class BackboneEntry:
    """`preprocessing` is what the module's own `preprocess_input` does; "none" where the graph itself scales the pixels."""

    builder: str  # name in keras.applications
    input_size: int  # pixels, height = width, that the ImageNet weights were trained with
    preprocessing: str  # mode of keras.applications.imagenet_utils.preprocess_input
    features: int  # channels of the last feature map
    top: int = 1  # layers with weights in the classification top
    arguments: Mapping[str, Argument] = field(default_factory=dict)  # for --backbone-arg; dropout is none: it moves no embedding


_WIDTH = Argument(float, 0.05, 4)
_DEPTH = Argument(int, 1, 8)
_SWITCH = Argument(bool)
_PREPROCESSED = {"include_preprocessing": _SWITCH}

# All of keras.applications; a test holds it to that.
BACKBONES: dict[str, BackboneEntry] = {
    "convnext_base": BackboneEntry("ConvNeXtBase", 224, "none", 1024, arguments=_PREPROCESSED),
    "convnext_large": BackboneEntry("ConvNeXtLarge", 224, "none", 1536, arguments=_PREPROCESSED),
    "convnext_small": BackboneEntry("ConvNeXtSmall", 224, "none", 768, arguments=_PREPROCESSED),
    "convnext_tiny": BackboneEntry("ConvNeXtTiny", 224, "none", 768, arguments=_PREPROCESSED),
    "convnext_xlarge": BackboneEntry("ConvNeXtXLarge", 224, "none", 2048, arguments=_PREPROCESSED),
    "densenet121": BackboneEntry("DenseNet121", 224, "torch", 1024),
    "densenet169": BackboneEntry("DenseNet169", 224, "torch", 1664),
    "densenet201": BackboneEntry("DenseNet201", 224, "torch", 1920),
    "efficientnet_b0": BackboneEntry("EfficientNetB0", 224, "none", 1280),
    "efficientnet_b1": BackboneEntry("EfficientNetB1", 240, "none", 1280),
    "efficientnet_b2": BackboneEntry("EfficientNetB2", 260, "none", 1408),
    "efficientnet_b3": BackboneEntry("EfficientNetB3", 300, "none", 1536),
    "efficientnet_b4": BackboneEntry("EfficientNetB4", 380, "none", 1792),
    "efficientnet_b5": BackboneEntry("EfficientNetB5", 456, "none", 2048),
    "efficientnet_b6": BackboneEntry("EfficientNetB6", 528, "none", 2304),
    "efficientnet_b7": BackboneEntry("EfficientNetB7", 600, "none", 2560),
    "efficientnet_v2_b0": BackboneEntry("EfficientNetV2B0", 224, "none", 1280, arguments=_PREPROCESSED),
    "efficientnet_v2_b1": BackboneEntry("EfficientNetV2B1", 240, "none", 1280, arguments=_PREPROCESSED),
    "efficientnet_v2_b2": BackboneEntry("EfficientNetV2B2", 260, "none", 1408, arguments=_PREPROCESSED),
    "efficientnet_v2_b3": BackboneEntry("EfficientNetV2B3", 300, "none", 1536, arguments=_PREPROCESSED),
    "efficientnet_v2_s": BackboneEntry("EfficientNetV2S", 384, "none", 1280, arguments=_PREPROCESSED),
    "efficientnet_v2_m": BackboneEntry("EfficientNetV2M", 480, "none", 1280, arguments=_PREPROCESSED),
    "efficientnet_v2_l": BackboneEntry("EfficientNetV2L", 480, "none", 1280, arguments=_PREPROCESSED),
    "inception_resnet_v2": BackboneEntry("InceptionResNetV2", 299, "tf", 1536),
    "inception_v3": BackboneEntry("InceptionV3", 299, "tf", 2048),
    "mobilenet": BackboneEntry("MobileNet", 224, "tf", 1024, arguments={"alpha": _WIDTH, "depth_multiplier": _DEPTH}),
    "mobilenet_v2": BackboneEntry("MobileNetV2", 224, "tf", 1280, arguments={"alpha": _WIDTH}),
    "mobilenet_v3_large": BackboneEntry(
        "MobileNetV3Large", 224, "none", 960, top=2, arguments={"alpha": _WIDTH, "minimalistic": _SWITCH, **_PREPROCESSED}
    ),
    "mobilenet_v3_small": BackboneEntry(
        "MobileNetV3Small", 224, "none", 576, top=2, arguments={"alpha": _WIDTH, "minimalistic": _SWITCH, **_PREPROCESSED}
    ),
    "nasnet_large": BackboneEntry("NASNetLarge", 331, "tf", 4032),
    "nasnet_mobile": BackboneEntry("NASNetMobile", 224, "tf", 1056),
    "resnet50": BackboneEntry("ResNet50", 224, "caffe", 2048),
    "resnet101": BackboneEntry("ResNet101", 224, "caffe", 2048),
    "resnet152": BackboneEntry("ResNet152", 224, "caffe", 2048),
    "resnet50_v2": BackboneEntry("ResNet50V2", 224, "tf", 2048),
    "resnet101_v2": BackboneEntry("ResNet101V2", 224, "tf", 2048),
    "resnet152_v2": BackboneEntry("ResNet152V2", 224, "tf", 2048),
    "vgg16": BackboneEntry("VGG16", 224, "caffe", 512, top=3),
    "vgg19": BackboneEntry("VGG19", 224, "caffe", 512, top=3),
    "xception": BackboneEntry("Xception", 299, "tf", 2048),
}
