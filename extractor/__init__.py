"""From a corpus to a feature set.

import extractor
options = extractor.ExtractOptions(extractor.Recipe("mobilenet_v2", weights="random:0"))
result = extractor.extract("photos", "features/products/mobilenet_v2", options)
"""

from extractor.options import Also, ExtractOptions
from extractor.recipe import Recipe
from extractor.result import ExtractResult
from extractor.rounds import Progress
from extractor.run import extract

__all__ = ["Also", "ExtractOptions", "ExtractResult", "Progress", "Recipe", "extract"]
