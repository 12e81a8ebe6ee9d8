import copy
import csv
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ofa_core.nn import official
from ofa_core.space.arch import Arch
from ofa_core.space.netconfig import arch_of_config, image_size, layers_of_config, read_config
from ofa_core.space.registry import get_space
from tests.conftest import shared_data
from tests.networks import CLASSES, TINY, images, logits, random_net, relative_error

# ------------------------------------------------------------------------------------------------------- checkpoints


def published_layout(net, block="conv"):
    """The state of a super-network under mit-han-lab/once-for-all's names of weights."""
    state = {}
    for name, tensor in net.state_dict().items():
        _, part, *path = name.split(".")
        modules = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}
        elastic = part not in ("block_0", "first_conv", "final_expand", "feature_mix", "classifier")
        twice = (lambda name: f"{name}.{name}") if elastic else (lambda name: name)
        if part.startswith("block"):
            head = f"blocks.{part.removeprefix('block_')}.{block}."
            head += "depth_conv.se.fc" if path[0] == "se" else modules[path[0]]
            path = path[1:]
            if "matrix" in path[0]:
                path = ["conv", path[0].removeprefix("matrix_") + "_matrix"]
            elif path == ["weight"]:
                path = [twice("conv"), "weight"]
            elif path[0] == "bn":
                path = [twice("bn"), path[1]]
        elif part == "classifier":
            head, path = "classifier", ["linear", *path]
        else:
            head = {"first_conv": "first_conv", "final_expand": "final_expand_layer", "feature_mix": "feature_mix_layer"}[part]
            path = ["bn", path[-1]] if "bn" in path else ["conv", "weight"]
            if part == "feature_mix" and tensor.dim() == 2:
                tensor = tensor[:, :, None, None]
        state[".".join([head, *path])] = tensor.clone()
        if path[-1] == "running_var":
            state[".".join([head, *path[:-1], "num_batches_tracked"])] = torch.tensor(7)
    return state


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
@pytest.mark.parametrize("block", ["conv", "mobile_inverted_conv"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_both_key_styles_load(tmp_path, name, block, wrapped):
    source, net = random_net(TINY[name], seed=1), random_net(TINY[name], seed=2)
    state = published_layout(source, block)
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "net.pth")
    official.load_official(net, tmp_path / "net.pth")
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), source.state_dict().values(), strict=True))


def test_loaded_weights_are_copies_even_of_overlapping_views(tmp_path):
    """The resnet50 parity file has views of one storage: writing to one would change others."""
    net = random_net(TINY["ofa_small_k7"])
    pool = torch.rand(100_000) + 0.5
    state = {key: pool[: value.numel()].view(value.shape) for key, value in published_layout(net).items()}
    state = {key: value for key, value in state.items() if "num_batches" not in key}
    torch.save(state, tmp_path / "net.pth")
    official.load_official(net, tmp_path / "net.pth")
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        net.parts["first_conv"].conv.weight.fill_(-1)
    changed = [key for key, value in net.state_dict().items() if not torch.equal(value, before[key])]
    assert changed == ["parts.first_conv.conv.weight"]


def test_errors_list_everything_and_leave_the_network_untouched(tmp_path):
    net = random_net(TINY["ofa_mbv3"])
    before, state = copy.deepcopy(net.state_dict()), published_layout(random_net(TINY["ofa_mbv3"], seed=5))
    del state["first_conv.bn.weight"]
    state["blocks.99.conv.weight"] = torch.zeros(1)
    state["classifier.linear.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth: does not fit the network") as error:
        official.load_official(net, tmp_path / "net.pth")
    assert "missing parts.first_conv.conv.bn.weight" in str(error.value)
    assert "surplus blocks.99.conv.weight" in str(error.value)
    assert "classifier.linear.bias is (7,), not (5,)" in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_another_space_does_not_fit(tmp_path):
    torch.save(published_layout(random_net(TINY["ofa_mbv3"])), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"and [0-9]+ more"):
        official.load_official(random_net(TINY["ofa_proxyless"]), tmp_path / "net.pth")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"PK nothing", "not a checkpoint"), (Evil(), "not a checkpoint"), ([1, 2], "not a state dict")],
)
def test_broken_and_unsafe_files_are_refused(tmp_path, capsys, content, message):
    path = tmp_path / "net.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=f"net.pth: {message}"):
        official.load_official(random_net(TINY["ofa_small_k7"]), path)
    assert "executed" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ specialised networks

ZOO = "ofa/proxyless_w0.25_r112_imagenet"
SPECIALIZED = [
    "flops-595M_top1-80.0_finetune-75",
    "pixel2_lat-35ms_top1-73.4_finetune-25",
    "cpu_lat-17ms_top1-75.7_finetune-25",
]


def zoo_network():
    folder = shared_data(ZOO)
    return official.load_specialized(folder / "net.config", folder / "weights.pth")


def test_published_network_gives_the_recorded_logits():
    net, recorded = zoo_network(), np.load(shared_data(f"{ZOO}/io.npz"))
    assert net.active[0].resolution == 112
    with torch.no_grad():
        assert relative_error(net(torch.from_numpy(recorded["x"])), torch.from_numpy(recorded["y"])) < 1e-4


def test_published_network_recognises_photos():
    """151 of 300, give or take one; shorter side to 128 by Pillow's bilinear filter, centre crop 112, x / 127.5 - 1."""
    net, right, total = zoo_network(), 0, 0
    with zipfile.ZipFile(shared_data("images/imagenet_photos.zip")) as archive:
        labels = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        for start in range(0, len(labels), 50):
            rows, photos = labels[start : start + 50], []
            for row in rows:
                photo = Image.open(io.BytesIO(archive.read(f"images/{row['file']}"))).convert("RGB")
                width, height = (round(side * 128 / min(photo.size)) for side in photo.size)
                photo = photo.resize((width, height), Image.Resampling.BILINEAR)
                left, top = (width - 112) // 2, (height - 112) // 2
                photos.append(np.asarray(photo.crop((left, top, left + 112, top + 112))))
            x = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, 112, 112)
            with torch.no_grad():
                predicted = net(x).argmax(dim=1)
            right += int((predicted == torch.tensor([int(row["imagenet_class_index"]) for row in rows])).sum())
            total += len(rows)
    assert total == 300
    assert abs(right - 151) <= 1


@pytest.mark.parametrize("name", SPECIALIZED)
def test_specialized_configuration_is_a_member_of_its_space(name):
    folder = shared_data(f"ofa/specialized/{name}")
    config, resolution = read_config(folder / "net.config"), image_size(read_config(folder / "run.config"))
    recorded = {row["name"]: row for row in json.loads(shared_data("ofa/specialized_nets.json").read_text())}[name]
    space_name, width_mult, arch = arch_of_config(config, resolution)
    assert (space_name, width_mult) == (recorded["space"], recorded["width_mult"])
    space = get_space(space_name, width_mult)
    assert space.layers(arch) == layers_of_config(config, resolution)
    assert tuple(space.cost(arch)) == (recorded["macs"], recorded["params"])
    assert space.layers(arch) == space.layers(Arch.from_dict(recorded["arch"]))


def config_of(space, arch, style="mobile_inverted_conv"):
    """A configuration as the published code writes it, from the layers of an architecture."""
    layers = {layer.name: layer for layer in space.layers(arch, CLASSES)}

    def conv(layer):
        return {
            "name": "ConvLayer", "kernel_size": layer.kernel, "stride": layer.stride, "dilation": 1, "groups": 1, "bias": False,
            "has_shuffle": False, "in_channels": layer.inp, "out_channels": layer.out, "use_bn": layer.bn_eps is not None,
            "act_func": layer.act, "dropout_rate": 0, "ops_order": "weight_bn_act",
        }  # fmt: skip

    blocks = []
    for layer in layers.values():
        if layer.kind == "mbconv":
            ratio = 1 if layer.mid == layer.inp else layer.mid / layer.inp
            inner = {
                "name": "MBInvertedConvLayer", "in_channels": layer.inp, "out_channels": layer.out, "kernel_size": layer.kernel,
                "stride": layer.stride, "expand_ratio": ratio, "mid_channels": None if ratio == 1 else layer.mid,
                "act_func": layer.act, "use_se": layer.se > 0,
            }  # fmt: skip
            shortcut = {"name": "IdentityLayer", "in_channels": [layer.inp], "out_channels": [layer.out]}
            blocks.append(
                {"name": "MobileInvertedResidualBlock", style: inner, "shortcut": shortcut if layer.residual else None}
            )
    config = {
        "name": "MobileNetV3" if "final_expand" in layers else "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": layers["first_conv"].bn_eps},
        "first_conv": conv(layers["first_conv"]),
        "blocks": blocks,
        "feature_mix_layer": conv(layers["feature_mix"]),
        "classifier": {"name": "LinearLayer", "in_features": layers["classifier"].inp, "out_features": CLASSES, "bias": True,
                       "use_bn": False, "act_func": None, "dropout_rate": 0.1, "ops_order": "weight_bn_act"},
    }  # fmt: skip
    return config | ({"final_expand_layer": conv(layers["final_expand"])} if "final_expand" in layers else {})


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
@pytest.mark.parametrize("width_mult", [0.35, 1.0])
def test_any_member_is_read_back(name, width_mult):
    space, rng = get_space(name, width_mult), np.random.default_rng(0)
    for _ in range(5):
        arch = space.sample(rng)
        config = config_of(space, arch, style="conv")
        assert layers_of_config(config, arch.r) == space.layers(arch, CLASSES)
        found, width, other = arch_of_config(config, arch.r)
        assert get_space(found, width).layers(other, CLASSES) == space.layers(arch, CLASSES)


def test_a_network_of_no_space_says_so():
    space = TINY["ofa_mbv3"]
    config = config_of(space, space.largest())
    config["blocks"][3]["mobile_inverted_conv"]["kernel_size"] = 9
    with pytest.raises(ValueError, match=r"net\.config: not a sub-network of ofa_mbv3"):
        arch_of_config(config, 32)


@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
def test_specialized_network_loads_with_its_weights(tmp_path, name):
    net = random_net(TINY[name])
    arch = TINY[name].smallest()
    arch = replace(arch, ks=(7,) * len(arch.ks))  # kernels as stored, so published names equal the super-network's
    sub = net.extract(arch)
    state, names = {}, iter(range(100))
    numbers = {layer.name: f"block_{next(names)}" for layer in sub.active if layer.kind == "mbconv"}
    for key, value in sub.state_dict().items():
        part = key.split(".")[1]
        state[key.replace(f".{part}.", f".{numbers.get(part, part)}.", 1)] = value

    class Renamed:
        def state_dict(self):
            return state

    torch.save({"state_dict": published_layout(Renamed())}, tmp_path / "init")
    (tmp_path / "net.config").write_text(json.dumps(config_of(TINY[name], arch)))
    (tmp_path / "run.config").write_text(json.dumps({"image_size": arch.r}))
    loaded = official.load_specialized(tmp_path / "net.config", tmp_path / "init")
    assert loaded.active[0].resolution == arch.r
    assert loaded.dropout == 0.1
    assert not loaded.training
    with torch.no_grad():
        assert relative_error(loaded(images(arch.r)), logits(net, arch)) < 1e-5
    larger = official.load_specialized(tmp_path / "net.config", tmp_path / "init", resolution=64)
    assert larger.active[0].resolution == 64


def changed(config, path, value):
    config = copy.deepcopy(config)
    *parents, last = path.split("/")
    target = config
    for key in parents:
        target = target[int(key) if key.isdigit() else key]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value
    return config


BLOCK = "blocks/1/mobile_inverted_conv"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "ResNets", r"x\.config\.name: 'ResNets' is not one of 'MobileNetV3', 'ProxylessNASNets'"),
        ("name", KeyError, r"x\.config\.name: missing"),
        ("bn", KeyError, r"x\.config\.bn: missing"),
        ("bn/eps", "small", r"x\.config\.bn\.eps: 'small'"),
        ("bn/ws_eps", 1e-5, r"x\.config\.bn\.ws_eps"),
        ("first_conv", None, r"x\.config\.first_conv: None is not an object"),
        ("first_conv/groups", 3, r"x\.config\.first_conv\.groups: 3 is not one of 1"),
        ("first_conv/out_channels", 8.5, r"x\.config\.first_conv\.out_channels: 8.5 is not a whole number"),
        ("first_conv/out_channels", 16, r"x\.config\.blocks\[0\]\.mobile_inverted_conv\.in_channels: 8 is not one of 16"),
        ("first_conv/act_func", "tanh", r"x\.config\.first_conv\.act_func: 'tanh'"),
        ("blocks", [], r"x\.config\.blocks: not a list"),
        (f"{BLOCK}/kernel_size", 4, r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.kernel_size: 4 is not odd"),
        (f"{BLOCK}/stride", 0, r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.stride: 0"),
        (f"{BLOCK}/name", "MixConv", r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.name: 'MixConv'"),
        (f"{BLOCK}/use_se", 1, r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.use_se: 1"),
        (f"{BLOCK}/mid_channels", 8, r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.mid_channels: 8 of 8"),
        (f"{BLOCK}/dilation", 2, r"x\.config\.blocks\[1\]\.mobile_inverted_conv\.dilation: unknown field"),
        ("blocks/1/shortcut", {"name": "IdentityLayer"}, r"x\.config\.blocks\[1\]\.shortcut: IdentityLayer does not fit"),
        (BLOCK, {"name": "ZeroLayer"}, r"x\.config\.blocks\[1\]\.shortcut: a block without convolution"),
        ("classifier/in_features", 7, r"x\.config\.classifier\.in_features: 7"),
        ("feature_mix_layer/use_bn", True, r"x\.config\.feature_mix_layer\.use_bn: True"),
        ("feature_mix_layer/kernel_size", 3, r"x\.config\.feature_mix_layer\.kernel_size"),
        ("extra", 1, r"x\.config\.extra: unknown field"),
    ],
)
def test_configuration_errors_name_file_and_field(path, value, message):
    space = TINY["ofa_mbv3"]
    config = changed(config_of(space, space.smallest()), path, value)
    with pytest.raises(ValueError, match=f"^{message}") as error:
        layers_of_config(config, 32, source="x.config")
    assert "\n" not in str(error.value)


def test_a_block_that_is_skipped_counts_in_the_names():
    space = TINY["ofa_proxyless"]
    config = config_of(space, space.smallest())
    skipped = {"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": {"name": "ZeroLayer", "stride": 1}}
    config["blocks"].insert(2, skipped | {"shortcut": {"name": "IdentityLayer"}})
    layers = layers_of_config(config, 32)
    assert layers == space.layers(space.smallest(), CLASSES)
    assert [layer.name for layer in layers[1:4]] == ["block_0", "block_1", "block_3"]


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("{", "not JSON"), ("[]", "not a JSON object")])
def test_unreadable_configurations(tmp_path, text, message):
    if text is not None:
        (tmp_path / "net.config").write_text(text)
    with pytest.raises(ValueError, match=rf"net\.config: {message}"):
        read_config(tmp_path / "net.config")
