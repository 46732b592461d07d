from __future__ import annotations

from extractor.precision_plan import too_few_images
from extractor.precision_words import cost_told


def test_what_fewer_bits_gained_and_cost_is_one_sentence() -> None:
    cost = {"images": 64, "cosine_least": 0.99406, "cosine_median": 0.99874, "times_as_fast": 1.49}
    told = "bfloat16: cosine to float32 0.9941 at the least, 0.9987 at the median of 64 images; 1.5 times as fast a forward pass"
    assert cost_told("bfloat16", cost) == told
    assert cost_told("int8", {"left_out": too_few_images(33)}).startswith("int8: not weighed against float32, as about 33 images to embed")
