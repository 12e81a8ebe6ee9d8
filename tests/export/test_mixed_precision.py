"""The choice of float layers: its errors equal those of the files, and it respects latencies and bounds."""

from dataclasses import replace

import numpy as np

from ofa_core.convert.integer import calibrate, convert_integer
from ofa_core.convert.network import tf_network
from ofa_core.convert.tflite import convert_float
from ofa_core.export.mixed_precision import CANDIDATES, choose_keep_float
from ofa_core.export.params import ChooseFloatParams
from ofa_core.runtime.tflite import TFLiteModel
from ofa_core.tasks.registry import get_task
from tests.convert.test_network import make_network, random_images

PARAMS = ChooseFloatParams(images=60, max_slowdown=10.0, min_agreement=1.0)
CALIBRATION, IMAGES = random_images(8, 20), random_images(60, 20, seed=1)


def ranges_of(net):
    return calibrate(net, CALIBRATION, "minmax", "composed")


def choose(net, params=PARAMS, keep_float=(), slower=1.1):
    """Every timed file but the first takes `slower` times as long."""
    sizes = []

    def timed(contents):
        sizes.append([len(content) for content in contents.values()])
        return {name: 1.0 if i == 0 else slower for i, name in enumerate(contents)}

    task = get_task("classification")
    return choose_keep_float(net, ranges_of(net), "composed", IMAGES, params, keep_float, timed, task=task), sizes


def test_layers_are_chosen_and_the_file_is_nearer_to_float():
    net = make_network("ofa_small_k7", None, 20)
    mixed, sizes = choose(net)
    assert len(sizes[0]) == 1 + len(mixed.rows) <= 1 + CANDIDATES
    taken = {row["layer"] for row in mixed.rows if row["taken"]}
    assert taken
    assert mixed.keep_float == tuple(layer.name for layer in net.active if layer.name in taken)
    assert mixed.latency_ms == 1.1
    exact = TFLiteModel(convert_float(tf_network(net))).predict(IMAGES)
    with_weights = tuple(layer.name for layer in net.active if layer.params)
    files = [convert_integer(net, ranges_of(net), keep_float=names) for names in ((), mixed.keep_float, with_weights)]
    whole, chosen, least = (np.square(TFLiteModel(file).predict(IMAGES) - exact).mean() for file in files)
    # With random weights, rounding the image is most of the error. Of the rest, 0.25 to 0.8 is left in five such networks.
    assert chosen - least < 0.9 * (whole - least)


def test_bounds_are_heeded():
    net = make_network("ofa_small_k7", None, 20)
    enough = choose(net, replace(PARAMS, min_agreement=0.0))[0]
    assert enough.keep_float == ()
    assert all("already" in row["why"] for row in enough.rows)
    slow = choose(net, replace(PARAMS, max_slowdown=1.05))[0]
    assert slow.keep_float == ()
    assert all(row["why"].startswith("1.10 times the latency") for row in slow.rows)
    named = choose(net, replace(PARAMS, max_slowdown=1.05), keep_float=("classifier",))[0]
    assert named.keep_float == ("classifier",)
    assert "classifier" not in {row["layer"] for row in named.rows}
