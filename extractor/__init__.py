"""From a corpus to a feature set.

import extractor
options = extractor.ExtractOptions(extractor.Recipe("mobilenet_v2", weights="random:0"))
result = extractor.extract("photos", "features/products/mobilenet_v2", options)
"""

from extractor.recipe import Recipe
from extractor.run import ExtractOptions, ExtractResult, Progress, extract

__all__ = ["ExtractOptions", "ExtractResult", "Progress", "Recipe", "extract"]
