"""The backbones by name: one row each drives the building, the options' defaults and the tests. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneEntry:
    builder: str  # name in keras.applications
    input_size: int  # pixels, height = width, that the ImageNet weights were trained with
    preprocessing: str  # mode of keras.applications.imagenet_utils.preprocess_input
    features: int  # channels of the last feature map


BACKBONES: dict[str, BackboneEntry] = {
    "mobilenet_v2": BackboneEntry("MobileNetV2", 224, "tf", 1280),
    "mobilenet": BackboneEntry("MobileNet", 224, "tf", 1024),
    "resnet50": BackboneEntry("ResNet50", 224, "caffe", 2048),
    "vgg16": BackboneEntry("VGG16", 224, "caffe", 512),
    "inception_v3": BackboneEntry("InceptionV3", 299, "tf", 2048),
}
