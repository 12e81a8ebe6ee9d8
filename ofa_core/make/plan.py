"""Decides everything that the photos and the request leave open, each value with its reason. Pure: nothing is read or timed."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ofa_core.make.duration import Amounts, Speed, stage_seconds
from ofa_core.make.request import HOST, Request, target_names
from ofa_core.make.survey import Survey
from ofa_core.space.layer_sums import distinct_layers
from ofa_core.space.registry import get_space


class Profile(NamedTuple):
    """What decisions start from: a profile in params/, by name, and changes of it, as the text of another one."""

    name: str
    changes: str = ""


SMALL = Profile(
    "default",
    """
space: {name: ofa_small, resolutions: [24, 28, 32]}
training: {flip: true, max_shift: 0.1}
prepare: {dataset: folder, folder: ., image_size: 32}
detectors: []
build_detector_table: {devices: {}}
search_detector: {targets: {}}
""",
)
"""For pictures: its networks halve an image three times."""
PROFILE = Profile("photos")
"""For photos, whose shorter side is `PHOTO_SIDE` pixels or more."""
PHOTO_SIDE = 64

SHARE = 6
"""Val and test are one in so many images each, at least `FEW` for each class, and at most `MOST_HELD_OUT`."""
FEW = 3
MOST_HELD_OUT = 2000
STEPS_PER_EPOCH = 8
"""Fewest steps of an epoch: smaller batches are taken for few images."""
SMALLEST_BATCH = 8
SMALLEST_RESOLUTION = 16
MOST_EPOCHS = 100
"""Most epochs of a training: more hardly help, however much time there is."""
FEWEST_STEPS = 50
"""Fewest steps of the longest training, however little time there is."""
VALIDATIONS = 4
"""Measurements of sub-networks while a phase trains."""
USUAL_TARGETS = 3
"""Models for which the time is divided, whatever their number: other latencies do not train the super-network again."""
DISAGREEMENT = 0.05
"""Share of images on which an 8-bit file and the float network of a sound export differ, at most."""


class Decision(NamedTuple):
    """A value of the parameter file by its dotted key, and why."""

    key: str
    value: Any
    reason: str


def profile_for(found: Survey) -> Profile:
    """The profile for photos of this size."""
    return PROFILE if found.shorter_sides[1] >= PHOTO_SIDE else SMALL


@dataclass(frozen=True, kw_only=True)
class Plan:
    """decisions: in the order of their sections. seconds: planned time by stage, in the order in which they run.
    amounts, speed: what the times were computed from. params: all parameters, as plain values."""

    decisions: list[Decision]
    seconds: dict[str, float]
    amounts: Amounts
    speed: Speed
    params: dict[str, Any]

    @property
    def minutes(self) -> float:
        """Planned minutes of the whole run."""
        return sum(self.seconds.values()) / 60


def make_plan(
    request: Request, found: Survey, base: Mapping[str, Any], cores: int, measure: Callable[[Mapping[str, Any]], Speed]
) -> Plan:
    """The plan for the photos.

    base: the content of the profile's complete parameter file. cores: CPU cores that may be used. measure: times training steps
    for a parameter file's content; called once, when resolutions and batch size are decided.
    """
    decisions = [
        Decision("prepare.dataset", "folder", "class folders"),
        Decision("prepare.folder", str(request.photos), "read where they lie"),
        *_held_out(found),
        *_sizes(found, base),
        *_batch(found, base),
        Decision("training.threads", cores, "cores of this machine; equal threads repeat a run byte for byte"),
        *_device(request, base),
    ]
    decisions += _gates(applied(base, decisions), found)
    params = applied(base, decisions)
    speed, amounts = measure(params), _amounts(params, found, cores)
    factor, reason = _factor(request.minutes, params, amounts, speed)
    decisions += _epochs(params, factor, reason)
    decisions += [Decision(f"search.targets.{name}", of, _target_reason(of)) for name, of in target_names(request).items()]
    params = applied(base, decisions)
    return Plan(decisions=decisions, seconds=stage_seconds(params, amounts, speed), amounts=amounts, speed=speed, params=params)


def splits(params: Mapping[str, Any], found: Survey) -> dict[str, int]:
    """Images of train, val and test with these parameters."""
    prepare = params["prepare"]
    held = {name: prepare[f"{name}_images"] or found.images(name) for name in ("val", "test")}
    outside = sum(count for name, count in held.items() if not found.images(name))
    return {"train": found.images("train") - outside} | held


def applied(base: Mapping[str, Any], decisions: Sequence[Decision]) -> dict[str, Any]:
    """`base` with the decisions. A mapping with names of one's own is replaced as a whole, by all decisions for it."""
    params = copy.deepcopy(dict(base))
    for key in ("build_latency_table.devices", "search.targets"):
        if any(decision.key.startswith(f"{key}.") for decision in decisions):
            section, _, name = key.partition(".")
            params[section][name] = {}
    for key, value, _ in decisions:
        *above, last = key.split(".")
        inner = params
        for name in above:
            inner = inner[name]
        inner[last] = copy.deepcopy(value)
    return params


def _held_out(found: Survey) -> list[Decision]:
    """Images of val and test, and how many may be broken."""
    decisions = []
    total, classes = found.images("train"), len(found.classes)
    for name in ("val", "test"):
        own = found.images(name)
        if own and (name == "test" or own <= MOST_HELD_OUT):
            value, reason = 0, f"all {own:,} of {name}/"
        elif own:
            value, reason = MOST_HELD_OUT, f"of {own:,} in {name}/: enough to tell networks apart"
        else:
            value = min(max(total // SHARE, FEW * classes), MOST_HELD_OUT, total // 4)
            reason = f"held out of {total:,}: about a {'sixth' if value == total // SHARE else f'{total / value:.0f}th'}"
        decisions.append(Decision(f"prepare.{name}_images", value, reason))
    broken = math.ceil(2 * found.total * found.broken / found.sampled)
    reason = f"{found.broken} of {found.sampled} looked at were broken"
    return [*decisions, Decision("prepare.max_broken", max(10, broken), reason)]


def _sizes(found: Survey, base: Mapping[str, Any]) -> list[Decision]:
    """Resolutions no larger than the photos."""
    wanted, stored = base["space"]["resolutions"], base["prepare"]["image_size"]
    side = found.shorter_sides[1]
    if side >= wanted[-1]:
        sizes, reason = wanted, f"the profile's; nine in ten photos have a shorter side of {side} pixels or more"
    else:
        scaled = {max(SMALLEST_RESOLUTION, size * side // wanted[-1] // 4 * 4) for size in wanted}
        sizes, reason = sorted(scaled), f"not beyond the photos: one in ten has a shorter side of {side} pixels or less"
    size = max(sizes[-1], min(stored, side))
    of_size = "the largest resolution" if size == sizes[-1] else "a little larger than the largest resolution, for crops"
    return [Decision("space.resolutions", list(sizes), reason), Decision("prepare.image_size", size, of_size)]


def _batch(found: Survey, base: Mapping[str, Any]) -> list[Decision]:
    """A smaller batch and learning rates in proportion, if an epoch would have few steps.

    Learning rates proportional to the batch: Goyal et al., 2017 (https://arxiv.org/abs/1706.02677, section 2.1).
    """
    train = splits(applied(base, _held_out(found)), found)["train"]
    usual = base["training"]["batch_size"]
    batch = usual
    while batch > SMALLEST_BATCH and train // batch < STEPS_PER_EPOCH and batch // 2 % base["training"]["accumulate"] == 0:
        batch //= 2
    if batch == usual:
        return []
    share, reason = batch / usual, f"in proportion to the batch, {batch} instead of {usual}"
    rates = [Decision(f"{name}.lr", _rounded(base[name]["lr"] * share), reason) for name in ("train_supernet", "specialize")]
    phases = {name: dict(phase) | {"lr": _rounded(phase["lr"] * share)} for name, phase in base["shrink"]["phases"].items()}
    rates += [Decision(f"shrink.phases.{name}", phase, "") for name, phase in phases.items()]
    few = f"{train:,} train images: {train // batch} steps an epoch, with {usual} only {train // usual}"
    return [Decision("training.batch_size", batch, few), *rates]


def _device(request: Request, base: Mapping[str, Any]) -> list[Decision]:
    """The device that is measured, and what follows for phases that draw by latency."""
    name = request.device_name
    fields = dict(base["build_latency_table"]["devices"][HOST])
    reason = "this machine"
    if name != HOST:
        android = {"binary": str(request.program), "serial": request.serial}
        # Starting the program takes as long as half a second of runs; pinning needs the numbers of the phone's big cores.
        fields |= {"kind": "android", "android": android, "milliseconds": 500, "networks": 40}
        reason = "a phone; docs/own-device.md says how to pin it to its fast cores"
    decisions = [Decision(f"build_latency_table.devices.{name}", fields, reason), Decision("search.device", name, reason)]
    if any(phase.get("draw") == "latency" for phase in base["shrink"]["phases"].values()):
        table = f"build/latency/{name}.json"
        decisions.append(Decision("shrink.latency_table", table, "measured first: other tables lack this number of classes"))
    return decisions


def _gates(params: Mapping[str, Any], found: Survey) -> list[Decision]:
    """A gate that a few val images cannot trip by chance."""
    val, usual = splits(params, found)["val"], params["export"]["max_int8_drop"]
    chance = _rounded(3 * math.sqrt(DISAGREEMENT / val))
    if chance <= usual:
        return []
    reason = f"on {val} val images, three standard errors; one image is {100 / val:.1f} points"
    return [Decision("export.max_int8_drop", chance, reason)]


def _amounts(params: Mapping[str, Any], found: Survey, cores: int) -> Amounts:
    section = params["space"]
    space = get_space(section["name"], section["width_mult"], section["resolutions"])
    layers = len(distinct_layers(space, section["resolutions"], len(found.classes)))
    depth = len(space.layers(space.largest(), len(found.classes)))
    return Amounts(**splits(params, found), layers=layers, depth=depth, decode_seconds=found.decode_seconds, cores=cores)


def _factor(minutes: float, params: Mapping[str, Any], amounts: Amounts, speed: Speed) -> tuple[float, str]:
    """The factor on all epochs with which a run of `USUAL_TARGETS` models takes `minutes`, and what limits it."""
    usual = {f"{i}": {"fraction": i / (USUAL_TARGETS - 1)} for i in range(USUAL_TARGETS)}

    def seconds(factor: float) -> float:
        scaled = applied(
            params, [*_epochs(params, factor, ""), *(Decision(f"search.targets.{n}", t, "") for n, t in usual.items())]
        )
        return sum(stage_seconds(scaled, amounts, speed).values())

    longest = max(phase["epochs"] for phase in _trained(params))
    steps = max(1, longest * (amounts.train // params["training"]["batch_size"]))
    low, high = min(1.0, FEWEST_STEPS / steps), MOST_EPOCHS / longest
    rest, whole = seconds(1e-6), seconds(1.0)
    factor = (60 * minutes - rest) / (whole - rest)
    if factor < low:
        return low, f"the fewest that make sense; --minutes {minutes:g} leaves less"
    if factor > high:
        return high, f"{MOST_EPOCHS} epochs at most: more hardly help"
    return factor, f"what --minutes {minutes:g} leaves at the speed measured here"


def _trained(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [params["train_supernet"], params["specialize"], *params["shrink"]["phases"].values()]


def _epochs(params: Mapping[str, Any], factor: float, reason: str) -> list[Decision]:
    """All epochs times a factor, warm-ups with them."""
    decisions = []
    for section in ("train_supernet", "specialize"):
        fields = ("epochs", "warmup_epochs")
        scaled = {field: _rounded(params[section][field] * factor) for field in fields if params[section][field]}
        decisions += [Decision(f"{section}.{field}", value, reason) for field, value in scaled.items()]
    longest = 0.0
    for name, phase in params["shrink"]["phases"].items():
        scaled = {field: _rounded(phase[field] * factor) for field in ("epochs", "warmup_epochs")}
        longest = max(longest, scaled["epochs"])
        decisions.append(Decision(f"shrink.phases.{name}", dict(phase) | scaled, reason))
    often = f"{VALIDATIONS} looks at the longest phase"
    return [*decisions, Decision("shrink.validate_epochs", _rounded(longest / VALIDATIONS), often)]


def _target_reason(target: Mapping[str, float]) -> str:
    return f"--ms {target['latency_ms']:g}" if "latency_ms" in target else "0: the fastest network, 1: the slowest"


def _rounded(value: float) -> float:
    """Three significant digits: the next measurement of the speed is not the same anyway."""
    return float(f"{value:.3g}")
