from __future__ import annotations

from extractor.precision_plan import too_few_images
from extractor.precision_words import cost_told, head_told


def test_what_fewer_bits_gained_and_cost_is_one_sentence() -> None:
    cost = {"images": 64, "cosine_least": 0.99406, "cosine_median": 0.99874, "times_as_fast": 1.49}
    told = "bfloat16: cosine to float32 0.9941 at the least, 0.9987 at the median of 64 images; 1.5 times as fast a forward pass"
    assert cost_told("bfloat16", cost) == told
    assert cost_told("int8", {"left_out": too_few_images(33)}).startswith("int8: not weighed against float32, as about 33 images to embed")


def test_what_it_cost_a_head_is_another_one() -> None:
    head = {"head": "logistic", "trained_on": 4900, "rows": 250, "accuracy": 0.84, "accuracy_float32": 0.832}
    cost = {"images": 256, "head": {**head, "difference": 0.008, "difference_interval": [-0.004, 0.02]}}
    told = "0.840 in int8, 0.832 in float32, difference +0.008 (95%: -0.004 to +0.020), of a logistic head fitted on 4900 of these features"
    assert head_told("int8", cost) == f"{told}, on 250 of the weighed images"
    assert head_told("int8", {"head": {"left_out": "no labels"}}) == "not known: no labels"
    assert head_told("int8", {"images": 256}) == ""
